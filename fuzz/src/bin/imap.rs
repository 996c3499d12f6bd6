//! Searches for bytes of an IMAP client that panic the parser.

fn main() -> Result<(), String> {
    understudy_fuzz::run("imap").map(|tried| println!("imap: {tried} inputs, no panic"))
}

//! Searches for bytes of an SMTP client that panic the parser.

fn main() -> Result<(), String> {
    understudy_fuzz::run("smtp").map(|tried| println!("smtp: {tried} inputs, no panic"))
}

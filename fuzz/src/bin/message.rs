//! Searches for a message that panics the parser.

fn main() -> Result<(), String> {
    understudy_fuzz::run("message").map(|tried| println!("message: {tried} inputs, no panic"))
}

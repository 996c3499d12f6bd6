//! Searches for a message of the witness's protocol that panics the parser.

fn main() -> Result<(), String> {
    understudy_fuzz::run("witness").map(|tried| println!("witness: {tried} inputs, no panic"))
}

//! Searches for a JMAP request that panics what reads it.

fn main() -> Result<(), String> {
    understudy_fuzz::run("jmap").map(|tried| println!("jmap: {tried} inputs, no panic"))
}

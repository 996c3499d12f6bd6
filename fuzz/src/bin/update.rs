//! Searches for an update, or a block of the loader, that panics its parser.

fn main() -> Result<(), String> {
    understudy_fuzz::run("update").map(|tried| println!("update: {tried} inputs, no panic"))
}

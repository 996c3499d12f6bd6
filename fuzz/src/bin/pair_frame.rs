//! Searches for a frame of the pair link that panics the parser.

fn main() -> Result<(), String> {
    understudy_fuzz::run("pair_frame").map(|tried| println!("pair_frame: {tried} inputs, no panic"))
}

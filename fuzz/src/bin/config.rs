//! Searches for a configuration file that panics its parser.

fn main() -> Result<(), String> {
    understudy_fuzz::run("config").map(|tried| println!("config: {tried} inputs, no panic"))
}

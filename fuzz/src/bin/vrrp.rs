//! Searches for a VRRP advert that panics the parser.

fn main() -> Result<(), String> {
    understudy_fuzz::run("vrrp").map(|tried| println!("vrrp: {tried} inputs, no panic"))
}

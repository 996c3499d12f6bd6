//! The one integration-test binary.

// As `cfg(test)` modules, so that clippy knows them for tests.
#[cfg(test)]
mod peers;

//! What every room stands on. So far: clock and threads.

pub mod clock;
pub mod task;

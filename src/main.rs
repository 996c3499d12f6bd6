//! The `understudy` program: arguments, run, exit code.

use std::process::ExitCode;
use understudy::{app, cli};

fn main() -> ExitCode {
    cli::main(&app::Appliance)
}

//! `understudy witness`: the third vote, on a machine that holds no mail.
//!
//! `init` makes its key and prints what the nodes' configuration needs; without a subcommand it runs.

use super::error::CliError;
use super::{CONFIG_DEFAULT, Program, WITNESS_CONFIG_DEFAULT, output};
use crate::config;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make this witness's key, once, and print its pin.
    Init {
        /// Where the witness keeps its key and what it holds for each pair.
        #[arg(long)]
        dir: PathBuf,
    },
}

pub(super) fn perform(program: &dyn Program, args: Args, path: &Path) -> Result<(), CliError> {
    // An appliance's file is not a witness's: each has its own place.
    let path =
        if path == Path::new(CONFIG_DEFAULT) { Path::new(WITNESS_CONFIG_DEFAULT) } else { path };
    match args.command {
        None => Ok(program.witness(config::load_witness(path)?)?),
        Some(Command::Init { dir }) => {
            let pin = program.witness_init(&dir)?;
            let dir = dir.display().to_string();
            output::say(&format!(
                "The pin of this witness is {pin}.\n\
                 \n\
                 Next, on both appliances, in their configuration (with this machine's address):\n\
                 \n\
                 [pair.witness]\n\
                 address = \"192.0.2.7:7401\"\n\
                 pin = \"{pin}\"\n\
                 \n\
                 and here, in {}, with what `understudy pair show` prints on one of them:\n\
                 \n\
                 listen = \"0.0.0.0:7401\"\n\
                 dir = {dir:?}\n\
                 \n\
                 [[pair]]\n\
                 id = …\n\
                 pins = …\n",
                path.display()
            ))
        }
    }
}

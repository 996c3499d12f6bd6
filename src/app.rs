//! The composition root: builds the rooms, wires them, starts and stops them in order.

use crate::base::secret::Secret;
use crate::cli::{Formed, Program};
use crate::config::Config;
use crate::ops::request::Failure;

/// The appliance, as the command line sees it.
#[derive(Debug)]
pub struct Appliance;

impl Program for Appliance {
    fn run(&self, config: Config) -> Result<(), Failure> {
        crate::base::log::init(config.log_level);
        log::info!(data_dir:% = config.data_dir.display(), hostname = config.hostname; "configuration read");
        Err(unfinished())
    }

    fn pair_init(&self, _config: &Config) -> Result<Formed, Failure> {
        Err(unfinished())
    }

    fn pair_join(&self, _config: &Config, _token: &Secret<String>) -> Result<Formed, Failure> {
        Err(unfinished())
    }
}

fn unfinished() -> Failure {
    Failure::new("the rooms of this appliance are not wired yet", "Build a later commit.")
}

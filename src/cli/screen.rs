//! `understudy appliance screen`: the status page on a terminal.

use super::error::CliError;
use crate::appliance::boot::SITE_IN_FORCE;
use crate::appliance::screen::action::Tools;
use crate::appliance::screen::driver::{self, Setup, Stop};
use crate::appliance::screen::gather::Places;
use crate::base::{log, task};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The terminal's device, such as /dev/tty1.
    #[arg(long)]
    tty: PathBuf,
}

pub(super) fn perform(args: Args, config: &Path) -> Result<(), CliError> {
    log::init(::log::LevelFilter::Info);
    let stop = Stop::default();
    // Handlers, not a mask: what the page starts would inherit the mask.
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| failed("the signals", source))?;
    let listen = |kind| {
        let _inside = runtime.enter();
        signal(kind).map_err(|source| failed("the signals", source))
    };
    let (mut term, mut int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    // A terminal that hangs up is opened again; it ends nothing.
    let hangup = listen(SignalKind::hangup())?;
    let ended = stop.clone();
    drop(task::thread("screen-signals", move || {
        runtime.block_on(async {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        });
        drop(hangup);
        ended.store(true, Ordering::Relaxed);
    }));
    let setup = Setup {
        tty: args.tty,
        places: Places::of_image(config),
        tools: Tools::of_image(config),
        code: vec![SITE_IN_FORCE.into(), "/data/appliance/site.toml".into()],
    };
    driver::run(&setup, &stop);
    Ok(())
}

const fn failed(what: &'static str, source: io::Error) -> CliError {
    CliError::Input { what, source }
}

//! What the page shows, as plain values: everything that was found out about this machine.

use crate::appliance::report::{BootReport, DataOutcome, Trouble};
use crate::ops::status::StatusReport;
use understudy_proto::time::UnixMs;

/// So long after the start a clock that no time server has set is called wrong.
const CLOCK_GRACE_S: u64 = 600;
/// A clock that no time server has set for so long is called wrong; timesyncd asks at least every
/// 34 minutes.
const CLOCK_STALE_S: u64 = 6 * 3_600;

/// Everything about this machine at one moment.
#[derive(Clone, Debug)]
pub struct Facts {
    /// By this machine's clock.
    pub now: UnixMs,
    /// Seconds since the machine started.
    pub up_s: u64,
    /// Version of this system.
    pub version: String,
    /// The machine's name.
    pub hostname: String,
    /// What the start came to; `None` until it has come that far.
    pub boot: Option<BootReport>,
    /// Whether there is a configuration for the mail program.
    pub configured: bool,
    /// The mail program.
    pub program: Program,
    /// Seconds since it last answered, or since it was first asked.
    pub silent_s: u64,
    /// Network interfaces but the loopback, by name.
    pub interfaces: Vec<Interface>,
    /// Address of health and metrics, without a port; `None` where that is not known.
    pub management: Option<String>,
    /// Addresses on which mail is served, without ports.
    pub service: Vec<String>,
    /// Room on the data disk; `None` while there is none.
    pub disk: Option<DiskUse>,
    /// Whether the clock can be trusted.
    pub clock: Clock,
}

/// The mail program, as seen over its control socket.
#[derive(Clone, Debug)]
pub enum Program {
    /// It answers.
    Answers(Box<StatusReport>),
    /// It is there and does not answer in time, or not in words that are understood.
    Stuck,
    /// Nothing is there.
    Silent,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether it is turned on.
    pub on: bool,
    /// Whether the cable carries anything.
    pub carrier: bool,
    /// Speed in Mbit/s, where the driver says.
    pub speed: Option<u32>,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<String>,
}

/// Room on a disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskUse {
    /// Of the file system.
    pub total: u64,
    /// For us.
    pub free: u64,
    /// The kernel lets nobody write there any more: the disk has failed, or was pulled out.
    pub lost: bool,
}

/// Whether the clock can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Set by a time server so many seconds ago.
    Set {
        /// Seconds since then.
        ago_s: u64,
    },
    /// Not set by a time server since the start.
    Unset,
}

impl Clock {
    /// What is wrong with it, on a machine that runs for `up_s` seconds.
    #[must_use]
    pub fn trouble(self, up_s: u64) -> Option<Trouble> {
        let unset = match self {
            Self::Unset => up_s > CLOCK_GRACE_S,
            Self::Set { ago_s } => ago_s > CLOCK_STALE_S,
        };
        unset.then_some(Trouble::ClockUnset)
    }
}

impl DiskUse {
    /// Used per cent, rounded up.
    #[must_use]
    pub fn used_percent(self) -> u64 {
        let used = u128::from(self.total.saturating_sub(self.free));
        let percent = (used * 100).div_ceil(u128::from(self.total.max(1)));
        u64::try_from(percent).unwrap_or(100).min(100)
    }
}

impl Facts {
    /// What the mail program says, while it answers.
    #[must_use]
    pub fn status(&self) -> Option<&StatusReport> {
        match &self.program {
            Program::Answers(report) => Some(report),
            Program::Stuck | Program::Silent => None,
        }
    }

    /// Whether the data disk was there and is not usable any more.
    #[must_use]
    pub fn lost(&self) -> bool {
        self.disk.is_some_and(|disk| disk.lost)
    }

    /// Whether the data disk waits for a passphrase.
    #[must_use]
    pub fn locked(&self) -> bool {
        let waits = |data: &DataOutcome| matches!(data, DataOutcome::Locked | DataOutcome::New);
        self.boot.as_ref().is_some_and(|b| waits(&b.data)) && self.disk.is_none()
    }

    /// Whether that becomes the first one of a new disk.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.locked() && self.boot.as_ref().is_some_and(|b| b.data == DataOutcome::New)
    }
}

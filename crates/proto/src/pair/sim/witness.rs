//! The model witness: one register, compare-and-swap, and ways to be away or to lose what it held.

use crate::id::Epoch;
use crate::pair::witness::{WitnessAnswer, WitnessAsk, WitnessRegister};

pub(super) struct Witness {
    pub(super) held: Option<WitnessRegister>,
    pub(super) up: bool,
    /// Which nodes reach it.
    pub(super) reach: [bool; 2],
    /// Answers to it get lost until then.
    pub(super) lossy_until: u64,
    /// What it held before, oldest first.
    past: Vec<Option<WitnessRegister>>,
    /// The highest epoch that it ever held.
    pub(super) top: Epoch,
}

impl Witness {
    pub(super) fn new() -> Self {
        let (held, past, top) = (None, Vec::new(), Epoch(0));
        Self { held, up: true, reach: [true; 2], lossy_until: 0, past, top }
    }

    /// Answers, and does what was asked if it may.
    pub(super) fn answer(&mut self, ask: WitnessAsk) -> WitnessAnswer {
        let epoch = self.held.map(|h| h.epoch);
        match ask {
            WitnessAsk::Read => return WitnessAnswer::Done(self.held),
            WitnessAsk::Swap { expect, new } if expect == epoch => self.hold(new),
            WitnessAsk::Seed { new } if epoch.is_none_or(|e| e <= new.epoch) => self.hold(new),
            _ => return WitnessAnswer::Refused(self.held),
        }
        WitnessAnswer::Done(self.held)
    }

    fn hold(&mut self, new: WitnessRegister) {
        self.past.push(self.held.replace(new));
        self.top = self.top.max(new.epoch);
    }

    /// Its disk is replaced by a copy that is `back` changes old.
    pub(super) fn roll_back(&mut self, back: usize) {
        let at = self.past.len().saturating_sub(back);
        self.held = self.past.get(at).copied().flatten();
        self.past.truncate(at);
    }
}

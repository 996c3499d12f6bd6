//! The times of `[pair]` as the pair's machine takes them: config checks them, the pair works with them.

use super::resolved::Pair;
use std::time::Duration;
use understudy_proto::pair::{Arbitration, Timers};

impl Pair {
    /// A session on which nothing arrives for so long is over.
    #[must_use]
    pub fn session_silence(&self) -> Duration {
        self.heartbeat.saturating_mul(self.session_silence_heartbeats)
    }

    /// The times that the pair's machine works with; `Timers::check` says whether they fit.
    #[must_use]
    pub fn timers(&self) -> Timers {
        let default = Timers::default();
        let silence = self.heartbeat.saturating_mul(self.heartbeats_missed_max);
        let timers = Timers {
            ack_timeout: self.ack_timeout,
            stability: self.stability,
            silence,
            echo: silence,
            session_silence: self.session_silence(),
            lease: self.lease,
            // A standby must know that it is stale well before the primary goes on alone.
            stale_after: self.stale_after.min(self.ack_timeout / 4),
            solo_after: self.solo_after,
            nap: self.nap,
            handover: self.handover,
            fault_hold: self.fault_hold,
            fault_pause: self.fault_pause,
            room_pause: self.room_pause,
            solo_boot_wait: self.solo_boot_wait.min(self.boot_wait),
            boot_wait: self.boot_wait,
            arbitration: self.witness.map_or(Arbitration::None, |_| Arbitration::Witness),
            witness_gone: self.witness.map_or(default.witness_gone, |witness| witness.gone),
            witness_look: self.witness.map_or(default.witness_look, |witness| witness.look),
            vrrp: self.advert.is_some(),
            has_peer: true,
            ..default
        };
        self.advert.map_or(timers, |advert| timers.for_adverts(advert))
    }
}

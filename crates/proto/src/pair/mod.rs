//! The pair: one log, one writer, two durable copies. All that decides; nothing that touches.
//!
//! ```text
//!                 peer leads: join                    admitted
//!   boot ─► RECOVERING ───────────► standby, copying ──────────► standby, insync
//!              │  ▲                                                    │ session dead, Active
//!   elected,   │  │ deposed                                            │ gone, peer silent
//!   SOLO by    │  └───────────────┐                                    ▼
//!   register,  └─────────────► primary: SOLO ⇄ JOINING ─► PAIR ◄── handover
//!   operator                           ▲                   │
//!                                      └── recorded first ─┘ no answer for 1 s
//! ```
//!
//! [`Machine`] holds DESIGN.md section 3, invariants 1 to 8, 11 and 13, with a witness or by the
//! evidence rules of docs/design/takeover.md. [`frame`] is what the two nodes say to each other.
//! Absent: merging branches (the machine says where they part), and the witness itself.

mod arbitration;
pub mod frame;
mod health;
mod history;
mod lease;
mod machine;
mod primary;
mod recovering;
mod register;
#[cfg(test)]
mod sim;
mod standby;
mod status;
#[cfg(test)]
mod tests;
pub mod witness;

pub use frame::{Beacon, Frame, FrameError, Hello, PhaseName, Saying, Sorry, VERSION};
pub use health::Health;
pub use history::{History, LogState};
pub use machine::{Input, Machine, Misfit, Note, Operator, Output, Timers, VrrpNews, VrrpStand};
pub use register::{Arbitration, Insync, Register};
pub use status::{Role, State, Status, Waiting, WitnessStatus};

/// Rules that a test may take out, to see that the simulator notices (`sim`).
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Commits on a PAIR without the peer's durable acknowledgement.
    CommitBeforePeer,
    /// Goes on alone before SOLO is recorded.
    SoloBeforeRecorded,
    /// Admits a peer whose copy is not durable.
    AdmitBeforeCopy,
    /// Acknowledges alone while it has already promised to wait for both.
    JoiningCommitsAlone,
    /// A standby that still hears its primary does not mark itself stale.
    NeverStale,
    /// A standby that is not insync promotes itself.
    PromoteUnchecked,
    /// A node resumes its role from disk.
    ResumeOnBoot,
    /// Higher epochs are neither remembered nor obeyed.
    NoFencing,
    /// A returning node's committed branch is set aside as if it had never been acknowledged.
    SetAsideCommitted,
    /// The standby acknowledges what is appended but not yet durable.
    AckBeforeSync,
    /// A node that did not run for a while goes on as if it had.
    SleepIgnored,
    /// The primary goes on alone before its standby can know itself stale.
    SoloUnwarned,
    /// A primary in PAIR serves readers without its standby's word.
    NoLease,
    /// A standby promises not to lead and leads all the same.
    GrantWhilePromoting,
    /// A standby does not ask the witness before it leads.
    PromoteWithoutSwap,
    /// A primary does not ask the witness before it goes on alone.
    SoloWithoutSwap,
    /// A witness is believed that knows less than this node.
    TrustRolledBackWitness,
    /// The primary does without the witness before its standby has agreed.
    SwitchAlone,
    /// A swap whose answer was lost counts as done.
    LostSwapAssumed,
    /// A standby whose own interface is in fault takes its silence for the Active's.
    NicFaultIgnored,
    /// A node hands over for its health again and again, without a pause.
    NeverRests,
    /// Who hands over takes beacons that ceased long ago for a sign that the peer is gone.
    OldEars,
    /// A higher epoch that was heard while the session stood is forgotten.
    ///
    /// The simulator does not see it: it matters only to a standby that hears of its session's end
    /// more than `ack_timeout` late, and there a session that stands ends in time (replication.md,
    /// assumptions). `a_standby_that_heard_of_a_later_reign_before_its_sessions_end_does_not_lead` in
    /// `tests` catches it.
    OvertakingIgnored,
    /// The lease and the addresses come before all that was promoted is visible.
    ServedUnapplied,
    /// The addresses stay where they are while the lease is handed over.
    AddressesKept,
    /// A node with too little room leads on, however roomy its standby is.
    FullStays,
    /// A primary claims RPO 0 although its standby does not promise to wait.
    RpoUnproven,
    /// A standby claims PAIR although it does not hear its primary.
    StandbyBoasts,
}

#[cfg(test)]
impl Mutant {
    /// All that the simulator catches.
    pub(crate) const ALL: [Self; 27] = [
        Self::CommitBeforePeer,
        Self::SoloBeforeRecorded,
        Self::AdmitBeforeCopy,
        Self::JoiningCommitsAlone,
        Self::NeverStale,
        Self::PromoteUnchecked,
        Self::ResumeOnBoot,
        Self::NoFencing,
        Self::SetAsideCommitted,
        Self::AckBeforeSync,
        Self::SleepIgnored,
        Self::SoloUnwarned,
        Self::NoLease,
        Self::GrantWhilePromoting,
        Self::PromoteWithoutSwap,
        Self::SoloWithoutSwap,
        Self::TrustRolledBackWitness,
        Self::SwitchAlone,
        Self::LostSwapAssumed,
        Self::NicFaultIgnored,
        Self::NeverRests,
        Self::OldEars,
        Self::ServedUnapplied,
        Self::AddressesKept,
        Self::FullStays,
        Self::RpoUnproven,
        Self::StandbyBoasts,
    ];
}

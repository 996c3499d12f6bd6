//! What every kind of change is: two pure functions over ordered keys.
//!
//! `decide` runs on the primary, under the tenant's decider: it checks the command against the rows
//! and fixes every nondeterministic value (UIDs, modseqs, ids, dates) in the change. `apply` runs
//! three times with the same outcome: on the decider's overlay at once, and on each node's view once
//! the change is committed. `apply` may never fail for a change that `decide` made: an error there
//! is damage or a bug and ends the process (the standby takes over).
//!
//! [`Merge`] is the third: what becomes of one branch's changes when two branches meet
//! (docs/design/merge.md). A kind without it would lose what a branch changed, so every kind of
//! change that the store takes has it.

use crate::codec::DecodeError;
use crate::id::{Epoch, Lsn, UploadId};
use crate::keys::{Keys, KeysError, KeysMut};
use crate::merge::{Known, Merging};
use crate::record::Kind;
use crate::time::UnixMs;

/// What a decision may draw on besides the rows.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Wall-clock time of the decision.
    pub now: UnixMs,
    /// Fresh random bytes.
    pub random: [u8; 32],
    /// The epoch in which this node took over alone, while another may go on, too (without a witness,
    /// or with one that was rolled back); else zero. UIDs given from then on leave a gap ([`crate::mailbox::UID_JUMP`]).
    pub fork: Epoch,
}

/// Where a change stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The change's lsn.
    pub lsn: Lsn,
    /// The epoch in which it was decided.
    pub epoch: Epoch,
}

/// What `decide` gives: the change for the log, the answer for whoever asked.
#[derive(Clone, Debug)]
pub struct Decision<A> {
    /// The change's payload; `None` when the command changes nothing (the answer stands at once).
    pub change: Option<Vec<u8>>,
    /// The answer, given once the change is committed.
    pub answer: A,
}

/// Why `decide` gives no decision.
#[derive(Debug, thiserror::Error)]
pub enum DecideError<R> {
    /// The command breaks a rule: the peer gets the kind's own answer.
    #[error("refused: {0:?}")]
    Refused(R),
    /// The rows cannot be read: temporary.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A row cannot be decoded: temporary to the peer, an alarm to us.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// Why a change could not be applied. Always damage or a bug.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The rows cannot be read or written.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The change or a row cannot be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The change names a row or a body that does not exist.
    #[error("a committed change names what is not there: {0}")]
    Missing(&'static str),
}

/// A command that a kind of change can decide.
pub trait Command: Send {
    /// The kind whose `apply` understands the change.
    const KIND: Kind;
    /// What the asker learns.
    type Answer: Send;
    /// How the kind says no.
    type Refusal: std::fmt::Debug + Send;

    /// Decides. At most [`ENTRIES_PER_CHANGE_MAX`] rows may be touched by the change.
    fn decide(
        &self,
        keys: &dyn Keys,
        moment: Moment,
    ) -> Result<Decision<Self::Answer>, DecideError<Self::Refusal>>;
}

/// The applying side of a kind.
pub trait Apply: Send + Sync {
    /// Which kind.
    fn kind(&self) -> Kind;

    /// Turns a committed change into rows. Deterministic; see the module's head.
    fn apply(&self, keys: &mut dyn KeysMut, at: Position, change: &[u8]) -> Result<(), ApplyError>;
}

/// Which side of a fork a change was made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The leader's: its reign is the later one, its rows are merged into.
    Ours,
    /// The branch's.
    Theirs,
}

/// A kind whose changes can be merged. The merge folds what each side changed since the fork into
/// tasks and carries these out one by one over the leader's rows.
///
/// Kinds are merged in the order in which they are registered; each may rest on what those before it
/// have noted with [`Merging::map`](crate::merge::Merging::map). A new kind is registered last: the
/// cursor of a merge that a release before it began counts stages over all kinds.
pub trait Merge: Apply {
    /// The uploads that a change links: they are shipped before it.
    fn bodies(&self, _change: &[u8]) -> Result<Vec<UploadId>, DecodeError> {
        Ok(Vec::new())
    }

    /// Stages, done one after the other. What the leader changed counts up to the begin of a stage.
    fn stages(&self) -> u8 {
        1
    }

    /// Begins to fold for `stage`.
    fn planner(&self, stage: u8) -> Box<dyn Planner>;

    /// Carries out one task over the leader's rows. Deterministic but for the rows.
    fn merge(&self, on: &mut Merging<'_>, task: &[u8]) -> Result<(), ApplyError>;
}

/// Folds both sides' changes and says what is to be done.
pub trait Planner: Send {
    /// Takes in a change of any kind, in each side's order; `at` is its position in that side's log.
    fn fold(
        &mut self,
        side: Side,
        at: Position,
        kind: Kind,
        change: &[u8],
    ) -> Result<(), DecodeError>;

    /// The tasks, in order. The same for the same folded changes and the same maps.
    fn plan(self: Box<Self>, known: &Known<'_>) -> Result<Vec<Vec<u8>>, ApplyError>;
}

/// The kinds that this release knows; built by `app`, handed to the store.
#[derive(Default)]
pub struct Registry(Vec<Box<dyn Apply>>);

impl Registry {
    /// Adds a kind.
    #[must_use]
    pub fn with(mut self, kind: impl Apply + 'static) -> Self {
        self.0.push(Box::new(kind));
        self
    }

    /// Finds a kind.
    #[must_use]
    pub fn get(&self, kind: Kind) -> Option<&dyn Apply> {
        self.0.iter().find(|k| k.kind() == kind).map(AsRef::as_ref)
    }
}

/// Most rows that one change may touch, so that one huge MOVE does not stall a tenant: five for each
/// message of the longest ([`crate::mailbox::UIDS_PER_CHANGE_MAX`]), and some.
pub const ENTRIES_PER_CHANGE_MAX: usize = 5_120;

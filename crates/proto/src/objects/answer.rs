//! RFC 3834 2: whoever is away answers a sender once in a while. Who was answered is an object, and comes
//! with the answer's item in the queue: a takeover neither loses the one nor doubles the other.

use super::apply::{Change, Put};
use super::commands::{ObjectRefusal, check_account, later};
use super::{ObjectId, ObjectType, Queued, rows};
use crate::codec;
use crate::id::{AccountId, EmailId};
use crate::keys::{BodyRef, Keys};
use crate::queue::{self, NewItem};
use crate::record::Kind;
use crate::rule::{Command, DecideError, Decision, Moment};
use std::time::Duration;

/// A sender is answered once in this time.
pub const ANSWERED_FOR: Duration = Duration::from_hours(7 * 24);

/// An answer goes to a sender who had none for [`ANSWERED_FOR`].
#[derive(Clone, Debug)]
pub struct GiveAnswer {
    /// Who is away.
    pub account: AccountId,
    /// Who is answered.
    pub to: String,
    /// The answer. No further change links this upload.
    pub body: BodyRef,
}

/// The id of the note that this sender was answered.
#[must_use]
pub fn answered(to: &str) -> ObjectId {
    let mut bits = [0; 16];
    blake3::Hasher::new().update(to.to_lowercase().as_bytes()).finalize_xof().fill(&mut bits);
    ObjectId::of(ObjectType::Answered, bits)
}

/// Whether this sender was answered lately.
pub fn was_answered(
    keys: &dyn Keys,
    account: AccountId,
    to: &str,
    moment: crate::time::UnixMs,
) -> Result<bool, crate::mailbox::RowError> {
    let for_ms = u64::try_from(ANSWERED_FOR.as_millis()).unwrap_or(u64::MAX);
    let row = rows::object(keys, account, ObjectType::Answered, &answered(to))?;
    Ok(row.is_some_and(|row| row.updated.0.saturating_add(for_ms) > moment.0))
}

impl Command for GiveAnswer {
    const KIND: Kind = Kind::OBJECTS;
    type Answer = ();
    /// [`ObjectRefusal::Changed`]: he had an answer lately.
    type Refusal = ObjectRefusal;

    fn decide(
        &self,
        keys: &dyn Keys,
        moment: Moment,
    ) -> Result<Decision<()>, DecideError<ObjectRefusal>> {
        let (account, object_type) = (self.account, ObjectType::Answered);
        check_account(keys, account)?;
        if was_answered(keys, account, &self.to, moment.now)? {
            return Err(DecideError::Refused(ObjectRefusal::Changed));
        }
        let id = answered(&self.to);
        let before = rows::object(keys, account, object_type, &id)?;
        let state = rows::state(keys, account, object_type)?;
        if before.is_none() && state.count >= object_type.most() {
            return Err(DecideError::Refused(ObjectRefusal::Full));
        }
        let updated = later(before.as_ref(), moment);
        let created = before.map_or(updated, |before| before.created);
        let json = serde_json::json!({ "address": self.to }).to_string();
        // RFC 3834 3.3: the null reverse-path, so that nothing comes back.
        let item =
            NewItem { from: String::new(), to: vec![self.to.clone()], account: Some(account) };
        let queued = Box::new(Queued {
            first: queue::next_id(keys)?,
            items: vec![item],
            at: moment.now,
            email: EmailId(0),
            hash: self.body.hash,
            size: self.body.size,
        });
        let (modseq, body) = (state.modseq.next(), self.body.clone());
        let put = Put { id, created, updated, json, body: None };
        let change = Change::Answer { account, modseq, put, queued, body };
        Ok(Decision { change: Some(codec::encode(&change)), answer: () })
    }
}

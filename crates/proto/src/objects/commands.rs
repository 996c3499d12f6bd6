//! What can be asked of objects, and how each is decided.

use super::apply::{Change, Put};
use super::rows::{self, Object};
use super::submission;
use super::{
    CHANGE_LEN_MAX, JSON_LEN_MAX, OBJECTS_PER_CHANGE_MAX, ObjectId, ObjectType, PUT_OVERHEAD,
    UPLOAD_BYTES_MAX, UPLOAD_LABEL_MAX,
};
use crate::codec;
use crate::id::{AccountId, ModSeq};
use crate::keys::{BodyRef, Keys};
use crate::mailbox;
use crate::record::Kind;
use crate::rule::{Command, DecideError, Decision, Moment};
use crate::time::UnixMs;
use std::collections::BTreeSet;

/// Most uploads that are looked at to find the oldest.
const UPLOADS_SEEN_MAX: usize = 2_000;

/// Why a command on objects, or a part of it, is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectRefusal {
    /// The account is gone.
    #[error("there is no such account")]
    NoSuchAccount,
    /// RFC 8620 5.3 `stateMismatch`.
    #[error("something changed since that state")]
    State,
    /// RFC 8620 5.3 `notFound`.
    #[error("there is no such object")]
    NotFound,
    /// The object is not what the caller read.
    #[error("the object has changed meanwhile")]
    Changed,
    /// One id twice in one command.
    #[error("the object is named twice")]
    Twice,
    /// RFC 8620 5.3 `tooLarge`.
    #[error("the object is longer than {JSON_LEN_MAX} bytes")]
    TooLarge,
    /// RFC 8620 5.3 `overQuota`.
    #[error("there are as many of these objects as an account may have")]
    Full,
    /// Callers split such lists.
    #[error("too much for one change")]
    TooMuch,
    /// Ids of this type are given by the server, or by the caller alone.
    #[error("this id cannot be given")]
    Id,
}

/// An object as it shall be.
#[derive(Clone, Debug, Default)]
pub struct NewObject {
    /// Which; `None`: a new one that gets an id. Types whose objects are named are created so, too.
    pub id: Option<ObjectId>,
    /// All of its JSON.
    pub json: String,
    /// The modseq of the object that the caller read; zero where there was none.
    pub if_modseq: Option<ModSeq>,
}

impl NewObject {
    /// The bytes that it counts towards [`CHANGE_LEN_MAX`]; what is too long is refused and is in none.
    #[must_use]
    pub fn len(&self) -> usize {
        Some(self.json.len()).filter(|len| *len <= JSON_LEN_MAX).unwrap_or(0)
    }

    /// Whether it counts nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Objects of one type are created, replaced and removed, each as far as it can be.
#[derive(Clone, Debug)]
pub struct SetObjects {
    /// Whose.
    pub account: AccountId,
    /// Of which type.
    pub object_type: ObjectType,
    /// RFC 8620 5.3 `ifInState`.
    pub if_state: Option<ModSeq>,
    /// What is created or replaced; with `destroy` at most [`OBJECTS_PER_CHANGE_MAX`] and together at
    /// most [`CHANGE_LEN_MAX`], each counted with [`PUT_OVERHEAD`].
    pub put: Vec<NewObject>,
    /// What goes.
    pub destroy: Vec<ObjectId>,
}

/// An object that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its id.
    pub id: ObjectId,
    /// Its modseq now.
    pub modseq: ModSeq,
    /// When it was created.
    pub created: UnixMs,
    /// Now.
    pub updated: UnixMs,
}

/// What became of each, in the order of the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAnswer {
    /// The state before.
    pub old: ModSeq,
    /// The state now.
    pub new: ModSeq,
    /// What was written.
    pub put: Vec<Result<Written, ObjectRefusal>>,
    /// What went.
    pub destroyed: Vec<Result<(), ObjectRefusal>>,
}

type Refused<A> = Result<Decision<A>, DecideError<ObjectRefusal>>;

fn refuse<T>(why: ObjectRefusal) -> Result<T, DecideError<ObjectRefusal>> {
    Err(DecideError::Refused(why))
}

pub(super) fn check_account(
    keys: &dyn Keys,
    account: AccountId,
) -> Result<(), DecideError<ObjectRefusal>> {
    match mailbox::account_state(keys, account)? {
        Some(_) => Ok(()),
        None => refuse(ObjectRefusal::NoSuchAccount),
    }
}

/// The n-th id of a decision.
pub(super) fn new_id(object_type: ObjectType, moment: Moment, n: usize) -> ObjectId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&moment.random).update(&n.to_le_bytes());
    let mut bits = [0; 16];
    hasher.finalize_xof().fill(&mut bits);
    ObjectId::of(object_type, bits)
}

/// `updated` of an object that is written now: later than before, whatever the clock does, so that a
/// merge can tell which version is the later one, and what is new from what was replaced.
pub(super) fn later(before: Option<&Object>, moment: Moment) -> UnixMs {
    before.map_or(moment.now, |b| UnixMs(moment.now.0.max(b.updated.0.saturating_add(1))))
}

impl SetObjects {
    /// What it counts towards [`CHANGE_LEN_MAX`].
    fn len(&self) -> usize {
        let puts = self.put.iter().map(NewObject::len);
        let all = puts.chain(self.destroy.iter().map(|id| id.as_str().len()));
        all.fold(0, |sum: usize, len| sum.saturating_add(len).saturating_add(PUT_OVERHEAD))
    }

    /// What becomes of one object that is put; `room`: how many new ones there may be.
    fn put(
        &self,
        keys: &dyn Keys,
        new: &NewObject,
        (moment, n, room): (Moment, usize, u32),
    ) -> Result<Result<Put, ObjectRefusal>, DecideError<ObjectRefusal>> {
        if new.json.len() > JSON_LEN_MAX {
            return Ok(Err(ObjectRefusal::TooLarge));
        }
        let before = match &new.id {
            Some(id) => rows::object(keys, self.account, self.object_type, id)?,
            None => None,
        };
        let modseq = before.as_ref().map_or(ModSeq(0), |b| b.modseq);
        if new.if_modseq.is_some_and(|known| known != modseq) {
            let gone = before.is_none();
            return Ok(Err(if gone { ObjectRefusal::NotFound } else { ObjectRefusal::Changed }));
        }
        // A file is what it is: only [`KeepUpload`] makes one.
        if self.object_type == ObjectType::Upload {
            return Ok(Err(ObjectRefusal::Id));
        }
        if before.is_none() {
            match (&new.id, self.object_type.is_named()) {
                (Some(_), false) => return Ok(Err(ObjectRefusal::NotFound)),
                (None, true) => return Ok(Err(ObjectRefusal::Id)),
                _ if room == 0 => return Ok(Err(ObjectRefusal::Full)),
                _ => {}
            }
        }
        let id = new.id.clone().unwrap_or_else(|| new_id(self.object_type, moment, n));
        let updated = later(before.as_ref(), moment);
        let created = before.map_or(updated, |b| b.created);
        Ok(Ok(Put { id, created, updated, json: new.json.clone(), body: None }))
    }
}

impl Command for SetObjects {
    const KIND: Kind = Kind::OBJECTS;
    type Answer = SetAnswer;
    type Refusal = ObjectRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<SetAnswer> {
        let (account, object_type) = (self.account, self.object_type);
        if self.put.len().saturating_add(self.destroy.len()) > OBJECTS_PER_CHANGE_MAX
            || self.len() > CHANGE_LEN_MAX
        {
            return refuse(ObjectRefusal::TooMuch);
        }
        check_account(keys, account)?;
        let state = rows::state(keys, account, object_type)?;
        if self.if_state.is_some_and(|known| known != state.modseq) {
            return refuse(ObjectRefusal::State);
        }
        let first = state.modseq.next();
        let mut room = object_type.most().saturating_sub(state.count);
        let (mut puts, mut gone) = (Vec::new(), Vec::new());
        let (mut named, mut next) = (BTreeSet::new(), first);
        let mut written = Vec::with_capacity(self.put.len());
        for (n, new) in self.put.iter().enumerate() {
            if new.id.as_ref().is_some_and(|id| !named.insert(id)) {
                written.push(Err(ObjectRefusal::Twice));
                continue;
            }
            written.push(self.put(keys, new, (moment, n, room))?.map(|put| {
                let Put { id, created, updated, .. } = put.clone();
                room = room.saturating_sub(u32::from(created == updated));
                let modseq = next;
                next = next.next();
                puts.push(put);
                Written { id, modseq, created, updated }
            }));
        }
        let mut destroyed = Vec::with_capacity(self.destroy.len());
        for id in &self.destroy {
            destroyed.push(if !named.insert(id) {
                Err(ObjectRefusal::Twice)
            } else if rows::object(keys, account, object_type, id)?.is_none() {
                Err(ObjectRefusal::NotFound)
            } else {
                gone.push(id.clone());
                next = next.next();
                Ok(())
            });
        }
        let new = ModSeq(next.0.saturating_sub(1));
        let answer = SetAnswer { old: state.modseq, new, put: written, destroyed };
        if puts.is_empty() && gone.is_empty() {
            return Ok(Decision { change: None, answer });
        }
        let change = Change::Set { account, object_type, first, puts, gone, when: moment.now };
        Ok(Decision { change: Some(codec::encode(&change)), answer })
    }
}

/// RFC 8620 6.1: a file is kept for a while. Should there be too many, the oldest go.
#[derive(Clone, Debug)]
pub struct KeepUpload {
    /// Whose.
    pub account: AccountId,
    /// Its bytes. No further change links this upload.
    pub body: BodyRef,
    /// Its media type, as the client says.
    pub media: String,
    /// Its name, or nothing.
    pub name: String,
}

impl Command for KeepUpload {
    const KIND: Kind = Kind::OBJECTS;
    type Answer = ObjectId;
    type Refusal = ObjectRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<ObjectId> {
        let (account, object_type) = (self.account, ObjectType::Upload);
        check_account(keys, account)?;
        if self.media.len().saturating_add(self.name.len()) > UPLOAD_LABEL_MAX {
            return refuse(ObjectRefusal::TooLarge);
        }
        let id = new_id(object_type, moment, 0);
        let json = serde_json::json!({
            "type": self.media,
            "name": self.name,
            "size": self.body.size,
        });
        let (created, updated) = (moment.now, moment.now);
        let body = Some(self.body.clone());
        let put = Put { id: id.clone(), created, updated, json: json.to_string(), body };
        let state = rows::state(keys, account, object_type)?;
        let (mut count, mut bytes) = (state.count, state.bytes);
        let mut gone = Vec::new();
        let room = UPLOAD_BYTES_MAX.saturating_sub(self.body.size);
        if count >= object_type.most() || bytes > room {
            let mut all = rows::objects(keys, account, object_type, None, UPLOADS_SEEN_MAX)?;
            all.sort_by_key(|upload| upload.created);
            for upload in all {
                if count < object_type.most() && bytes <= room
                    || gone.len() >= OBJECTS_PER_CHANGE_MAX
                {
                    break;
                }
                count = count.saturating_sub(1);
                bytes = bytes.saturating_sub(upload.weight());
                gone.push(upload.id);
            }
        }
        let (first, puts) = (state.modseq.next(), vec![put]);
        let change = Change::Set { account, object_type, first, puts, gone, when: moment.now };
        Ok(Decision { change: Some(codec::encode(&change)), answer: id })
    }
}

/// Objects that nobody changed since `before` go, at most [`OBJECTS_PER_CHANGE_MAX`]: uploads,
/// submissions that are over, notes of whom was answered. Repeat while it answers that some went.
#[derive(Clone, Copy, Debug)]
pub struct ForgetObjects {
    /// Whose.
    pub account: AccountId,
    /// Of which type.
    pub object_type: ObjectType,
    /// Since when.
    pub before: UnixMs,
}

impl Command for ForgetObjects {
    const KIND: Kind = Kind::OBJECTS;
    /// How many went.
    type Answer = usize;
    type Refusal = ObjectRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<usize> {
        let Self { account, object_type, before } = *self;
        let most = usize::try_from(object_type.most()).unwrap_or(usize::MAX).saturating_mul(2);
        let mut gone = Vec::new();
        for object in rows::objects(keys, account, object_type, None, most)? {
            let old = object.updated < before && gone.len() < OBJECTS_PER_CHANGE_MAX;
            // What is held for months can be cancelled until then.
            if old && submission::held(keys, account, &object.id)?.is_empty() {
                gone.push(object.id);
            }
        }
        let answer = gone.len();
        if gone.is_empty() {
            return Ok(Decision { change: None, answer });
        }
        let first = rows::state(keys, account, object_type)?.modseq.next();
        let (puts, when) = (Vec::new(), moment.now);
        let change = Change::Set { account, object_type, first, puts, gone, when };
        Ok(Decision { change: Some(codec::encode(&change)), answer })
    }
}

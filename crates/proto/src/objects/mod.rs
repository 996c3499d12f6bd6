//! JSON objects of an account (identities, contacts, submissions, …): one kind of change
//! ([`Kind::OBJECTS`](crate::record::Kind::OBJECTS)).
//!
//! | key | value |
//! |---|---|
//! | `o` account type id | [`Object`] |
//! | `O` account type | [`ObjectState`]: the type's counters |
//! | `P` account type modseq | [`Change`]: what one step did to one object |
//! | `h` account submission | its items in the queue |
//!
//! Invariants: each object that a command writes or removes has a modseq of its own, so a list of
//! changes can end anywhere (RFC 8620 5.2); a type's modseq only grows; an object's `updated` only
//! grows, whatever the clock does. Absent: what is in the JSON ([`crate::jmap`] checks that).

mod answer;
mod apply;
mod commands;
mod merge;
mod rows;
mod submission;
#[cfg(test)]
mod tests;

pub use answer::{ANSWERED_FOR, GiveAnswer, answered, was_answered};
pub use apply::ObjectsRules;
pub use commands::{
    ForgetObjects, KeepUpload, NewObject, ObjectRefusal, SetAnswer, SetObjects, Written,
};
pub use rows::{Body, Change, Changes, Object, ObjectState, What, changes, object, objects, state};

pub use submission::{ADDRESSES_LEN_MAX, HOLD_MAX, Submit, Unsend, held};
pub(crate) use submission::{Queued, Sent, requeue, sent, withdraw};

use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest JSON of one object in bytes.
pub const JSON_LEN_MAX: usize = 256 * 1024;
/// Most objects that one change writes and removes; callers split longer lists.
pub const OBJECTS_PER_CHANGE_MAX: usize = 1_000;
/// Most bytes that one change takes with its objects; callers split longer lists.
pub const CHANGE_LEN_MAX: usize = crate::record::PAYLOAD_LEN_MAX - 4_096;
/// What an object adds to a change besides its JSON and its id, at most, in bytes.
pub const PUT_OVERHEAD: usize = 100;
/// Longest id in bytes (RFC 8620 1.2 allows 255).
pub const ID_LEN_MAX: usize = 64;
/// Most bytes of uploads that an account keeps; the oldest go first.
pub const UPLOAD_BYTES_MAX: u64 = 1 << 30;
/// Longest media type and name of an upload together, in bytes.
pub const UPLOAD_LABEL_MAX: usize = 1_024;

/// The id of an object of which an account has one (RFC 8621 8: `singleton`).
pub const SINGLETON: &str = "singleton";

/// What an object is. Variants may only be added at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObjectType {
    /// RFC 8621 6.
    Identity,
    /// RFC 8621 8.
    VacationResponse,
    /// RFC 9610 2.
    AddressBook,
    /// RFC 9610 3.
    ContactCard,
    /// RFC 8621 7.
    EmailSubmission,
    /// The app's own settings.
    Preferences,
    /// RFC 8620 6.1: a file that is no message (yet).
    Upload,
    /// RFC 3834: who got an answer to his mail, and when.
    Answered,
}

/// What is known of a type.
struct Facts {
    code: u8,
    name: &'static str,
    /// Its ids begin so.
    letter: char,
    most: u32,
    /// Ids are given by the caller; else by `decide`.
    named: bool,
    /// Clients ask what changed.
    followed: bool,
}

impl ObjectType {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Identity,
        Self::VacationResponse,
        Self::AddressBook,
        Self::ContactCard,
        Self::EmailSubmission,
        Self::Preferences,
        Self::Upload,
        Self::Answered,
    ];

    fn facts(self) -> Facts {
        let of = |code, name, letter, most, named, followed| Facts {
            code,
            name,
            letter,
            most,
            named,
            followed,
        };
        match self {
            Self::Identity => of(1, "Identity", 'i', 100, false, true),
            Self::VacationResponse => of(2, "VacationResponse", 'v', 1, true, true),
            Self::AddressBook => of(3, "AddressBook", 'a', 100, false, true),
            Self::ContactCard => of(4, "ContactCard", 'c', 20_000, false, true),
            Self::EmailSubmission => of(5, "EmailSubmission", 's', 20_000, false, true),
            Self::Preferences => of(6, "Preferences", 'p', 1, true, true),
            Self::Upload => of(7, "Upload", 'f', 1_000, false, false),
            Self::Answered => of(8, "Answered", 'w', 10_000, true, false),
        }
    }

    /// Its name in JMAP.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// The type of this name in JMAP.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }

    /// Most objects of the type that one account has.
    #[must_use]
    pub fn most(self) -> u32 {
        self.facts().most
    }

    /// Whether its changes are kept for clients that follow them.
    #[must_use]
    pub fn is_followed(self) -> bool {
        self.facts().followed
    }

    /// Whether callers name its objects; else `decide` gives ids.
    #[must_use]
    pub fn is_named(self) -> bool {
        self.facts().named
    }

    pub(crate) fn code(self) -> u8 {
        self.facts().code
    }
}

/// RFC 8620 1.2: an object's id, within its account and type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId(String);

impl ObjectId {
    /// The id that a client names; `None` where no object can have it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let safe = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let fits = (1..=ID_LEN_MAX).contains(&text.len()) && text.bytes().all(safe);
        fits.then(|| Self(text.to_owned()))
    }

    /// The id of which there is one ([`SINGLETON`]).
    #[must_use]
    pub fn singleton() -> Self {
        Self(SINGLETON.to_owned())
    }

    /// 128 bits as an id of this type: its letter, so that it is no number and tells types apart, and
    /// hexadecimal digits, so that no two differ by case alone (RFC 8620 1.2).
    #[must_use]
    pub fn of(object_type: ObjectType, bits: [u8; 16]) -> Self {
        let mut text = String::with_capacity(33);
        text.push(object_type.facts().letter);
        text.extend(
            bits.iter()
                .flat_map(|b| [b >> 4, b & 15])
                .filter_map(|digit| char::from_digit(u32::from(digit), 16)),
        );
        Self(text)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

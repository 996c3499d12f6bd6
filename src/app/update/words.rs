//! What the two appliances say to each other about updates: questions of the one that drives a roll,
//! answers of the other.
//!
//! ```text
//! form 1 │ length 4 (LE) │ JSON │ bytes of a piece …
//! ```
//!
//! Invariants: the two run different versions for as long as a roll lasts, so fields may be added and
//! not taken away, and a question that is not understood is answered with a refusal. Deliberately
//! absent: files and slots.

use crate::appliance::slot::digest::Digest;
use crate::appliance::update::order::{Order, Published};
use serde::{Deserialize, Serialize};

/// How a message begins.
const FORM: u8 = 1;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Ask {
    /// How do updates stand with you?
    State,
    /// This file is for you: how much of it do you have?
    Offer { len: u64, file: Digest },
    /// Here is more of it.
    Piece { offset: u64 },
    /// Do this.
    Order(Order),
    /// Hand over to me.
    HandOver { uid: u32 },
    /// The file is of no more use.
    Forget,
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// So they stand.
    State(Box<PeerState>),
    /// So many bytes of the file.
    Have(u64),
    /// The file is here, whole.
    Whole,
    /// It will be done.
    Taken,
    /// It may be done later, not now.
    NotNow(String),
    /// It will not be done.
    Refused(String),
}

/// How updates stand with one appliance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PeerState {
    /// What root says there; `None` where nothing is said, as on a machine that was not flashed.
    pub published: Option<Published>,
    /// Why its last handover did not come about.
    #[serde(default)]
    pub handover: Option<String>,
    /// Whether it answers as primary; `None` where it is none, or a release that does not say so.
    #[serde(default)]
    pub serving: Option<bool>,
}

/// One message.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Message {
    /// Which question.
    pub n: u64,
    /// The question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<Ask>,
    /// The answer to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
}

/// A message of which only this is understood.
#[derive(Deserialize)]
struct Strange {
    n: u64,
    ask: Option<serde::de::IgnoredAny>,
}

/// What came.
#[derive(Debug)]
pub(super) enum Came {
    /// A question, with the bytes of a piece.
    Ask { n: u64, ask: Ask, bytes: Vec<u8> },
    /// An answer.
    Answer { n: u64, answer: Answer },
    /// A question that is not understood.
    Strange { n: u64 },
    /// Nothing that could be answered.
    Nothing,
}

pub(super) fn encode(message: &Message, bytes: &[u8]) -> Vec<u8> {
    let json = serde_json::to_vec(message).unwrap_or_default();
    let len = u32::try_from(json.len()).unwrap_or(u32::MAX);
    [&[FORM][..], &len.to_le_bytes(), &json, bytes].concat()
}

pub(super) fn decode(message: &[u8]) -> Came {
    let Some((&[FORM, a, b, c, d], rest)) = message.split_first_chunk::<5>() else {
        return Came::Nothing;
    };
    let len = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    let Some((json, bytes)) = rest.split_at_checked(len) else { return Came::Nothing };
    match serde_json::from_slice(json) {
        Ok(Message { n, ask: Some(ask), .. }) => Came::Ask { n, ask, bytes: bytes.to_vec() },
        Ok(Message { n, answer: Some(answer), .. }) => Came::Answer { n, answer },
        Ok(Message { .. }) => Came::Nothing,
        Err(_) => match serde_json::from_slice(json) {
            Ok(Strange { n, ask: Some(_) }) => Came::Strange { n },
            // An answer of another kind: as good as none.
            _ => Came::Nothing,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_come_as_they_went() {
        let ask = Ask::Piece { offset: 7 };
        let message = Message { n: 3, ask: Some(ask.clone()), answer: None };
        match decode(&encode(&message, b"piece")) {
            Came::Ask { n: 3, ask: came, bytes } => {
                assert_eq!((came, &bytes[..]), (ask, &b"piece"[..]));
            }
            other => panic!("{other:?}"),
        }
        let answer = Some(Answer::Refused("no".into()));
        let message = Message { n: 4, ask: None, answer };
        assert!(matches!(decode(&encode(&message, b"")), Came::Answer { n: 4, .. }));
    }

    #[test]
    fn what_a_later_version_asks_is_refused_and_what_it_adds_is_no_hindrance() {
        let framed = |json: &str| {
            let len = u32::try_from(json.len()).unwrap().to_le_bytes();
            [&[FORM][..], &len, json.as_bytes()].concat()
        };
        let strange = decode(&framed(r#"{"n":9,"ask":{"dance":1}}"#));
        assert!(matches!(strange, Came::Strange { n: 9 }));
        let more = decode(&framed(r#"{"n":9,"more":1,"ask":{"piece":{"offset":1,"more":2}}}"#));
        assert!(matches!(more, Came::Ask { n: 9, .. }));
        assert!(matches!(decode(&framed(r#"{"n":9,"answer":{"dance":1}}"#)), Came::Nothing));
        assert!(matches!(decode(b"\x02"), Came::Nothing));
    }

    proptest! {
        #[test]
        fn anything_may_come(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(decode(&bytes));
            drop(decode(&[&[FORM][..], &bytes].concat()));
        }
    }
}

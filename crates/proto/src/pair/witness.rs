//! What the witness keeps for a pair, and how the two talk about it.
//!
//! The witness holds one [`WitnessRegister`] per pair in one fsynced file and changes it only by
//! compare-and-swap on the epoch. It holds no mail and is outside the write path: it is asked to go
//! alone, to promote, to admit, and nothing else. What its answers mean is decided by the pair's
//! machine; how they travel is the driver's business.
//!
//! [`decide`] is the whole of the witness: what it holds, a question, and what it holds then.
//! On the wire each side sends messages: `u16` length (big-endian, of what follows), postcard of
//! [`WitnessRequest`] or [`WitnessReply`]. The first of each side are `Hello` and `Welcome`; then
//! every `Ask` is answered by the `Answer` of the same number, in order.

use super::register::Insync;
use crate::codec::{self, DecodeError};
use crate::id::{Epoch, NodeId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of the protocol that this release speaks.
pub const WITNESS_VERSION: u16 = 1;
/// Longest message in bytes, without its length. A sentence of refusal is the longest.
pub const WITNESS_MESSAGE_LEN_MAX: usize = 512;
/// Length of a message's length field.
const LENGTH_LEN: usize = 2;
/// Longest sentence of refusal in bytes.
const SORRY_LEN_MAX: usize = 400;

/// The third vote: which reign holds, who leads it, and who has everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessRegister {
    /// The reign.
    pub epoch: Epoch,
    /// Who holds it.
    pub holder: NodeId,
    /// The set of nodes that every acknowledged change is durable on.
    pub insync: Insync,
}

/// What a node asks of the witness. One question at a time is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WitnessAsk {
    /// What do you hold?
    Read,
    /// If you hold the reign `expect`, hold `new` from now on. `expect` is `None` for a witness that
    /// holds nothing yet (seeding).
    Swap {
        /// The reign that must be there.
        expect: Option<Epoch>,
        /// What shall be there.
        new: WitnessRegister,
    },
    /// The pair, with both nodes agreed, replaces what a lost or rolled-back witness holds,
    /// whatever that is. Refused where the witness holds a higher epoch than `new`.
    Seed {
        /// What shall be there.
        new: WitnessRegister,
    },
}

/// What comes back, for the question of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WitnessAnswer {
    /// It holds this (`None`: nothing), and did what was asked: durable.
    Done(Option<WitnessRegister>),
    /// It holds this, and did nothing.
    Refused(Option<WitnessRegister>),
    /// No answer: unreachable, or too late. A swap may or may not have been done.
    Lost,
}

/// What a node sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WitnessRequest {
    /// The first message.
    Hello {
        /// [`WITNESS_VERSION`] of the node.
        version: u16,
        /// Its pair.
        pair: [u8; 16],
        /// Which of the pair's nodes it is.
        node: NodeId,
    },
    /// A question.
    Ask {
        /// Comes back with the answer.
        number: u64,
        /// The question.
        ask: WitnessAsk,
    },
}

/// What the witness sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WitnessReply {
    /// The hello was right: ask.
    Welcome,
    /// The answer to the question of that number; never [`WitnessAnswer::Lost`].
    Answer {
        /// As asked.
        number: u64,
        /// The answer.
        answer: WitnessAnswer,
    },
    /// The witness does not serve this node, and closes the connection: why, in a sentence.
    Sorry(String),
}

/// What the witness is to do for a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: answer so.
    Answer(WitnessAnswer),
    /// Make this durable, then answer `Done` with it.
    Hold(WitnessRegister),
}

/// Decides a question to a witness that holds `held`. A question that was carried out before and is
/// asked again (its answer was lost) is done again by doing nothing.
#[must_use]
pub fn decide(held: Option<WitnessRegister>, ask: WitnessAsk) -> Verdict {
    let done = Verdict::Answer(WitnessAnswer::Done(held));
    let refused = Verdict::Answer(WitnessAnswer::Refused(held));
    match ask {
        WitnessAsk::Read => done,
        WitnessAsk::Swap { new, .. } | WitnessAsk::Seed { new } if held == Some(new) => done,
        WitnessAsk::Swap { expect, new } => {
            let epoch = held.map(|register| register.epoch);
            // A reign has one holder and one insync: what changes them begins a new one.
            let newer = epoch.is_none_or(|epoch| new.epoch > epoch);
            if epoch == expect && newer { Verdict::Hold(new) } else { refused }
        }
        WitnessAsk::Seed { new } => {
            if held.is_some_and(|register| register.epoch > new.epoch) {
                refused
            } else {
                Verdict::Hold(new)
            }
        }
    }
}

/// Bytes that are no message of the witness's protocol. The connection is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitnessMessageError {
    /// Empty, or longer than [`WITNESS_MESSAGE_LEN_MAX`].
    #[error("a message of {0} bytes")]
    Length(usize),
    /// The body cannot be read.
    #[error(transparent)]
    Body(#[from] DecodeError),
}

impl WitnessRequest {
    /// The message, length first.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        message(self)
    }

    /// The request at the start of `bytes`, and its whole length; `None` while it is not whole.
    ///
    /// # Errors
    /// What is there will never be a request.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, WitnessMessageError> {
        split(bytes, "a question to the witness")
    }
}

impl WitnessReply {
    /// A refusal; a sentence that is too long is cut.
    #[must_use]
    pub fn sorry(sentence: &str) -> Self {
        let mut text = String::new();
        for c in sentence.chars() {
            if text.len().saturating_add(c.len_utf8()) > SORRY_LEN_MAX {
                break;
            }
            text.push(c);
        }
        Self::Sorry(text)
    }

    /// The message, length first.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        message(self)
    }

    /// The reply at the start of `bytes`, and its whole length; `None` while it is not whole.
    ///
    /// # Errors
    /// What is there will never be a reply.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, WitnessMessageError> {
        split(bytes, "an answer of the witness")
    }
}

fn message<T: Serialize>(value: &T) -> Vec<u8> {
    let body = codec::encode(value);
    let mut out = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    out.extend_from_slice(&body);
    out
}

fn split<T: DeserializeOwned>(
    bytes: &[u8],
    what: &'static str,
) -> Result<Option<(T, usize)>, WitnessMessageError> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_LEN>() else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes(*length));
    if len == 0 || len > WITNESS_MESSAGE_LEN_MAX {
        return Err(WitnessMessageError::Length(len));
    }
    let Some(body) = rest.get(..len) else { return Ok(None) };
    Ok(Some((codec::decode(what, body)?, len.saturating_add(LENGTH_LEN))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn register(epoch: u64, holder: u8) -> WitnessRegister {
        WitnessRegister { epoch: Epoch(epoch), holder: NodeId(holder), insync: Insync::Both }
    }

    fn after(held: Option<WitnessRegister>, ask: WitnessAsk) -> Option<WitnessRegister> {
        match decide(held, ask) {
            Verdict::Hold(new) => Some(new),
            Verdict::Answer(_) => held,
        }
    }

    #[test]
    fn of_two_who_swap_the_same_reign_one_gets_it() {
        let held = Some(register(4, 0));
        let swap = |holder| WitnessAsk::Swap { expect: Some(Epoch(4)), new: register(5, holder) };
        assert_eq!(decide(held, swap(0)), Verdict::Hold(register(5, 0)));
        let held = Some(register(5, 0));
        assert_eq!(decide(held, swap(1)), Verdict::Answer(WitnessAnswer::Refused(held)));
        // Its answer was lost: the same question is done again.
        assert_eq!(decide(held, swap(0)), Verdict::Answer(WitnessAnswer::Done(held)));
    }

    #[test]
    fn an_empty_witness_is_seeded_once() {
        let seed = |holder| WitnessAsk::Swap { expect: None, new: register(1, holder) };
        assert_eq!(decide(None, WitnessAsk::Read), Verdict::Answer(WitnessAnswer::Done(None)));
        assert_eq!(decide(None, seed(0)), Verdict::Hold(register(1, 0)));
        let held = Some(register(1, 0));
        assert_eq!(decide(held, seed(1)), Verdict::Answer(WitnessAnswer::Refused(held)));
        let swap = WitnessAsk::Swap { expect: Some(Epoch(1)), new: register(2, 0) };
        assert_eq!(decide(None, swap), Verdict::Answer(WitnessAnswer::Refused(None)));
    }

    #[test]
    fn a_pair_replaces_what_was_rolled_back_but_nothing_newer() {
        let seed = WitnessAsk::Seed { new: register(7, 1) };
        assert_eq!(decide(Some(register(3, 0)), seed), Verdict::Hold(register(7, 1)));
        assert_eq!(decide(Some(register(7, 0)), seed), Verdict::Hold(register(7, 1)));
        let newer = Some(register(8, 0));
        assert_eq!(decide(newer, seed), Verdict::Answer(WitnessAnswer::Refused(newer)));
    }

    #[test]
    fn a_sentence_is_cut_to_fit() {
        let reply = WitnessReply::sorry(&"ü".repeat(1_000));
        let bytes = reply.encode();
        assert!(bytes.len() <= WITNESS_MESSAGE_LEN_MAX + LENGTH_LEN);
        assert_eq!(WitnessReply::decode(&bytes), Ok(Some((reply, bytes.len()))));
    }

    proptest! {
        #[test]
        fn the_epoch_never_goes_back(
            asks in prop::collection::vec((0u8..3, 0u64..6, 0u64..6, 0u8..2), 0..40)
        ) {
            let mut held = None;
            for (kind, expect, epoch, holder) in asks {
                let new = register(epoch, holder);
                let ask = match kind {
                    0 => WitnessAsk::Read,
                    1 => WitnessAsk::Swap { expect: expect.checked_sub(1).map(Epoch), new },
                    _ => WitnessAsk::Seed { new },
                };
                let next = after(held, ask);
                prop_assert!(next.map(|r| r.epoch) >= held.map(|r| r.epoch));
                held = next;
            }
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes: Vec<u8>, cut in any::<prop::sample::Index>()) {
            if let Ok(Some((request, whole))) = WitnessRequest::decode(&bytes) {
                prop_assert!(whole <= bytes.len());
                let again = request.encode();
                prop_assert_eq!(WitnessRequest::decode(&again), Ok(Some((request, again.len()))));
                prop_assert_eq!(WitnessRequest::decode(&again[..cut.index(again.len())]), Ok(None));
            }
            let _reply = WitnessReply::decode(&bytes);
        }
    }
}

//! What lets a node into a pair, whichever way it came: an operator's token, or a secret that both were
//! given beforehand.
//!
//! Absent on purpose: its end. The node that gave it, or was given it, knows until when it counts.

use super::{PairId, Token};
use crate::base::secret::Secret;
use crate::config::PairSecret;
use crate::tls::Pin;
use std::net::SocketAddr;

/// Domains of what is derived from a pair's secret.
const PAIR_CONTEXT: &str = "understudy 2026 pair id of a shared secret";
const KEY_CONTEXT: &str = "understudy 2026 pair join key of a shared secret";

/// An invitation into a pair.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// Which pair.
    pub(super) pair: PairId,
    /// The certificate of the node that answers, where it is known beforehand.
    pub(super) pin: Option<Pin>,
    /// Under which both prove themselves.
    pub(super) key: Secret<[u8; 32]>,
    /// Where that node listens, in the order in which to try.
    pub(super) addresses: Vec<SocketAddr>,
}

impl Invitation {
    /// Into the pair of `secret`, one of whose nodes answers at `addresses`.
    #[must_use]
    pub fn of_secret(secret: &PairSecret, addresses: &[SocketAddr]) -> Self {
        let id = blake3::derive_key(PAIR_CONTEXT, secret.expose());
        let mut pair = PairId([0; 16]);
        pair.0.iter_mut().zip(id).for_each(|(to, from)| *to = from);
        Self {
            pair,
            pin: None,
            key: Secret::new(blake3::derive_key(KEY_CONTEXT, secret.expose())),
            addresses: addresses.to_vec(),
        }
    }
}

impl From<&Token> for Invitation {
    fn from(token: &Token) -> Self {
        Self {
            pair: token.pair(),
            pin: Some(token.pin()),
            key: Secret::new(token.key()),
            addresses: token.addresses().to_vec(),
        }
    }
}

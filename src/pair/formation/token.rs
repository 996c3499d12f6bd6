//! The one-time token that an operator carries from one appliance to the other.
//!
//! ```text
//! "understudy-" base64url( 1 ‖ pair id [16] ‖ pin [32] ‖ secret [20] ‖ expires u64
//!                          ‖ count u8 ‖ count × (4|6 ‖ address ‖ port u16) ‖ check [4] )
//! ```
//! The check is the first four bytes of BLAKE3 over everything before: it catches typing errors.

use super::PairId;
use crate::base::secret::{self, Secret};
use crate::tls::Pin;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use understudy_proto::time::UnixMs;

/// Most addresses in a token.
const ADDRESSES_MAX: usize = 16;
const PREFIX: &str = "understudy-";
const VERSION: u8 = 1;
const CHECK_LEN: usize = 4;
/// Domain of the key that is derived from the secret.
const KEY_CONTEXT: &str = "understudy 2026 pair join token key";

/// A one-time token. Its text is a secret until it is used: `Debug` hides it, `Display` is for the
/// operator's eyes.
#[derive(Clone)]
pub struct Token {
    pair: PairId,
    pin: Pin,
    secret: Secret<[u8; 20]>,
    expires: UnixMs,
    addresses: Vec<SocketAddr>,
}

/// Text that is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token at all.
    #[error("this is no join token; it starts with \"{PREFIX}\" and comes from `pair token`")]
    NotAToken,
    /// Letters are missing or changed.
    #[error("the join token is damaged; copy all of it, on one line or several")]
    Damaged,
    /// Of another release.
    #[error("the join token has format {0}, which this release does not know; use the same one")]
    Version(u8),
    /// Nowhere to go, or too many places.
    #[error("a join token carries 1 to {ADDRESSES_MAX} addresses, not {0}")]
    Addresses(usize),
}

impl Token {
    /// A token with a fresh secret.
    pub(super) fn new(
        pair: PairId,
        pin: Pin,
        expires: UnixMs,
        addresses: &[SocketAddr],
    ) -> Result<Self, TokenError> {
        if addresses.is_empty() || addresses.len() > ADDRESSES_MAX {
            return Err(TokenError::Addresses(addresses.len()));
        }
        let secret = Secret::new(secret::random());
        Ok(Self { pair, pin, secret, expires, addresses: addresses.to_vec() })
    }

    /// The pair that it invites into.
    #[must_use]
    pub fn pair(&self) -> PairId {
        self.pair
    }

    /// The certificate of the node that gave it out.
    #[must_use]
    pub fn pin(&self) -> Pin {
        self.pin
    }

    /// Until when it can be used, by the clock of the node that gave it out.
    #[must_use]
    pub fn expires(&self) -> UnixMs {
        self.expires
    }

    /// Where that node listens, in the order in which to try.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The key under which the new certificate is proven. The giving node keeps only this.
    pub(super) fn key(&self) -> [u8; 32] {
        blake3::derive_key(KEY_CONTEXT, self.secret.expose())
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (pair, rest) = bytes.split_first_chunk::<16>()?;
        let (pin, rest) = rest.split_first_chunk::<32>()?;
        let (secret, rest) = rest.split_first_chunk::<20>()?;
        let (expires, rest) = rest.split_first_chunk::<8>()?;
        let (count, mut rest) = rest.split_first()?;
        let mut addresses = Vec::new();
        for _ in 0..*count {
            let (family, after) = rest.split_first()?;
            let (ip, after): (IpAddr, _) = match family {
                4 => after.split_first_chunk::<4>().map(|(ip, rest)| ((*ip).into(), rest))?,
                6 => after.split_first_chunk::<16>().map(|(ip, rest)| ((*ip).into(), rest))?,
                _ => return None,
            };
            let (port, after) = after.split_first_chunk::<2>()?;
            addresses.push(SocketAddr::new(ip, u16::from_be_bytes(*port)));
            rest = after;
        }
        let complete = rest.is_empty() && (1..=ADDRESSES_MAX).contains(&addresses.len());
        complete.then(|| Self {
            pair: PairId(*pair),
            pin: Pin(*pin),
            secret: Secret::new(*secret),
            expires: UnixMs(u64::from_be_bytes(*expires)),
            addresses,
        })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.pair.0);
        bytes.extend_from_slice(&self.pin.0);
        bytes.extend_from_slice(self.secret.expose());
        bytes.extend_from_slice(&self.expires.0.to_be_bytes());
        bytes.push(u8::try_from(self.addresses.len()).unwrap_or(u8::MAX));
        for address in &self.addresses {
            match address.ip() {
                IpAddr::V4(ip) => {
                    bytes.push(4);
                    bytes.extend_from_slice(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    bytes.push(6);
                    bytes.extend_from_slice(&ip.octets());
                }
            }
            bytes.extend_from_slice(&address.port().to_be_bytes());
        }
        let check = check(&bytes);
        bytes.extend_from_slice(&check);
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, {:?})", self.pair, self.addresses)
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let text = text.strip_prefix(PREFIX).ok_or(TokenError::NotAToken)?;
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(text) else { return Err(TokenError::Damaged) };
        let (body, found) = bytes.split_last_chunk::<CHECK_LEN>().ok_or(TokenError::Damaged)?;
        if check(body) != *found {
            return Err(TokenError::Damaged);
        }
        match body.split_first() {
            Some((&VERSION, body)) => Self::decode(body).ok_or(TokenError::Damaged),
            Some((version, _)) => Err(TokenError::Version(*version)),
            None => Err(TokenError::Damaged),
        }
    }
}

fn check(bytes: &[u8]) -> [u8; CHECK_LEN] {
    let mut check = [0; CHECK_LEN];
    blake3::Hasher::new().update(bytes).finalize_xof().fill(&mut check);
    check
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tokens_come_back_as_written(pair: [u8; 16], pin: [u8; 32], at: u64, places in prop::collection::vec(any::<(IpAddr, u16)>(), 1..=ADDRESSES_MAX), cut in 1usize..40) {
            let places: Vec<SocketAddr> = places.into_iter().map(SocketAddr::from).collect();
            let token = Token::new(PairId(pair), Pin(pin), UnixMs(at), &places).unwrap();
            let mut text = token.to_string();
            text.insert(cut, '\n');
            let back: Token = text.parse().unwrap();
            prop_assert_eq!(back.pair(), token.pair());
            prop_assert_eq!(back.pin(), token.pin());
            prop_assert_eq!(back.expires(), token.expires());
            prop_assert_eq!(back.addresses(), token.addresses());
            prop_assert_eq!(back.key(), token.key());
        }

        #[test]
        fn a_changed_letter_is_noticed(at in 11usize..120, letter in "[A-Za-z0-9_-]") {
            let places = [SocketAddr::from(([10, 0, 1, 1], 7400))];
            let text = Token::new(PairId([1; 16]), Pin([2; 32]), UnixMs(3), &places).unwrap().to_string();
            let mut changed = text.clone();
            changed.replace_range(at..=at, &letter);
            prop_assert!(changed == text || changed.parse::<Token>().is_err());
        }

        #[test]
        fn no_text_breaks_the_reader(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(text.parse::<Token>().is_err());
            let mut bytes = bytes;
            bytes.insert(0, VERSION);
            let check = check(&bytes);
            bytes.extend_from_slice(&check);
            if let Ok(token) = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&bytes)).parse::<Token>() {
                prop_assert!(!token.addresses().is_empty());
            }
        }
    }
}

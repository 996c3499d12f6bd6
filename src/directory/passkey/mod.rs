//! What a browser and its authenticator say of a passkey (WebAuthn Level 3), checked. Pure work, no store.
//!
//! No library: those that there are bring a second implementation of each signature or five formats of
//! attestation, and what is left of the ceremonies with attestation `none` is below. Invariants: name
//! (RP id), origin, challenge, presence and verification of the user are checked in both ceremonies;
//! only three algorithms. Absent on purpose: CBOR, for the browser hands out the key as X.509 has it
//! (`getPublicKey()`, 5.2.1), and attestation `none` proves neither form; trust in an authenticator's
//! make; the sign counter, which synchronised passkeys do not have.

use crate::base::secret;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use understudy_proto::codec;
use understudy_proto::directory::{Passkey, PasskeyAlgorithm};
use understudy_proto::id::{AccountId, TenantId};
use understudy_proto::time::UnixMs;

/// How long a challenge may be answered, in milliseconds.
pub(super) const CHALLENGE_MS: u64 = 5 * 60 * 1_000;
/// A clock of the other node that is ahead of ours.
const AHEAD_MS: u64 = 60 * 1_000;
/// Time, random bytes, and what proves both.
const CHALLENGE_LEN: usize = 8 + 16 + 32;
/// WebAuthn 4: longest credential id.
const ID_LEN_MAX: usize = 1_023;
/// Longest key: RSA with 8,192 bits comes to less.
const KEY_LEN_MAX: usize = 2_048;
/// WebAuthn 6.1: hash of the name, flags, counter.
const HEAD_LEN: usize = 32 + 1 + 4;
/// WebAuthn 6.5.1: the authenticator's make.
const AAGUID_LEN: usize = 16;
/// WebAuthn 6.1: the person was there,
const PRESENT: u8 = 1;
/// and was verified (a PIN, a finger, a face): what makes a passkey two factors.
const VERIFIED: u8 = 1 << 2;
/// It may be kept in more than one place,
const MAY_BE_KEPT: u8 = 1 << 3;
/// and is.
const IS_KEPT: u8 = 1 << 4;
/// A new credential is described.
const ATTESTED: u8 = 1 << 6;

/// For whom passkeys are: the name that people came to, and the app's origin there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relying {
    /// RP id: one of the appliance's own names, never just what a request said.
    pub id: String,
    /// As browsers write it (RFC 6454 6.2).
    pub origin: String,
}

/// What a browser says of a passkey that it made.
#[derive(Clone, Debug)]
pub struct Registration {
    /// `response.clientDataJSON`.
    pub client_data: Vec<u8>,
    /// `response.getAuthenticatorData()`.
    pub authenticator_data: Vec<u8>,
    /// `response.getPublicKey()`.
    pub key: Vec<u8>,
    /// `response.getPublicKeyAlgorithm()` (IANA COSE Algorithms).
    pub algorithm: i64,
}

/// What a browser says to sign in.
#[derive(Clone, Debug)]
pub struct Assertion {
    /// `rawId`.
    pub id: Vec<u8>,
    /// `response.userHandle`.
    pub user: Vec<u8>,
    /// `response.clientDataJSON`.
    pub client_data: Vec<u8>,
    /// `response.authenticatorData`.
    pub authenticator_data: Vec<u8>,
    /// `response.signature`.
    pub signature: Vec<u8>,
}

/// Why a passkey is not taken. Whoever sent it learns that it is wrong, and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PasskeyError {
    #[error("the client data cannot be read")]
    ClientData,
    #[error("the client data are of another ceremony")]
    Ceremony,
    #[error("the challenge is none of ours, for somebody or something else, or too old")]
    Challenge,
    #[error("the origin is not the app's")]
    Origin,
    #[error("the authenticator's data cannot be read")]
    AuthenticatorData,
    #[error("the passkey is for another name")]
    Name,
    #[error("nobody was there")]
    Presence,
    #[error("the person was not verified")]
    Verification,
    #[error("the key or its algorithm is none of those that we take")]
    Key,
    #[error("the signature is wrong")]
    Signature,
}

/// What a challenge is for: an answer to one is none to another.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose<'a> {
    /// To register, by this session of this account, which has shown its password.
    Create { whose: (TenantId, AccountId), session: u32, rp: &'a str },
    /// To sign in at this name.
    Get { rp: &'a str },
}

impl Purpose<'_> {
    const fn ceremony(self) -> &'static str {
        match self {
            Self::Create { .. } => "webauthn.create",
            Self::Get { .. } => "webauthn.get",
        }
    }

    fn proof(self, key: &[u8; 32], head: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(key);
        // Of one length each, but for the name, which is last.
        hasher.update(head);
        let rp = match self {
            Self::Create { whose: (tenant, account), session, rp } => {
                hasher.update(&[1]);
                for number in [tenant.0, account.0, session] {
                    hasher.update(&number.to_be_bytes());
                }
                rp
            }
            Self::Get { rp } => {
                hasher.update(&[2]);
                rp
            }
        };
        hasher.update(rp.as_bytes()).finalize()
    }
}

/// A challenge, as the browser is given it. Nothing of it is kept: both nodes hold `key`, so that one
/// that was asked for here may be answered there, after a takeover.
pub(super) fn challenge(key: &[u8; 32], purpose: Purpose<'_>, now: UnixMs) -> String {
    let random: [u8; 16] = secret::random();
    let mut bytes = now.0.to_be_bytes().to_vec();
    bytes.extend_from_slice(&random);
    let proof = purpose.proof(key, &bytes);
    bytes.extend_from_slice(proof.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// When the challenge was given out, if it was for `purpose` and may be answered yet.
fn issued(
    key: &[u8; 32],
    purpose: Purpose<'_>,
    challenge: &str,
    now: UnixMs,
) -> Result<UnixMs, PasskeyError> {
    let bytes = URL_SAFE_NO_PAD.decode(challenge).ok().filter(|b| b.len() == CHALLENGE_LEN);
    let bytes = bytes.ok_or(PasskeyError::Challenge)?;
    let (head, proof) = bytes.split_at_checked(8 + 16).ok_or(PasskeyError::Challenge)?;
    let given = <[u8; 32]>::try_from(proof).map_err(|_len| PasskeyError::Challenge)?;
    let at = head.first_chunk().map(|at| UnixMs(u64::from_be_bytes(*at)));
    let at = at.ok_or(PasskeyError::Challenge)?;
    // blake3::Hash compares in constant time.
    let ours = purpose.proof(key, head) == blake3::Hash::from(given);
    let fresh = now.0 < at.0.saturating_add(CHALLENGE_MS) && at.0 <= now.0.saturating_add(AHEAD_MS);
    if ours && fresh { Ok(at) } else { Err(PasskeyError::Challenge) }
}

/// WebAuthn 5.8.1.
#[derive(Deserialize)]
struct ClientData {
    #[serde(rename = "type")]
    ceremony: String,
    challenge: String,
    origin: String,
    #[serde(rename = "crossOrigin", default)]
    cross_origin: bool,
}

/// WebAuthn 7.1 steps 5 to 11, 7.2 steps 10 to 14. The answer is when the challenge was given out.
fn check_client(
    key: &[u8; 32],
    (purpose, relying): (Purpose<'_>, &Relying),
    client_data: &[u8],
    now: UnixMs,
) -> Result<UnixMs, PasskeyError> {
    let said: ClientData =
        serde_json::from_slice(client_data).map_err(|_json| PasskeyError::ClientData)?;
    if said.ceremony != purpose.ceremony() {
        return Err(PasskeyError::Ceremony);
    }
    // Nobody frames the app.
    if said.origin != relying.origin || said.cross_origin {
        return Err(PasskeyError::Origin);
    }
    issued(key, purpose, &said.challenge, now)
}

/// WebAuthn 7.1 steps 14 to 18, 7.2 steps 15 to 19. The answer is the flags and what follows the head.
fn check_authenticator<'a>(
    relying: &Relying,
    data: &'a [u8],
) -> Result<(u8, &'a [u8]), PasskeyError> {
    let (head, rest) = data.split_at_checked(HEAD_LEN).ok_or(PasskeyError::AuthenticatorData)?;
    let (name, after) = head.split_at_checked(32).ok_or(PasskeyError::AuthenticatorData)?;
    let flags = *after.first().ok_or(PasskeyError::AuthenticatorData)?;
    if name != digest(&SHA256, relying.id.as_bytes()).as_ref() {
        return Err(PasskeyError::Name);
    }
    if flags & PRESENT == 0 {
        return Err(PasskeyError::Presence);
    }
    if flags & VERIFIED == 0 {
        return Err(PasskeyError::Verification);
    }
    if flags & IS_KEPT != 0 && flags & MAY_BE_KEPT == 0 {
        return Err(PasskeyError::AuthenticatorData);
    }
    Ok((flags, rest))
}

/// IANA COSE Algorithms, most wanted first.
pub(super) const ALGORITHMS: [(i64, PasskeyAlgorithm); 3] =
    [(-7, PasskeyAlgorithm::Es256), (-8, PasskeyAlgorithm::EdDsa), (-257, PasskeyAlgorithm::Rs256)];

fn parse_key(algorithm: PasskeyAlgorithm, key: &[u8]) -> Result<ParsedPublicKey, PasskeyError> {
    let by: &'static dyn VerificationAlgorithm = match algorithm {
        PasskeyAlgorithm::Es256 => &ECDSA_P256_SHA256_ASN1,
        PasskeyAlgorithm::EdDsa => &ED25519,
        PasskeyAlgorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
    };
    ParsedPublicKey::new(by, key).map_err(|_rejected| PasskeyError::Key)
}

/// A new passkey (WebAuthn 7.1).
pub(super) fn register(
    key: &[u8; 32],
    (purpose, relying): (Purpose<'_>, &Relying),
    said: &Registration,
    now: UnixMs,
) -> Result<Passkey, PasskeyError> {
    check_client(key, (purpose, relying), &said.client_data, now)?;
    let (flags, rest) = check_authenticator(relying, &said.authenticator_data)?;
    if flags & ATTESTED == 0 {
        return Err(PasskeyError::AuthenticatorData);
    }
    // WebAuthn 6.5.1: make, length of the id, id, and the key in CBOR.
    let id = rest.split_at_checked(AAGUID_LEN).and_then(|(_, rest)| {
        let (len, rest) = rest.split_first_chunk::<2>()?;
        rest.get(..usize::from(u16::from_be_bytes(*len)))
    });
    let id = id.filter(|id| (1..=ID_LEN_MAX).contains(&id.len()));
    let id = id.ok_or(PasskeyError::AuthenticatorData)?;
    let known = ALGORITHMS.iter().find(|(number, _)| *number == said.algorithm);
    let algorithm = known.map(|(_, algorithm)| *algorithm).ok_or(PasskeyError::Key)?;
    if said.key.len() > KEY_LEN_MAX {
        return Err(PasskeyError::Key);
    }
    parse_key(algorithm, &said.key)?;
    Ok(Passkey { rp: relying.id.clone(), id: id.to_vec(), algorithm, key: said.key.clone() })
}

/// Whether `said` is an assertion of `passkey` (WebAuthn 7.2). The answer is when its challenge was given
/// out, which is to be used up.
pub(super) fn verify(
    key: &[u8; 32],
    relying: &Relying,
    passkey: &Passkey,
    said: &Assertion,
    now: UnixMs,
) -> Result<UnixMs, PasskeyError> {
    let purpose = Purpose::Get { rp: &relying.id };
    let issued = check_client(key, (purpose, relying), &said.client_data, now)?;
    check_authenticator(relying, &said.authenticator_data)?;
    if passkey.rp != relying.id {
        return Err(PasskeyError::Name);
    }
    let hash = digest(&SHA256, &said.client_data);
    let signed = [said.authenticator_data.as_slice(), hash.as_ref()].concat();
    parse_key(passkey.algorithm, &passkey.key)?
        .verify_sig(&signed, &said.signature)
        .map_err(|_unspecified| PasskeyError::Signature)?;
    Ok(issued)
}

/// What an authenticator keeps to say whose a passkey is (WebAuthn 5.4.3: nothing personal): as in a
/// session's token. Where a merge gives the account another number, its passkeys open nothing any more.
pub(super) fn handle(tenant: TenantId, account: AccountId) -> Vec<u8> {
    [tenant.0.to_be_bytes(), account.0.to_be_bytes()].concat()
}

/// Whose a passkey says it is: a place to look, and no proof.
pub(super) fn whose(handle: &[u8]) -> Option<(TenantId, AccountId)> {
    let (tenant, account) = (codec::u32_at(handle, 0)?, codec::u32_at(handle, 4)?);
    (handle.len() == 8).then_some((TenantId(tenant), AccountId(account)))
}

#[cfg(test)]
pub(crate) mod authenticator;
#[cfg(test)]
mod tests;

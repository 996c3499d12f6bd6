//! How two appliances become a pair: one makes it, the other joins by an invitation.
//!
//! ```text
//!  node 0                                   the other
//!  init: identity.json, token ────────────► (an operator carries the token;
//!                                            or both were given one secret beforehand)
//!  running, port 7400 ◄── TLS 1.3, node 0's certificate: the token's, or whatever is shown ── join
//!                     ◄── new certificate, keyed hash over it and the certificate that was shown
//!  pin of the new certificate + invitation burnt: one durable write
//!                     ──► keyed hash over both certificates; authority, service key, beacon key,
//!                         node id, config id
//! ```
//!
//! Invariants: `<data_dir>/pair/identity.json` (0600) is replaced as a whole, under a lock, durably,
//! before anything acts on it; an invitation admits one certificate only; each side proves the
//! invitation's key over both certificates, so whoever stands between fails with both. Absent on
//! purpose: the keyring and the data, which the link ships; and any way to leave a pair.

mod identity;
mod invitation;
mod token;

pub use identity::{PairId, PairIdentity};
pub use invitation::Invitation;
pub use token::{Token, TokenError};

use super::strangers::Strangers;
use crate::base::{clock, secret, secret::Secret};
use crate::config::PairSecret;
use crate::tls::{Authority, Identity, Pin, TlsError, files, join_client, peer_pin};
use identity::{Pending, change, hex};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsConnector, rustls};
use understudy_proto::codec;
use understudy_proto::id::NodeId;
use understudy_proto::time::UnixMs;

/// How long a token can be used.
pub const TOKEN_VALID_MS: u64 = 24 * 3_600_000;
/// How long the secret that two appliances were given can be used, from the making of the pair.
pub const SECRET_VALID_MS: u64 = 30 * 24 * 3_600_000;
/// Longest message of a join, in bytes.
const MESSAGE_LEN_MAX: u32 = 64 * 1024;
/// Most time for each step of a join: connecting, TLS, asking, answering.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Server name in the TLS hello. Nobody looks at it: the certificate is pinned.
pub(super) const SERVER_NAME: &str = "understudy.invalid";
/// The certificate and the key of a node that is not let in yet, below the data directory.
const JOINING: &str = "pair/joining.json";
/// What is hashed first in a join's proof.
const PROOF_CONTEXT: &[u8] = b"understudy pair join 1";
/// What is hashed first in the proof of the node that answers.
const WELCOME_CONTEXT: &[u8] = b"understudy pair welcome 1";

/// Why no pair was formed.
#[derive(Debug, thiserror::Error)]
pub enum FormationError {
    /// The node is in a pair already.
    #[error(
        "this appliance is already node {node} of pair {pair}; `understudy pair token` makes a \
         new token for the other one"
    )]
    AlreadyPaired {
        /// Which node.
        node: NodeId,
        /// Which pair.
        pair: PairId,
    },
    /// There is no pair yet.
    #[error("this appliance is in no pair; run `understudy pair init` on it first")]
    NotPaired,
    /// The config says no address that the other one could reach.
    #[error("no address for the pair link: set `listen` under [pair] in the config file")]
    NoAddress,
    /// The joining node has data of its own.
    #[error(
        "{0} holds a log already, which joining would orphan; join with an empty data \
         directory, or move that folder away if its mail is not needed"
    )]
    HasData(PathBuf),
    /// The token cannot be read.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A file of the pair cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The identity file is damaged.
    #[error("{path} is damaged ({why}); restore it from a backup or join this node anew")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What the parser says.
        why: String,
    },
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The other node was not reached at any of the token's addresses.
    #[error(
        "the other appliance cannot be reached ({last}); is `understudy run` running there, and \
         port 7400 open between the two?"
    )]
    Unreachable {
        /// What happened at the last address.
        last: String,
    },
    /// Somebody else is there.
    #[error(
        "at {address} is another appliance than the one that made the token: its certificate is not \
         the token's; look for a wrong address, or make a new token on the right one \
         (`understudy pair token`)"
    )]
    OtherNode {
        /// Where.
        address: SocketAddr,
    },
    /// Somebody is there who does not know the secret.
    #[error(
        "at {address} answers somebody who cannot prove the pair's secret: look for a wrong address, \
         and whether both site files were made together"
    )]
    Stranger {
        /// Where.
        address: SocketAddr,
    },
    /// The other node refused.
    #[error("the other appliance refused: {0}")]
    Refused(Refusal),
    /// The other node's answer cannot be understood.
    #[error("the other appliance's answer cannot be read ({0}); are both of the same release?")]
    Answer(String),
}

/// Why a join is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// No token is pending: used, or never made.
    #[error(
        "it expects nobody (a token or a pair's secret works once); run `understudy pair token` there"
    )]
    NoToken,
    /// Another token is pending, or the proof is wrong.
    #[error(
        "the token is not its newest, or the secret not its own; run `understudy pair token` there"
    )]
    Wrong,
    /// The token is too old.
    #[error("the token or secret has expired; run `understudy pair token` there")]
    Expired,
    /// The request cannot be understood.
    #[error("it does not understand the request; are both of the same release?")]
    Malformed,
    /// It cannot write its files.
    #[error("it cannot store the new pin; see its log")]
    Storage,
}

/// What the joining node sends.
#[derive(Serialize, Deserialize)]
struct Request {
    pair: [u8; 16],
    certificate_pem: String,
    /// [`proof`] under the invitation's key.
    proof: [u8; 32],
}

/// What it gets.
#[derive(Serialize, Deserialize)]
enum Answer {
    Refused(Refusal),
    Welcome(Box<Welcome>),
}

#[derive(Serialize, Deserialize)]
struct Welcome {
    node: NodeId,
    config_id: u64,
    beacon_key: [u8; 32],
    authority_pem: String,
    service_key_pem: String,
    /// The certificate of the node that answers: its pin is known already.
    certificate_pem: String,
    /// [`proof`] of that node.
    proof: [u8; 32],
}

/// `understudy pair init`: makes this appliance node 0 of a new pair; the token invites the other.
/// `addresses` are those of this node's pair link, in the order in which the other is to try them.
///
/// # Errors
/// It is in a pair already; files cannot be written.
pub fn init(
    data_dir: &Path,
    addresses: &[SocketAddr],
    now: UnixMs,
) -> Result<Token, FormationError> {
    if addresses.is_empty() {
        return Err(FormationError::NoAddress);
    }
    found(data_dir, PairId(secret::random()), now, |id| invite(id, addresses, now))
}

/// Makes this appliance node 0 of the pair of `secret`, which invites the other for
/// [`SECRET_VALID_MS`].
///
/// # Errors
/// It is in a pair already; files cannot be written.
pub fn init_by_secret(
    data_dir: &Path,
    secret: &PairSecret,
    now: UnixMs,
) -> Result<(), FormationError> {
    let invitation = Invitation::of_secret(secret, &[]);
    found(data_dir, invitation.pair, now, |id| {
        let expires = UnixMs(now.0.saturating_add(SECRET_VALID_MS));
        id.token = Some(Pending { key: invitation.key.clone(), expires });
        Ok(())
    })
}

/// Lets the invitation of `secret` count from `now` again, as long as nobody has followed it: the clock
/// of a machine may have been wrong when it made the pair. A secret other than the one that the pair was
/// made by makes it another pair, which nobody has joined either: both site files were made anew. A token
/// that was given out meanwhile stays, and so does whatever else there is.
///
/// # Errors
/// Files cannot be read or written.
pub fn renew(data_dir: &Path, secret: &PairSecret, now: UnixMs) -> Result<(), FormationError> {
    let invitation = Invitation::of_secret(secret, &[]);
    let expires = UnixMs(now.0.saturating_add(SECRET_VALID_MS));
    let waits = |id: &PairIdentity| {
        let alone = id.founded && id.peer_certificate_pem.is_none() && id.used.is_none();
        let pending = id.token.as_ref().filter(|_| alone);
        pending.is_some_and(|t| {
            let ours = same(*t.key.expose(), *invitation.key.expose());
            id.pair != invitation.pair || (ours && t.expires != expires)
        })
    };
    if !PairIdentity::load(data_dir)?.is_some_and(|id| waits(&id)) {
        return Ok(());
    }
    change(data_dir, |found| {
        let mut id = found.ok_or(FormationError::NotPaired)?;
        if waits(&id) {
            id.pair = invitation.pair;
            id.token = Some(Pending { key: invitation.key.clone(), expires });
        }
        Ok((id, ()))
    })
}

fn found<T>(
    data_dir: &Path,
    pair: PairId,
    now: UnixMs,
    invite: impl FnOnce(&mut PairIdentity) -> Result<T, FormationError>,
) -> Result<T, FormationError> {
    Authority::load_or_generate(&tls_dir(data_dir), now)?;
    let own = Identity::self_signed(&format!("understudy-{pair}-0"), now)?;
    change(data_dir, |found| match found {
        Some(id) => Err(FormationError::AlreadyPaired { node: id.node, pair: id.pair }),
        None => {
            let mut id = PairIdentity {
                version: identity::VERSION,
                pair,
                node: NodeId(0),
                founded: true,
                config_id: 1,
                certificate_pem: own.certificate_pem,
                key_pem: Secret::new(own.key_pem),
                beacon_key: Secret::new(secret::random()),
                peer_certificate_pem: None,
                token: None,
                used: None,
            };
            let invited = invite(&mut id)?;
            Ok((id, invited))
        }
    })
}

/// `understudy pair token`: a new token for the other node, first or replaced; older ones are void.
/// The peer that is pinned now stays until the token is used. Works beside the running process.
///
/// # Errors
/// This appliance is in no pair; files cannot be written.
pub fn token(
    data_dir: &Path,
    addresses: &[SocketAddr],
    now: UnixMs,
) -> Result<Token, FormationError> {
    change(data_dir, |found| {
        let mut id = found.ok_or(FormationError::NotPaired)?;
        let token = invite(&mut id, addresses, now)?;
        Ok((id, token))
    })
}

fn invite(
    id: &mut PairIdentity,
    addresses: &[SocketAddr],
    now: UnixMs,
) -> Result<Token, FormationError> {
    let path = || PathBuf::from(identity::FILE);
    let pin = Pin::of_pem(&id.certificate_pem).ok_or_else(|| FormationError::Damaged {
        path: path(),
        why: "no certificate".to_owned(),
    })?;
    let expires = UnixMs(now.0.saturating_add(TOKEN_VALID_MS));
    let token = Token::new(id.pair, pin, expires, addresses)?;
    id.token = Some(Pending { key: Secret::new(token.key()), expires });
    id.used = None;
    Ok(token)
}

/// `understudy pair join`: makes this appliance the other node of the pair that a token or a secret
/// invites into. Returns what it has become; the data comes over the link once `understudy run` runs.
///
/// # Errors
/// The invitation cannot be used, or the other node cannot be reached; nothing was changed here then.
pub async fn join(
    data_dir: &Path,
    invitation: impl Into<Invitation>,
) -> Result<PairIdentity, FormationError> {
    let invitation = invitation.into();
    if let Some(id) = PairIdentity::load(data_dir)? {
        return Err(FormationError::AlreadyPaired { node: id.node, pair: id.pair });
    }
    let log = data_dir.join("log");
    if std::fs::read_dir(&log).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(FormationError::HasData(log));
    }
    let own = joining(data_dir, invitation.pair)?;
    let welcome = ask_any(&invitation, &own.certificate_pem).await?;
    let tls = tls_dir(data_dir);
    Authority::from_pem(&welcome.authority_pem)?.save(&tls)?;
    write(&tls.join("service.key"), welcome.service_key_pem.as_bytes())?;
    // The identity comes last: it makes the join true here.
    let joined = change(data_dir, |found| match found {
        Some(id) => Err(FormationError::AlreadyPaired { node: id.node, pair: id.pair }),
        None => {
            let id = PairIdentity {
                version: identity::VERSION,
                pair: invitation.pair,
                node: welcome.node,
                founded: false,
                config_id: welcome.config_id,
                certificate_pem: own.certificate_pem,
                key_pem: Secret::new(own.key_pem),
                beacon_key: Secret::new(welcome.beacon_key),
                peer_certificate_pem: Some(welcome.certificate_pem),
                token: None,
                used: None,
            };
            Ok((id.clone(), id))
        }
    })?;
    // What stays behind is what the identity holds, and nobody reads it again.
    drop(std::fs::remove_file(data_dir.join(JOINING)));
    Ok(joined)
}

/// The certificate that asks to be let in: the same until it is, so that an answer which was lost, or
/// a power cut after it, leaves nobody outside.
fn joining(data_dir: &Path, pair: PairId) -> Result<Identity, FormationError> {
    let path = data_dir.join(JOINING);
    let file = |source| FormationError::File { path: path.clone(), source };
    let found = files::read(&path).map_err(file)?;
    let found = found.and_then(|bytes| serde_json::from_slice::<(String, String)>(&bytes).ok());
    if let Some((certificate_pem, key_pem)) = found {
        return Ok(Identity { certificate_pem, key_pem });
    }
    let name = format!("understudy-{pair}-{}", hex(&secret::random::<4>()));
    let own = Identity::self_signed(&name, clock::now_ms())?;
    files::folder(&data_dir.join("pair")).map_err(file)?;
    let text = serde_json::to_vec(&(&own.certificate_pem, &own.key_pem));
    let text = text.map_err(|e| file(io::Error::other(e)))?;
    files::write_secret(&path, &text).map_err(file)?;
    Ok(own)
}

/// Asks at the invitation's addresses, in order, until one welcomes.
async fn ask_any(
    invitation: &Invitation,
    certificate_pem: &str,
) -> Result<Welcome, FormationError> {
    let mut last = "there is no address to try".to_owned();
    let mut answered = None;
    for address in &invitation.addresses {
        match ask(*address, invitation, certificate_pem).await {
            Ok(Ok(welcome)) => return Ok(welcome),
            Ok(Err(why)) => answered = answered.or(Some(why)),
            Err(e) if is_of_another(&e) => {
                answered = answered.or(Some(FormationError::OtherNode { address: *address }));
            }
            Err(e) => last = format!("{address}: {e}"),
        }
    }
    // Whoever answers says more than what does not.
    Err(answered.unwrap_or(FormationError::Unreachable { last }))
}

/// For how long it is asked whether the peer is in a pair.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// While its machine says that nothing listens there: its program may be restarting.
    pub refused: Duration,
    /// While nothing answers at all: it may be starting.
    pub silent: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { refused: Duration::from_secs(10), silent: Duration::from_secs(90) }
    }
}

/// Pause between two rounds of knocking.
const KNOCK_EVERY: Duration = Duration::from_secs(1);

/// The first of `addresses` where a node of a formed pair answers: one that is in no pair yet has no
/// open door.
pub async fn answers(addresses: &[SocketAddr], patience: Patience) -> Option<SocketAddr> {
    let begun = clock::mono();
    let mut refused_since = None;
    loop {
        let mut refused = false;
        for address in addresses {
            match knock(*address, None).await {
                Ok(_) => return Some(*address),
                Err(e) => refused |= e.kind() == io::ErrorKind::ConnectionRefused,
            }
        }
        let now = clock::mono();
        let over = |since, patience| now.since(since) >= patience;
        refused_since = refused.then(|| refused_since.unwrap_or(now));
        if refused_since.is_some_and(|since| over(since, patience.refused))
            || over(begun, patience.silent)
        {
            return None;
        }
        clock::sleep_until(now.after(KNOCK_EVERY)).await;
    }
}

/// Whether the other side has another certificate than the one that is pinned.
fn is_of_another(e: &io::Error) -> bool {
    let tls = e.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::InvalidCertificate(_)))
}

async fn knock(address: SocketAddr, pin: Option<Pin>) -> io::Result<TlsStream<TcpStream>> {
    let tcp = step(TcpStream::connect(address)).await?;
    let config = join_client(pin).map_err(io::Error::other)?;
    let name = ServerName::try_from(SERVER_NAME).map_err(io::Error::other)?;
    step(TlsConnector::from(config).connect(name, tcp)).await
}

/// Asks at one address. The inner error is an answer, but no welcome.
async fn ask(
    address: SocketAddr,
    invitation: &Invitation,
    certificate_pem: &str,
) -> io::Result<Result<Welcome, FormationError>> {
    let mut tls = knock(address, invitation.pin).await?;
    let shown = peer_pin(tls.get_ref().1).ok_or(io::ErrorKind::InvalidData)?;
    let proof = |context| proof(context, &invitation.key, invitation.pair, shown, certificate_pem);
    let request = Request {
        pair: invitation.pair.0,
        certificate_pem: certificate_pem.to_owned(),
        proof: proof(PROOF_CONTEXT),
    };
    step(send(&mut tls, &codec::encode(&request))).await?;
    let answer = step(receive(&mut tls)).await?;
    let answer = match codec::decode("the answer to a join", &answer) {
        Ok(answer) => answer,
        Err(e) => return Ok(Err(FormationError::Answer(e.to_string()))),
    };
    Ok(match answer {
        Answer::Refused(why) => Err(FormationError::Refused(why)),
        // Nothing in a welcome is believed before this.
        Answer::Welcome(welcome) if !same(proof(WELCOME_CONTEXT), welcome.proof) => {
            Err(FormationError::Stranger { address })
        }
        Answer::Welcome(welcome) if Pin::of_pem(&welcome.certificate_pem) != Some(shown) => {
            Err(FormationError::Answer("not its own certificate".to_owned()))
        }
        Answer::Welcome(welcome) => Ok(*welcome),
    })
}

/// Answers one join on a connection from `peer` that came in with [`crate::tls::JOIN_ALPN`]. Returns
/// the identity with the new peer once that is durable; `None` where the join was refused. Anybody can
/// knock: what comes to nothing is said as seldom as `strangers` may be spoken of.
pub(super) async fn answer<S>(
    data_dir: &Path,
    stream: &mut S,
    peer: SocketAddr,
    strangers: &Strangers,
) -> Option<PairIdentity>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = match step(receive(stream)).await {
        Ok(bytes) => bytes,
        Err(e) => {
            if let Some(count) = strangers.may_say(clock::mono()) {
                log::info!(peer:% = peer, err:% = e, count; "join broken off");
            }
            return None;
        }
    };
    let dir = data_dir.to_owned();
    let decided =
        tokio::task::spawn_blocking(move || decide(&dir, &request, clock::now_ms())).await;
    let (answer, joined) = match decided {
        Ok(Ok((welcome, id))) => {
            log::info!(peer:% = peer, node = id.node.peer().0; "the other appliance has joined the pair");
            (Answer::Welcome(Box::new(welcome)), Some(id))
        }
        Ok(Err(Denied { refusal, why })) => {
            if let Some(count) = strangers.may_say(clock::mono()) {
                if refusal == Refusal::Storage {
                    log::error!(peer:% = peer, err = why, count, runbook = "pair-formation"; "join cannot be stored");
                } else {
                    log::warn!(peer:% = peer, reason:% = refusal, err = why, count, runbook = "pair-formation"; "join refused");
                }
            }
            (Answer::Refused(refusal), None)
        }
        Err(_panicked) => (Answer::Refused(Refusal::Storage), None),
    };
    if let Err(e) = step(send(stream, &codec::encode(&answer))).await {
        if joined.is_some() {
            // The pin is set: that node alone may ask again, with the same certificate.
            log::warn!(peer:% = peer, err:% = e, runbook = "pair-formation"; "answer to a join not delivered, it may ask again");
        } else {
            log::debug!(peer:% = peer, err:% = e; "the refusal of a join not delivered");
        }
    }
    joined
}

/// A join that is refused.
#[derive(Debug)]
struct Denied {
    /// What the other side hears.
    refusal: Refusal,
    /// What only the log hears; may be empty.
    why: String,
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, why: String::new() }
    }
}

fn decide(data_dir: &Path, request: &[u8], now: UnixMs) -> Result<(Welcome, PairIdentity), Denied> {
    let request: Request = codec::decode("a join", request)
        .map_err(|e| Denied { refusal: Refusal::Malformed, why: e.to_string() })?;
    let storage =
        |e: &dyn std::fmt::Display| Denied { refusal: Refusal::Storage, why: e.to_string() };
    // First without the lock, and before the keys that are given away: a stranger goes no further.
    let known = PairIdentity::load(data_dir).map_err(|e| storage(&e))?;
    let mut known = known.ok_or_else(|| storage(&FormationError::NotPaired))?;
    admit(&mut known, &request, now)?;
    let tls = tls_dir(data_dir);
    let authority = Authority::load(&tls).map_err(|e| storage(&e))?;
    let authority = authority.ok_or_else(|| storage(&"tls/ca.key is missing"))?;
    let service_key = service_key(&tls).map_err(|e| storage(&e))?;
    // The outer error is of files, the inner of the request: only the first is worth an alarm.
    let mut refusal = None;
    let changed = change(data_dir, |found| {
        let mut id = found.ok_or(FormationError::NotPaired)?;
        match admit(&mut id, &request, now) {
            Ok(proof) => Ok((id.clone(), (id, proof))),
            Err(why) => {
                refusal = Some(why);
                Err(FormationError::Refused(why))
            }
        }
    });
    let (id, proof) = changed.map_err(|e| refusal.map_or_else(|| storage(&e), Denied::from))?;
    let welcome = Welcome {
        node: id.node.peer(),
        config_id: id.config_id,
        beacon_key: *id.beacon_key.expose(),
        authority_pem: authority.to_pem(),
        service_key_pem: service_key,
        certificate_pem: id.certificate_pem.clone(),
        proof,
    };
    Ok((welcome, id))
}

/// Checks the proof; then the pin is set and the invitation is gone, in one value. Returns our own
/// proof for the one that joins. The same certificate may come again by the same invitation: it has not
/// heard the answer.
fn admit(id: &mut PairIdentity, request: &Request, now: UnixMs) -> Result<[u8; 32], Refusal> {
    let again = id.peer_certificate_pem.as_ref() == Some(&request.certificate_pem);
    let used = id.used.as_ref().filter(|_| again);
    let pending = used.or(id.token.as_ref()).ok_or(Refusal::NoToken)?;
    let own = Pin::of_pem(&id.certificate_pem).ok_or(Refusal::Storage)?;
    Pin::of_pem(&request.certificate_pem).ok_or(Refusal::Malformed)?;
    let proof = |context| proof(context, &pending.key, id.pair, own, &request.certificate_pem);
    if !same(proof(PROOF_CONTEXT), request.proof) || request.pair != id.pair.0 {
        return Err(Refusal::Wrong);
    }
    if now > pending.expires {
        return Err(Refusal::Expired);
    }
    let welcome = proof(WELCOME_CONTEXT);
    if used.is_some() {
        return Ok(welcome);
    }
    id.peer_certificate_pem = Some(request.certificate_pem.clone());
    id.used = id.token.take();
    // A node that is replaced must not be heard any more.
    id.beacon_key = Secret::new(secret::random());
    id.config_id = id.config_id.saturating_add(1);
    Ok(welcome)
}

/// Binds the new certificate to the invitation's secret, to the pair and to the certificate of the node
/// that answers: as the one that joins has seen it, or as that node knows it to be its own.
fn proof(
    context: &[u8],
    key: &Secret<[u8; 32]>,
    pair: PairId,
    server: Pin,
    certificate_pem: &str,
) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key.expose());
    hasher.update(context).update(&pair.0).update(&server.0);
    hasher.update(certificate_pem.as_bytes());
    *hasher.finalize().as_bytes()
}

/// Compares two proofs in constant time, as `blake3::Hash` does.
fn same(expected: [u8; 32], given: [u8; 32]) -> bool {
    blake3::Hash::from(expected) == blake3::Hash::from(given)
}

/// The services' key, made here where no service has run yet.
fn service_key(tls: &Path) -> Result<String, TlsError> {
    let path = tls.join("service.key");
    let file = |source| TlsError::File { path: path.clone(), source };
    if let Some(bytes) = files::read(&path).map_err(file)? {
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    let Identity { key_pem, .. } = Identity::self_signed("understudy", clock::now_ms())?;
    files::write_secret(&path, key_pem.as_bytes()).map_err(file)?;
    Ok(key_pem)
}

fn tls_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("tls")
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), FormationError> {
    files::write_secret(path, bytes)
        .map_err(|source| FormationError::File { path: path.to_owned(), source })
}

async fn step<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(STEP_TIMEOUT, future).await {
        Ok(done) => done,
        Err(_elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
    }
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, message: &[u8]) -> io::Result<()> {
    let len = u32::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&len.to_be_bytes()).await?;
    stream.write_all(message).await?;
    stream.flush().await
}

async fn receive<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Vec<u8>> {
    let len = stream.read_u32().await?;
    if len > MESSAGE_LEN_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long"));
    }
    let mut message = Vec::new();
    let read = stream.take(u64::from(len)).read_to_end(&mut message).await?;
    if read < usize::try_from(len).unwrap_or(usize::MAX) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(message)
}

#[cfg(test)]
mod tests;

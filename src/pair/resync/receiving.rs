//! The standby's side of a full copy: takes in what comes, answers, puts it in place.
//!
//! Invariant: this node's own data is not touched here; the copy takes its place at the next start,
//! and only a node that is not primary takes one.

use super::words::{Word, decode_rows};
use super::{Claimed, CopyStatus, Job};
use crate::base::clock;
use crate::pair::driver::log_state;
use crate::store::swap::Old;
use crate::store::{Incoming, LogBase, SealedRow, Store, StoreError};
use understudy_proto::id::{Lsn, TenantId};
use understudy_proto::pair::{History, LogState, Role, State};

/// Largest keyring that is taken in, in bytes.
const KEYS_LEN_MAX: usize = 8 << 20;
/// Most open uploads of a tenant that are taken in.
const UPLOADS_MAX: usize = 16_384;

/// A copy that is being received.
pub(super) struct Receiving {
    incoming: Incoming,
    old: Old,
    uploads: Vec<SealedRow>,
    keys: zeroize::Zeroizing<Vec<u8>>,
    tenant: TenantId,
}

/// What a word led to.
pub(super) struct Taken {
    pub(super) receiving: Option<Receiving>,
    pub(super) answer: Word,
    /// The copy is complete and ordered into place: the program must start anew.
    pub(super) restart: bool,
}

impl Job {
    /// Takes in a word of the primary; blocking work in a thread of its own.
    pub(super) async fn take_in(&mut self, message: Vec<u8>) -> Taken {
        let (word, bytes) = match Word::decode(&message) {
            Ok(read) => read,
            Err(why) => return refuse(why),
        };
        if self.status.borrow().pair.role == Role::Primary {
            return refuse("this node has come to lead: it takes no copy".to_owned());
        }
        if let Word::Begin { log, bytes, tenants, .. } = &word {
            let (role, state) = {
                let status = self.status.borrow();
                (status.pair.role, status.pair.state)
            };
            if role == Role::Primary || state == State::Branched {
                return refuse(format!("this node is {role:?}, {state:?}: it takes no copy"));
            }
            let ours = log_state(self.store.log());
            // Where the two part is not known: then nothing here may be replaced, either.
            if History::fork(&ours, log).is_none_or(|fork| ours.committed > fork) {
                return refuse("this node holds committed changes that the copy lacks".to_owned());
            }
            log::info!(bytes = *bytes, count = *tenants; "a full copy of the peer's data begins");
            self.copy.send_replace(Some(CopyStatus {
                sending: false,
                bytes_total: *bytes,
                tenants_total: *tenants,
                ..CopyStatus::default()
            }));
            self.receiving = None;
        }
        if let Word::Progress { bytes, tenants, per_s } = word {
            self.copy.send_if_modified(|copy| {
                let Some(copy) = copy else { return false };
                (copy.bytes_done, copy.tenants_done, copy.bytes_per_s) = (bytes, tenants, per_s);
                true
            });
        }
        // From here on until the restart nobody may lead with what is here. The role is looked at
        // after that: whoever was told to lead before has the claim, or leads already.
        let complete = word == Word::Complete;
        if complete && !self.claim.take(Claimed::Copy) {
            return refuse("an operator has told this node to lead: it takes no copy".to_owned());
        }
        if complete && self.status.borrow().pair.role == Role::Primary {
            self.claim.leave(Claimed::Copy);
            return refuse("this node has come to lead: it takes no copy".to_owned());
        }
        let (store, bytes) = (self.store.clone(), bytes.to_vec());
        let receiving = self.receiving.take();
        let work = move || take_in(&store, receiving, word, bytes);
        let taken = match tokio::task::spawn_blocking(work).await {
            Ok(taken) => taken,
            Err(e) => refuse(e.to_string()),
        };
        if complete && !taken.restart {
            self.claim.leave(Claimed::Copy);
        }
        taken
    }
}

fn refuse(why: String) -> Taken {
    log::error!(reason = why, runbook = "pair-full-copy"; "the full copy is not taken");
    Taken { receiving: None, answer: Word::Refused(why), restart: false }
}

fn take_in(store: &Store, receiving: Option<Receiving>, word: Word, bytes: Vec<u8>) -> Taken {
    let complete = word == Word::Complete;
    match step(store, receiving, word, bytes) {
        Ok((receiving, answer)) => Taken { receiving, answer, restart: complete },
        Err(why) => refuse(why),
    }
}

fn step(
    store: &Store,
    receiving: Option<Receiving>,
    word: Word,
    bytes: Vec<u8>,
) -> Result<(Option<Receiving>, Word), String> {
    let say = |e: StoreError| e.to_string();
    if let Word::Begin { source, log, bytes, .. } = word {
        store.check_room(bytes.saturating_sub(received(store))).map_err(say)?;
        let ours = log_state(store.log());
        let incoming = store.incoming(source).map_err(say)?;
        let receiving = Receiving {
            incoming,
            old: what_of_the_old(&ours, &log),
            uploads: Vec::new(),
            keys: zeroize::Zeroizing::default(),
            tenant: TenantId::SYSTEM,
        };
        return Ok((Some(receiving), Word::Taken));
    }
    let mut r = receiving.ok_or("a copy goes on that has not begun")?;
    let answer = match word {
        Word::Tenant(tenant) => {
            (r.tenant, r.uploads) = (tenant, Vec::new());
            let progress = r.incoming.tenant(tenant).map_err(say)?;
            Word::Has { done: progress.done, packs: progress.packs }
        }
        Word::ForgetRows => r.incoming.forget_rows().map(|()| Word::Taken).map_err(say)?,
        Word::Pack { pack, offset } => {
            r.incoming.pack(pack, offset, &bytes).map(|()| Word::Taken).map_err(say)?
        }
        Word::Rows => r.incoming.rows(&decode_rows(&bytes)?).map(|()| Word::Taken).map_err(say)?,
        Word::Uploads => {
            r.uploads.extend(decode_rows(&bytes)?);
            if r.uploads.len() > UPLOADS_MAX {
                return Err("too many open uploads".to_owned());
            }
            Word::Taken
        }
        Word::Finish { lsn, packs } => {
            let uploads = std::mem::take(&mut r.uploads);
            r.incoming.finish_tenant(lsn, &packs, &uploads).map_err(say)?;
            log::info!(tenant:% = r.tenant, lsn:% = lsn; "a tenant's copy is complete");
            Word::Taken
        }
        Word::Base { first, chain, epochs } => {
            r.incoming.log_base(&LogBase { first, chain, epochs }).map(Word::Tail).map_err(say)?
        }
        Word::Records => r.incoming.append(bytes).map(Word::Tail).map_err(say)?,
        Word::Keys => {
            r.keys.extend_from_slice(&bytes);
            if r.keys.len() > KEYS_LEN_MAX {
                return Err("the keyring is too long".to_owned());
            }
            Word::Taken
        }
        Word::Complete => {
            let id = format!("full-copy-{}", clock::now_ms().0);
            r.incoming.complete(&r.keys, r.old, &id).map_err(say)?;
            return Ok((None, Word::Taken));
        }
        Word::Progress { .. } => Word::Taken,
        other => return Err(format!("{other:?} says nothing to a standby")),
    };
    Ok((Some(r), answer))
}

/// What of an earlier attempt is there already, about.
fn received(store: &Store) -> u64 {
    store.incoming_len().unwrap_or(0)
}

/// Invariant 9: only a log of which the copy holds every record is not kept.
fn what_of_the_old(ours: &LogState, theirs: &LogState) -> Old {
    let all_held = History::fork(ours, theirs).is_some_and(|fork| fork >= ours.tail);
    if ours.tail == Lsn(0) || all_held { Old::Held } else { Old::Branch }
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_proto::id::Epoch;

    #[test]
    fn a_log_that_the_copy_does_not_hold_is_kept() {
        let log = |tail: u64, epochs: &[(u64, u64)]| LogState {
            tail: Lsn(tail),
            history: History::new(epochs.iter().map(|(e, l)| (Epoch(*e), Lsn(*l))).collect()),
            ..LogState::default()
        };
        let theirs = log(90, &[(1, 1), (2, 50)]);
        for (ours, old) in [
            (log(0, &[]), Old::Held),
            (log(40, &[(1, 1)]), Old::Held),
            (log(60, &[(1, 1), (2, 50)]), Old::Held),
            (log(55, &[(1, 1)]), Old::Branch),
            (log(60, &[(1, 1), (3, 50)]), Old::Branch),
            (log(60, &[(7, 20)]), Old::Branch),
        ] {
            assert_eq!(what_of_the_old(&ours, &theirs), old, "{ours:?}");
        }
    }
}

//! Passkeys of an account: made, and signed in with.
//!
//! Invariants: a challenge opens once, for [`UsePasskey`] writes down when the last one that was used was
//! given out; a passkey is looked for in the account that the authenticator names, and nowhere else;
//! checks take their turn on the thread for hashes, so that a source has no more of them than of passwords.

use super::super::passkey::{self, Purpose};
use super::{Assertion, Registration, Relying, SignInError, SignedIn};
use crate::base::secret::Secret;
use crate::base::source::Source;
use crate::base::{clock, metric};
use crate::directory::{Directory, DirectoryError, Login, hashing};
use crate::store::PrimaryLease;
use understudy_proto::directory::{AddPasskey, DirectoryRefusal, PASSKEYS_MAX, UsePasskey};
use understudy_proto::id::TenantId;

/// What our challenges are proved with, and nothing else is.
const CHALLENGE_PURPOSE: &str = "understudy 2026-11 challenge for a passkey";

/// What a browser needs to make a passkey.
#[derive(Debug)]
pub struct PasskeyOptions {
    /// What it is to answer.
    pub challenge: String,
    /// What the authenticator keeps to say whose it is.
    pub user: Vec<u8>,
    /// The account's passkeys of this name: an authenticator that has one makes no other.
    pub known: Vec<Vec<u8>>,
}

/// Who wants to sign in with a passkey.
#[derive(Debug)]
pub struct PasskeySignIn<'a> {
    /// At which name.
    pub relying: &'a Relying,
    /// What the browser shows.
    pub assertion: Assertion,
    /// From where.
    pub source: Source,
    /// The browser, in plain words.
    pub label: &'a str,
    /// Whether the person said that the device is their own.
    pub own_device: bool,
}

impl Directory {
    /// The system's key is on both nodes before anything is: a challenge of one is known to the other.
    fn challenge_key(&self) -> Result<Secret<[u8; 32]>, DirectoryError> {
        Ok(self.store.keyring().derived(TenantId::SYSTEM, CHALLENGE_PURPOSE)?)
    }

    /// What a passkey may sign with, most wanted first (IANA COSE Algorithms).
    pub fn passkey_algorithms() -> impl Iterator<Item = i64> {
        passkey::ALGORITHMS.iter().map(|(number, _)| *number)
    }

    /// Begins to make a passkey, for a person who shows the password.
    pub async fn begin_passkey(
        &self,
        (login, session): (&Login, u32),
        password: &Secret<String>,
        source: Source,
        relying: &Relying,
    ) -> Result<PasskeyOptions, SignInError> {
        let named = self.prove(login, password, source).await?;
        let passkeys = named.held.iter().filter_map(|h| h.credential.secret.passkey());
        if passkeys.clone().count() >= PASSKEYS_MAX {
            return Err(DirectoryError::from(DirectoryRefusal::TooManyPasskeys).into());
        }
        let known = passkeys.filter(|p| p.rp == relying.id).map(|p| p.id.clone()).collect();
        let whose = (login.tenant, login.account);
        let purpose = Purpose::Create { whose, session, rp: &relying.id };
        let challenge =
            passkey::challenge(self.challenge_key()?.expose(), purpose, clock::now_ms());
        let user = passkey::handle(login.tenant, login.account);
        Ok(PasskeyOptions { challenge, user, known })
    }

    /// Keeps a passkey, and says its name. The challenge shows that this session has shown the password
    /// of late; until it is too old, the same session could make another one with it.
    pub async fn add_passkey(
        &self,
        lease: &PrimaryLease,
        (login, session): (&Login, u32),
        (label, said): (&str, &Registration),
        relying: &Relying,
    ) -> Result<String, SignInError> {
        let whose = (login.tenant, login.account);
        let purpose = Purpose::Create { whose, session, rp: &relying.id };
        let key = self.challenge_key()?;
        let made = passkey::register(key.expose(), (purpose, relying), said, clock::now_ms());
        let passkey = made.map_err(|e| wrong(&e))?;
        let command = AddPasskey { account: login.account, label: label.to_owned(), passkey };
        let credential = self.write(lease, login.tenant, command).await?;
        Ok(self.name_of(login, &credential))
    }

    /// A challenge for whoever wants to sign in at this name.
    pub fn passkey_challenge(&self, relying: &Relying) -> Result<String, DirectoryError> {
        let purpose = Purpose::Get { rp: &relying.id };
        Ok(passkey::challenge(self.challenge_key()?.expose(), purpose, clock::now_ms()))
    }

    /// Begins a session of the web with a passkey: neither password nor code is asked for, since the
    /// authenticator is one factor and has asked for the other.
    ///
    /// A request that was overheard whole and is sent again opens nothing: its challenge is used up by
    /// the commit, on both nodes, before the session begins. One that was never answered opens a session
    /// within five minutes for whoever has the authenticator's answer to it.
    pub async fn sign_in_passkey(
        &self,
        lease: &PrimaryLease,
        who: PasskeySignIn<'_>,
    ) -> Result<SignedIn, SignInError> {
        let signed_in = self.try_passkey(lease, who).await;
        match &signed_in {
            Ok(_) => metric::LOGINS.inc(),
            Err(SignInError::Wrong) => metric::LOGINS_FAILED.inc(),
            Err(_) => {}
        }
        signed_in
    }

    async fn try_passkey(
        &self,
        lease: &PrimaryLease,
        who: PasskeySignIn<'_>,
    ) -> Result<SignedIn, SignInError> {
        let PasskeySignIn { relying, assertion, source, label, own_device } = who;
        let whose = passkey::whose(&assertion.user).filter(|(tenant, _)| self.has(*tenant));
        let named = whose.map(|(tenant, account)| self.account_of(tenant, account)).transpose()?;
        let named = named.flatten();
        let found = named.as_ref().and_then(|named| {
            named.held.iter().find_map(|h| {
                let passkey = h.credential.secret.passkey().filter(|p| p.id == assertion.id)?;
                Some((h.credential.id, passkey.clone()))
            })
        });
        let (Some(named), Some((number, passkey))) = (named, found) else {
            return Err(SignInError::Wrong);
        };
        let (key, relying, id) = (self.challenge_key()?, relying.clone(), passkey.id.clone());
        let issued = hashing::run(Some(source), move |_bench| {
            passkey::verify(key.expose(), &relying, &passkey, &assertion, clock::now_ms())
        });
        let issued = issued.await?.map_err(|e| wrong(&e))?;
        let account = named.login.account;
        let used = UsePasskey { account, id: number, issued };
        match self.write(lease, named.login.tenant, used).await {
            Ok(()) => {}
            // Used before, or revoked while it was checked.
            Err(DirectoryError::Refused(
                DirectoryRefusal::UsedCode | DirectoryRefusal::Missing(_),
            )) => return Err(SignInError::Wrong),
            Err(e) => return Err(e.into()),
        }
        let signed_in = self.begin_session(lease, &named, label, (own_device, Some(id))).await?;
        // One that was revoked meanwhile has ended its sessions, this one too.
        if signed_in.standing.stands() { Ok(signed_in) } else { Err(SignInError::Wrong) }
    }
}

/// People are told that it is wrong, the log what of it.
fn wrong(why: &passkey::PasskeyError) -> SignInError {
    log::info!(reason:% = why; "a passkey is not taken");
    SignInError::Wrong
}

//! What can be asked about an account's credentials, and how each is decided.

use super::apply::Change;
use super::commands::{DirectoryRefusal, Refused, check_label, decided, open_account, refuse};
use super::held::{Held, held};
use super::rows::{self, Credential, CredentialKind, PASSWORD, Passkey, Secret, TOTP};
use super::{APP_PASSWORDS_MAX, PASSKEYS_MAX, SESSION_TOUCH_MS, SESSIONS_MAX};
use crate::id::AccountId;
use crate::keys::Keys;
use crate::record::Kind;
use crate::rule::{Command, DecideError, Decision, Moment};
use crate::time::UnixMs;

fn unchanged<A>(answer: A) -> Refused<A> {
    Ok(Decision { change: None, answer })
}

fn missing<T>(id: u32) -> Result<T, DecideError<DirectoryRefusal>> {
    refuse(DirectoryRefusal::Missing(format!("credential {id}")))
}

fn set(account: AccountId, credential: Credential) -> Refused<()> {
    decided(&Change::SetCredential { account, credential }, ())
}

/// Tenant: the person's password, already hashed.
#[derive(Clone, Debug)]
pub struct SetPassword {
    /// Whose.
    pub account: AccountId,
    /// The argon2id PHC string.
    pub secret: Secret,
}

impl Command for SetPassword {
    const KIND: Kind = Kind::DIRECTORY;
    type Answer = ();
    type Refusal = DirectoryRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<()> {
        open_account(keys, self.account)?;
        // Every session ends, also one that a clock ahead of ours has seen begin.
        let held = rows::credentials(keys, self.account)?;
        let sessions = held.iter().filter(|c| c.kind() == CredentialKind::Session);
        let newest = sessions.map(|c| c.created.0.saturating_add(1)).max().unwrap_or_default();
        let created = UnixMs(moment.now.0.max(newest));
        let (label, secret) = ("password".to_owned(), self.secret.clone());
        set(self.account, Credential { id: PASSWORD, label, created, secret })
    }
}

/// Tenant: a machine-made password for one device, already hashed.
#[derive(Clone, Debug)]
pub struct AddAppPassword {
    /// Whose.
    pub account: AccountId,
    /// What its owner calls it.
    pub label: String,
    /// The keyed hash.
    pub secret: Secret,
}

impl Command for AddAppPassword {
    const KIND: Kind = Kind::DIRECTORY;
    /// The credential's number.
    type Answer = u32;
    type Refusal = DirectoryRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<u32> {
        check_label(&self.label)?;
        open_account(keys, self.account)?;
        let app = |h: &&Held| h.is(CredentialKind::AppPassword) && !h.is_over(moment.now);
        if held(keys, self.account)?.iter().filter(app).count() >= APP_PASSWORDS_MAX {
            return refuse(DirectoryRefusal::TooManyCredentials);
        }
        let id = rows::next_credential(&rows::credentials(keys, self.account)?);
        let (label, secret) = (self.label.clone(), self.secret.clone());
        let credential = Credential { id, label, created: moment.now, secret };
        decided(&Change::SetCredential { account: self.account, credential }, id)
    }
}

/// Tenant: a browser signed in. Where an account has too many sessions, the one that was unused for
/// longest ends.
#[derive(Clone, Debug)]
pub struct AddSession {
    /// Whose.
    pub account: AccountId,
    /// The browser, in plain words.
    pub label: String,
    /// [`Secret::Session`] or [`Secret::PasskeySession`].
    pub secret: Secret,
}

impl Command for AddSession {
    const KIND: Kind = Kind::DIRECTORY;
    /// The credential as it is kept.
    type Answer = Credential;
    type Refusal = DirectoryRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<Credential> {
        check_label(&self.label)?;
        open_account(keys, self.account)?;
        let all = held(keys, self.account)?;
        let mut sessions: Vec<&Held> =
            all.iter().filter(|h| h.is(CredentialKind::Session)).collect();
        sessions.sort_by_key(|h| h.last.unwrap_or_default().max(h.credential.created.0));
        let over = sessions.iter().filter(|h| h.is_over(moment.now));
        let mut gone: Vec<u32> = over.map(|h| h.credential.id).collect();
        sessions.retain(|h| !h.is_over(moment.now));
        let many = sessions.len().saturating_add(1).saturating_sub(SESSIONS_MAX);
        gone.extend(sessions.iter().take(many).map(|h| h.credential.id));
        // The password's clock may be ahead of ours.
        let password = all.iter().find(|h| h.is(CredentialKind::Password));
        let created = password.map_or(moment.now, |p| p.credential.created.max(moment.now));
        let id = rows::next_credential(&rows::credentials(keys, self.account)?);
        let (label, secret) = (self.label.clone(), self.secret.clone());
        let came = Credential { id, label, created, secret };
        let change = Change::Turn { account: self.account, came: Some(came.clone()), gone };
        decided(&change, came)
    }
}

/// Tenant: a session was used. Written down once in [`SESSION_TOUCH_MS`].
#[derive(Clone, Copy, Debug)]
pub struct TouchSession {
    /// Whose.
    pub account: AccountId,
    /// Which.
    pub id: u32,
}

impl Command for TouchSession {
    const KIND: Kind = Kind::DIRECTORY;
    type Answer = ();
    type Refusal = DirectoryRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<()> {
        let all = held(keys, self.account)?;
        let session = all.iter().find(|h| h.credential.id == self.id && !h.is_over(moment.now));
        let Some(session) = session.filter(|h| h.is(CredentialKind::Session)) else {
            return missing(self.id);
        };
        let last = session.last.unwrap_or(session.credential.created.0);
        if moment.now.0 < last.saturating_add(SESSION_TOUCH_MS) {
            return unchanged(());
        }
        let (account, id, last) = (self.account, self.id, moment.now.0);
        decided(&Change::Used { account, id, last }, ())
    }
}

/// Tenant: a TOTP secret that is to be confirmed; another one that waits for that gives way.
#[derive(Clone, Debug)]
pub struct BeginTotp {
    /// Whose.
    pub account: AccountId,
    /// The secret.
    pub key: [u8; 20],
}

impl Command for BeginTotp {
    const KIND: Kind = Kind::DIRECTORY;
    type Answer = ();
    type Refusal = DirectoryRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<()> {
        open_account(keys, self.account)?;
        if rows::credentials(keys, self.account)?.iter().any(Credential::is_confirmed_totp) {
            return refuse(DirectoryRefusal::Exists("a second factor".to_owned()));
        }
        let secret = Secret::Totp { key: self.key, confirmed: false };
        set(self.account, totp(secret, moment.now))
    }
}

fn totp(secret: Secret, created: UnixMs) -> Credential {
    Credential { id: TOTP, label: "TOTP".to_owned(), created, secret }
}

/// Tenant: the person has shown a code of the TOTP secret, which is wanted from now on.
#[derive(Clone, Debug)]
pub struct ConfirmTotp {
    /// Whose.
    pub account: AccountId,
    /// The secret that the code was of.
    pub key: [u8; 20],
}

impl Command for ConfirmTotp {
    const KIND: Kind = Kind::DIRECTORY;
    type Answer = ();
    type Refusal = DirectoryRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<()> {
        open_account(keys, self.account)?;
        let waits = Secret::Totp { key: self.key, confirmed: false };
        if !rows::credentials(keys, self.account)?.iter().any(|c| c.secret == waits) {
            return missing(TOTP);
        }
        let secret = Secret::Totp { key: self.key, confirmed: true };
        set(self.account, totp(secret, moment.now))
    }
}

/// Tenant: a TOTP code is used up, and every one before it (RFC 6238 5.2).
#[derive(Clone, Copy, Debug)]
pub struct UseStep {
    /// Whose.
    pub account: AccountId,
    /// The code's step.
    pub step: u64,
}

impl Command for UseStep {
    const KIND: Kind = Kind::DIRECTORY;
    type Answer = ();
    type Refusal = DirectoryRefusal;

    fn decide(&self, keys: &dyn Keys, _moment: Moment) -> Refused<()> {
        use_up(keys, self.account, TOTP, self.step)
    }
}

/// `which` of a credential's codes is used up, and every one before it.
fn use_up(keys: &dyn Keys, account: AccountId, id: u32, which: u64) -> Refused<()> {
    if rows::last_use(keys, account, id)?.is_some_and(|last| which <= last) {
        return refuse(DirectoryRefusal::UsedCode);
    }
    decided(&Change::Used { account, id, last: which }, ())
}

/// Tenant: a passkey for the web. Whether another account has one of the same id does not matter: it is
/// looked for in the account that the authenticator names, and opens that one only.
#[derive(Clone, Debug)]
pub struct AddPasskey {
    /// Whose.
    pub account: AccountId,
    /// What its owner calls it.
    pub label: String,
    /// What assertions are checked against.
    pub passkey: Passkey,
}

impl Command for AddPasskey {
    const KIND: Kind = Kind::DIRECTORY;
    /// The credential as it is kept.
    type Answer = Credential;
    type Refusal = DirectoryRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<Credential> {
        check_label(&self.label)?;
        open_account(keys, self.account)?;
        let all = rows::credentials(keys, self.account)?;
        let passkeys = all.iter().filter_map(|c| c.secret.passkey());
        if passkeys.clone().any(|known| known.id == self.passkey.id) {
            return refuse(DirectoryRefusal::Exists("this passkey".to_owned()));
        }
        if passkeys.count() >= PASSKEYS_MAX {
            return refuse(DirectoryRefusal::TooManyPasskeys);
        }
        let secret = Secret::Passkey(self.passkey.clone());
        let (id, label) = (rows::next_credential(&all), self.label.clone());
        let credential = Credential { id, label, created: moment.now, secret };
        let change =
            Change::SetCredential { account: self.account, credential: credential.clone() };
        decided(&change, credential)
    }
}

/// Tenant: a passkey signed a challenge, which is used up, and so is every one that is older: as a step
/// of TOTP stays used, over takeovers and merges.
#[derive(Clone, Copy, Debug)]
pub struct UsePasskey {
    /// Whose.
    pub account: AccountId,
    /// Which.
    pub id: u32,
    /// When the challenge was given out.
    pub issued: UnixMs,
}

impl Command for UsePasskey {
    const KIND: Kind = Kind::DIRECTORY;
    type Answer = ();
    type Refusal = DirectoryRefusal;

    fn decide(&self, keys: &dyn Keys, _moment: Moment) -> Refused<()> {
        open_account(keys, self.account)?;
        let all = rows::credentials(keys, self.account)?;
        if !all.iter().any(|c| c.id == self.id && c.kind() == CredentialKind::Passkey) {
            return missing(self.id);
        }
        use_up(keys, self.account, self.id, self.issued.0)
    }
}

/// Tenant: a credential opens nothing any more.
#[derive(Clone, Copy, Debug)]
pub struct RevokeCredential {
    /// Whose.
    pub account: AccountId,
    /// Which.
    pub id: u32,
}

impl Command for RevokeCredential {
    const KIND: Kind = Kind::DIRECTORY;
    type Answer = ();
    type Refusal = DirectoryRefusal;

    fn decide(&self, keys: &dyn Keys, _moment: Moment) -> Refused<()> {
        open_account(keys, self.account)?;
        if !rows::credentials(keys, self.account)?.iter().any(|c| c.id == self.id) {
            return missing(self.id);
        }
        decided(&Change::RevokeCredential { account: self.account, id: self.id }, ())
    }
}

/// Tenant: the rows of an account's credentials that are over go. The answer is how many.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// Whose.
    pub account: AccountId,
}

impl Command for Sweep {
    const KIND: Kind = Kind::DIRECTORY;
    type Answer = usize;
    type Refusal = DirectoryRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<usize> {
        let all = held(keys, self.account)?;
        let over = all.iter().filter(|h| h.is_over(moment.now));
        let gone: Vec<u32> = over.map(|h| h.credential.id).collect();
        let count = gone.len();
        if count == 0 {
            return unchanged(0);
        }
        decided(&Change::Turn { account: self.account, came: None, gone }, count)
    }
}

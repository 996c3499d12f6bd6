//! People on the web: sign-in with a second factor, sessions, and what a person does to their own
//! credentials.
//!
//! A token is tenant, account and 32 random bytes in base64url. What is kept is BLAKE3 of it, under a
//! key of this purpose alone: the token is random, so a fast hash is enough. Invariants: an app
//! password opens no web session; a code opens once; what a person names (sessions, devices) is looked
//! for in their own account only. Absent: cookies and words (`web`).

mod passkeys;

pub use passkeys::{PasskeyOptions, PasskeySignIn};

use super::authenticate::Named;
use super::passkey::{Assertion, Registration, Relying};
use super::standing::wants_code;
use super::{Directory, DirectoryError, Login, NewAppPassword, Standing, totp};
use crate::base::secret::{self, Secret};
use crate::base::source::Source;
use crate::base::{clock, metric};
use crate::store::PrimaryLease;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::time::Duration;
use understudy_proto::codec;
use understudy_proto::directory::{
    self, AddSession, BeginTotp, ConfirmTotp, Credential, CredentialKind, DirectoryRefusal, Held,
    RevokeCredential, SESSION_TOUCH_MS, Secret as Proof, TOTP, TouchSession, UseStep,
};
use understudy_proto::id::{AccountId, TenantId};

/// What our tokens are hashed for, and nothing else is.
const TOKEN_PURPOSE: &str = "understudy 2026-11 token of a web session";
/// The same of the names that credentials are shown under.
const NAME_PURPOSE: &str = "understudy 2026-11 name of a credential";
/// Bytes of a token: tenant, account, random ones.
const TOKEN_LEN: usize = 4 + 4 + 32;
/// Hexadecimal digits of a name.
const NAME_LEN: usize = 16;
/// How long they are told to wait who come while too many are checked.
const BUSY_PAUSE: Duration = Duration::from_secs(2);

/// Who wants to sign in.
#[derive(Debug)]
pub struct WebSignIn<'a> {
    /// Any address of the account.
    pub name: &'a str,
    /// The person's password.
    pub password: &'a Secret<String>,
    /// The code of a second factor.
    pub code: Option<&'a str>,
    /// From where.
    pub source: Source,
    /// The browser, in plain words.
    pub label: &'a str,
    /// Whether the person said that the device is their own.
    pub own_device: bool,
}

/// A session that has begun.
#[derive(Debug)]
pub struct SignedIn {
    /// Whose.
    pub login: Login,
    /// It ends when this is lost.
    pub standing: Standing,
    /// The session's number among the account's credentials.
    pub id: u32,
    /// What the browser shows from now on.
    pub token: Secret<String>,
}

/// Why nobody is signed in, or may not do what needs the password again.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Name, password or code.
    #[error("name, password or code is wrong")]
    Wrong,
    /// The password is right, and the account wants a code, too.
    #[error("a code of the second factor is needed")]
    CodeNeeded,
    /// Too many are checked, or too many codes were wrong.
    #[error("too many attempts; try again in {} s", .0.as_secs())]
    Busy(Duration),
    /// The directory.
    #[error(transparent)]
    Directory(DirectoryError),
}

impl From<DirectoryError> for SignInError {
    fn from(e: DirectoryError) -> Self {
        match e {
            DirectoryError::Busy | DirectoryError::SourceBusy => Self::Busy(BUSY_PAUSE),
            e => Self::Directory(e),
        }
    }
}

/// A session that goes on.
#[derive(Debug)]
pub struct WebSession {
    /// Whose.
    pub login: Login,
    /// It ends when this is lost.
    pub standing: Standing,
    /// Its number among the account's credentials.
    pub id: u32,
    /// Whether its use is to be written down ([`Directory::touch_session`]).
    pub touch: bool,
}

/// A TOTP secret that is to be confirmed.
#[derive(Debug)]
pub struct FreshTotp {
    /// The secret in base32.
    pub secret: Secret<String>,
    /// The same for a QR code (the key URI that authenticator apps read).
    pub uri: Secret<String>,
}

/// `None` for what is no token of ours.
fn parse(token: &str) -> Option<(TenantId, AccountId, [u8; TOKEN_LEN])> {
    let bytes: [u8; TOKEN_LEN] = URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
    let (tenant, account) = (codec::u32_at(&bytes, 0)?, codec::u32_at(&bytes, 4)?);
    Some((TenantId(tenant), AccountId(account), bytes))
}

fn hash(token: &[u8; TOKEN_LEN]) -> blake3::Hash {
    blake3::Hasher::new_derive_key(TOKEN_PURPOSE).update(token).finalize()
}

/// Whether the device is the person's own, and the passkey that opens the session, unless a password does.
type Opened = (bool, Option<Vec<u8>>);

fn fresh(login: &Login, (own_device, passkey): Opened) -> (Secret<String>, Proof) {
    let mut token = [0; TOKEN_LEN];
    let random: [u8; 32] = secret::random();
    let all = login.tenant.0.to_be_bytes().into_iter().chain(login.account.0.to_be_bytes());
    token.iter_mut().zip(all.chain(random)).for_each(|(to, from)| *to = from);
    let hash = hash(&token).into();
    let proof = match passkey {
        Some(passkey) => Proof::PasskeySession { hash, own_device, passkey },
        None => Proof::Session { hash, own_device },
    };
    (Secret::new(URL_SAFE_NO_PAD.encode(token)), proof)
}

/// Whether this is the token's session, in constant time.
fn is_session(held: &Held, asked: &blake3::Hash) -> bool {
    held.credential.secret.session().is_some_and(|s| blake3::Hash::from(*s.hash) == *asked)
}

/// The key of the account's second factor.
fn totp_key(held: &[Held], is_confirmed: bool) -> Option<[u8; 20]> {
    held.iter().find_map(|h| match h.credential.secret {
        Proof::Totp { key, confirmed } if confirmed == is_confirmed => Some(key),
        _ => None,
    })
}

impl Directory {
    /// Begins a session of the web.
    pub async fn sign_in_web(
        &self,
        lease: &PrimaryLease,
        who: WebSignIn<'_>,
    ) -> Result<SignedIn, SignInError> {
        let named = self.named(who.name)?;
        let right = self.check_password(who.name, who.password, who.source, named.as_ref()).await?;
        let (Some(named), Some(_right)) = (named, right) else {
            metric::LOGINS_FAILED.inc();
            return Err(SignInError::Wrong);
        };
        if let Some(key) = totp_key(&named.held, true) {
            let code = who.code.ok_or(SignInError::CodeNeeded)?;
            self.check_code(lease, &named.login, &key, code).await?;
        }
        let signed_in =
            self.begin_session(lease, &named, who.label, (who.own_device, None)).await?;
        // The password may have been changed, or a code be wanted, since it was compared.
        let now = self.account_of(named.login.tenant, named.login.account)?;
        let same = |now: &Named| {
            let is = |held: &&Held| held.credential.kind() == CredentialKind::Password;
            now.held.iter().find(is).map(|h| &h.credential)
                == named.held.iter().find(is).map(|h| &h.credential)
                && totp_key(&now.held, true) == totp_key(&named.held, true)
        };
        if !now.is_some_and(|now| same(&now)) {
            self.end_session(lease, &signed_in.login, signed_in.id).await?;
            return Err(SignInError::Wrong);
        }
        metric::LOGINS.inc();
        Ok(signed_in)
    }

    async fn begin_session(
        &self,
        lease: &PrimaryLease,
        named: &Named,
        label: &str,
        opened: Opened,
    ) -> Result<SignedIn, DirectoryError> {
        let (login, label) = (named.login.clone(), label.to_owned());
        let (token, secret) = fresh(&login, opened);
        let follower = self.follow(login.tenant, login.account);
        let command = AddSession { account: login.account, label, secret };
        let credential = self.write(lease, login.tenant, command).await?;
        let id = credential.id;
        let view = self.store.read(login.tenant)?;
        let held = directory::held(&view, login.account)?;
        let held = held.into_iter().find(|h| h.credential == credential);
        let held =
            held.unwrap_or_else(|| Held { credential, last: None, ends: Some(clock::now_ms()) });
        let standing = follower.standing(self, &login, held, None);
        Ok(SignedIn { login, standing, id, token })
    }

    /// Whose session a token is of. Cheap: one hash, and the account's rows.
    pub fn session(&self, token: &str) -> Result<Option<WebSession>, DirectoryError> {
        let Some((tenant, account, bytes)) = parse(token) else { return Ok(None) };
        if !self.has(tenant) {
            return Ok(None);
        }
        let Some(Named { login, held, follower }) = self.account_of(tenant, account)? else {
            return Ok(None);
        };
        let (asked, now) = (hash(&bytes), clock::now_ms());
        let found = held.into_iter().find(|h| is_session(h, &asked) && !h.is_over(now));
        let Some(found) = found else { return Ok(None) };
        let used = found.last.unwrap_or(found.credential.created.0);
        let touch = now.0 >= used.saturating_add(SESSION_TOUCH_MS);
        let id = found.credential.id;
        let standing = follower.standing(self, &login, found, None);
        Ok(Some(WebSession { login, standing, id, touch }))
    }

    /// Whether there may be accounts of it here.
    fn has(&self, tenant: TenantId) -> bool {
        tenant != TenantId::SYSTEM && self.store.keyring().has(tenant)
    }

    /// Writes down that a session was used.
    pub async fn touch_session(
        &self,
        lease: &PrimaryLease,
        session: &WebSession,
    ) -> Result<(), DirectoryError> {
        let command = TouchSession { account: session.login.account, id: session.id };
        self.write(lease, session.login.tenant, command).await
    }

    /// Ends a session.
    pub async fn end_session(
        &self,
        lease: &PrimaryLease,
        login: &Login,
        id: u32,
    ) -> Result<(), DirectoryError> {
        let command = RevokeCredential { account: login.account, id };
        self.write(lease, login.tenant, command).await
    }

    /// The account's credentials of a kind that are not over, each with the name that the person knows
    /// it by.
    pub fn own_credentials(
        &self,
        login: &Login,
        kind: CredentialKind,
    ) -> Result<Vec<(String, Held)>, DirectoryError> {
        let now = clock::now_ms();
        let held = directory::held(&self.store.read(login.tenant)?, login.account)?;
        let of_kind = held.into_iter().filter(|h| h.credential.kind() == kind && !h.is_over(now));
        Ok(of_kind.map(|h| (self.name_of(login, &h.credential), h)).collect())
    }

    /// The name that a person knows a credential by. Numbers are each account's own: one would name
    /// something of whoever asks. A merge changes numbers, and not these.
    #[must_use]
    pub fn name_of(&self, login: &Login, credential: &Credential) -> String {
        let mut hasher = blake3::Hasher::new_derive_key(NAME_PURPOSE);
        hasher.update(&login.tenant.0.to_be_bytes()).update(&login.account.0.to_be_bytes());
        hasher.update(&codec::encode(&credential.secret));
        hasher.finalize().to_hex().chars().take(NAME_LEN).collect()
    }

    /// Ends the session, or revokes the app password or passkey, that the person knows by `name`. Whether there
    /// was one.
    pub async fn revoke_own(
        &self,
        lease: &PrimaryLease,
        login: &Login,
        kind: CredentialKind,
        name: &str,
    ) -> Result<bool, DirectoryError> {
        let all = self.own_credentials(login, kind)?;
        let Some((_, held)) = all.into_iter().find(|(known, _)| known == name) else {
            return Ok(false);
        };
        let (account, id) = (login.account, held.credential.id);
        match self.write(lease, login.tenant, RevokeCredential { account, id }).await {
            Ok(()) => Ok(true),
            // Gone meanwhile.
            Err(DirectoryError::Refused(DirectoryRefusal::Missing(_))) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Makes an app password for one of the person's own devices, and says its name.
    pub async fn add_own_app_password(
        &self,
        lease: &PrimaryLease,
        login: &Login,
        label: &str,
        days: Option<u32>,
    ) -> Result<(String, NewAppPassword), DirectoryError> {
        let at = (login.tenant, login.account);
        let made = self.add_app_password_of(lease, at, label, days).await?;
        let all = self.own_credentials(login, CredentialKind::AppPassword)?;
        let name = all.into_iter().find(|(_, h)| h.credential.id == made.id).map(|(name, _)| name);
        Ok((name.unwrap_or_default(), made))
    }

    /// Changes the person's password. Every session ends; the one that asked goes on as another one,
    /// which is the answer, and rests on the passkey that it rested on. App passwords and passkeys stay.
    pub async fn change_password(
        &self,
        lease: &PrimaryLease,
        session: (&Login, u32),
        (old, new): (&Secret<String>, Secret<String>),
        source: Source,
    ) -> Result<SignedIn, SignInError> {
        let (login, id) = session;
        let named = self.prove(login, old, source).await?;
        let mine = named.held.iter().find(|h| h.credential.id == id);
        let mine = mine.and_then(|h| Some((&h.credential.label, h.credential.secret.session()?)));
        let Some((label, session)) = mine else { return Err(SignInError::Wrong) };
        let opened = (session.own_device, session.passkey.map(<[u8]>::to_vec));
        let at = (login.tenant, login.account);
        self.set_password_of(lease, at, new, Some(source)).await?;
        Ok(self.begin_session(lease, &named, label, opened).await?)
    }

    /// The account, if `password` is its person's.
    async fn prove(
        &self,
        login: &Login,
        password: &Secret<String>,
        source: Source,
    ) -> Result<Named, SignInError> {
        let named = self.account_of(login.tenant, login.account)?;
        let right = self.check_password(&login.address, password, source, named.as_ref()).await?;
        match (named, right) {
            (Some(named), Some(_right)) => Ok(named),
            _ => Err(SignInError::Wrong),
        }
    }

    /// Uses a code up if it is right.
    async fn check_code(
        &self,
        lease: &PrimaryLease,
        login: &Login,
        key: &[u8; 20],
        code: &str,
    ) -> Result<(), SignInError> {
        let whose = (login.tenant, login.account);
        self.attempts.begin(whose).map_err(SignInError::Busy)?;
        let step = totp::step_of(key, code, clock::now_ms()).ok_or(SignInError::Wrong)?;
        let command = UseStep { account: login.account, step };
        match self.write(lease, login.tenant, command).await {
            Ok(()) => {
                self.attempts.right(whose);
                Ok(())
            }
            // RFC 6238 5.2: a code opens once.
            Err(DirectoryError::Refused(DirectoryRefusal::UsedCode)) => Err(SignInError::Wrong),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether sign-in on the web wants a code.
    pub fn has_totp(&self, login: &Login) -> Result<bool, DirectoryError> {
        let held = directory::held(&self.store.read(login.tenant)?, login.account)?;
        Ok(wants_code(&held))
    }

    /// Makes a TOTP secret; from [`Directory::confirm_totp`] on its codes are wanted.
    pub async fn begin_totp(
        &self,
        lease: &PrimaryLease,
        login: &Login,
        password: &Secret<String>,
        source: Source,
    ) -> Result<FreshTotp, SignInError> {
        self.prove(login, password, source).await?;
        let key = secret::random();
        self.write(lease, login.tenant, BeginTotp { account: login.account, key }).await?;
        let secret = totp::written(&key);
        let uri = totp::uri(&login.address, &secret);
        Ok(FreshTotp { secret: Secret::new(secret), uri: Secret::new(uri) })
    }

    /// The person shows a code of the secret that waits for it.
    pub async fn confirm_totp(
        &self,
        lease: &PrimaryLease,
        login: &Login,
        code: &str,
    ) -> Result<(), SignInError> {
        let held = self.account_of(login.tenant, login.account)?.map(|named| named.held);
        let Some(key) = held.and_then(|held| totp_key(&held, false)) else {
            let missing = DirectoryRefusal::Missing("second factor to be confirmed".to_owned());
            return Err(DirectoryError::from(missing).into());
        };
        self.check_code(lease, login, &key, code).await?;
        self.write(lease, login.tenant, ConfirmTotp { account: login.account, key }).await?;
        Ok(())
    }

    /// Turns the second factor off.
    pub async fn remove_totp(
        &self,
        lease: &PrimaryLease,
        login: &Login,
        (password, code): (&Secret<String>, &str),
        source: Source,
    ) -> Result<(), SignInError> {
        let named = self.prove(login, password, source).await?;
        let Some(key) = totp_key(&named.held, true) else {
            let missing = DirectoryRefusal::Missing("second factor".to_owned());
            return Err(DirectoryError::from(missing).into());
        };
        self.check_code(lease, login, &key, code).await?;
        let command = RevokeCredential { account: login.account, id: TOTP };
        self.write(lease, login.tenant, command).await?;
        Ok(())
    }
}

#[cfg(test)]
impl Directory {
    /// The code that the account's authenticator shows, for tests of whoever asks for it.
    pub(crate) fn code_now(&self, address: &str) -> String {
        let held = self.credentials(address).unwrap_or_default();
        let key = totp_key(&held, true).or_else(|| totp_key(&held, false));
        totp::code_of(&key.unwrap_or_default(), clock::now_ms())
    }
}

#[cfg(test)]
mod tests;

//! The words of operators: on the control socket one request line in, one reply line out, both JSON; the
//! console and administrators of tenants send the same over HTTP.
//!
//! ```text
//! {"cmd":"domain-add","args":{"tenant":"acme","domain":"acme.example"}}
//! {"ok":"done"}
//! {"error":{"what":"there is no tenant `acme`","do":"understudy tenant list"}}
//! ```
//!
//! Invariants: unknown commands and keys are refused. A password appears in a request and a made app
//! password in its reply; neither is logged. Ids are shown as they are typed back.

use super::audit::SHOWN_MAX;
use crate::base::clock;
use crate::base::secret::{Secret, serialize_exposed};
use crate::ops::status::{RollReport, StatusReport};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use understudy_proto::id::TenantId;

/// What an operator asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "cmd", content = "args", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Everything about this appliance.
    Status,
    /// A new tenant.
    TenantCreate(Named),
    /// All tenants.
    TenantList,
    /// Writes a tenant into a file; [`Request::TenantProgress`] says how far it is.
    TenantExport(Export),
    /// Makes a tenant from such a file; [`Request::TenantProgress`] says how far it is.
    TenantImport(Import),
    /// How far the export or import is that was asked for last.
    TenantProgress,
    /// A domain for a tenant.
    DomainAdd(DomainAdd),
    /// Domains, of one tenant or all.
    DomainList(OfTenant),
    /// Removes a domain that no account uses.
    DomainRemove(Named),
    /// A new account.
    AccountCreate(Named),
    /// Accounts, of one tenant or all.
    AccountList(OfTenant),
    /// Closes an account; its mail is kept.
    AccountRemove(Named),
    /// What an account's mail takes and may take; with a limit: from now on so much.
    AccountQuota(QuotaOf),
    /// What the mail of a tenant's accounts may take where nothing else is said of one.
    TenantQuota(QuotaOf),
    /// Another address of an account.
    AliasAdd(AliasAdd),
    /// Removes an alias.
    AliasRemove(Named),
    /// Aliases, of one tenant or all.
    AliasList(OfTenant),
    /// Sets an account's password.
    CredentialPassword(Password),
    /// Makes an account an administrator of its tenant, or none any more.
    AccountAdministrator(Administrator),
    /// Makes an app password.
    CredentialAppPassword(AppPassword),
    /// An account's credentials.
    CredentialList(Named),
    /// Takes a credential away.
    CredentialRevoke(Revoke),
    /// Takes an account's second factor away.
    CredentialTotpReset(Named),
    /// Messages that wait for delivery to others.
    QueueList,
    /// Tries one of them now.
    QueueRetry(Queued),
    /// Takes one of them out, without a bounce.
    QueueRemove(Queued),
    /// Groups of floating addresses.
    AddressList,
    /// Takes the addresses of an origin that is gone.
    AddressClaim(AddressClaim),
    /// Gives the addresses of an origin back.
    AddressRelease(Named),
    /// What two branches of this pair came to, and what lost when they were merged.
    Branches,
    /// Moves the primary role to the peer.
    Handover,
    /// A one-time token with which the other appliance joins.
    PairToken,
    /// Who this appliance is in its pair.
    PairShow,
    /// The operator's word that the peer is gone and this appliance serves alone.
    PairForceSolo(ForceSolo),
    /// A piece of an update; one at 0 begins anew.
    UpdatePiece(UpdatePiece),
    /// What was handed over in pieces is to be installed.
    UpdateInstall(UpdateInstall),
    /// Goes back to the version before, or calls off what waits; on this appliance.
    UpdateRollback(UpdateRollback),
    /// How far the update is that was asked for last.
    UpdateProgress,
    /// Lets somebody use the console, and makes their password.
    OperatorAdd(Named),
    /// Who may use the console.
    OperatorList,
    /// Takes the console away from somebody.
    OperatorRemove(Named),
    /// Sets an operator's password.
    OperatorPassword(OperatorPassword),
    /// What operators and administrators of tenants have done here, the latest first.
    Audit(Latest),
    /// Certificates that clients are shown.
    CertificateList,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// A user of this system, as the kernel says.
    User(u32),
    /// An operator of the console.
    Console(String),
    /// An administrator of a tenant.
    Administrator {
        /// The tenant.
        tenant: TenantId,
        /// The administrator's address.
        address: String,
    },
}

impl By {
    /// The user of this system in whose name it is done: people of the web are none, so that it is the
    /// program's own.
    #[must_use]
    pub fn uid(&self) -> u32 {
        match self {
            Self::User(uid) => *uid,
            Self::Console(_) | Self::Administrator { .. } => nix::unistd::geteuid().as_raw(),
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(0) => f.write_str("root (uid 0)"),
            Self::User(uid) => write!(f, "uid {uid}"),
            Self::Console(name) => write!(f, "operator {name}"),
            Self::Administrator { address, .. } => write!(f, "administrator {address}"),
        }
    }
}

/// One thing, by its name or address.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// The tenant's name, the domain, the account's or alias' address, the group of addresses.
    pub name: String,
}

/// A tenant into a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// The tenant's name.
    pub tenant: String,
    /// The file, with its whole path; the appliance writes it.
    pub file: PathBuf,
    /// What opens it.
    #[serde(serialize_with = "serialize_exposed")]
    pub passphrase: Secret<String>,
}

/// A tenant from a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// The file, with its whole path; the appliance reads it.
    pub file: PathBuf,
    /// What opens it.
    #[serde(serialize_with = "serialize_exposed")]
    pub passphrase: Secret<String>,
    /// Another name than the file's.
    pub name: Option<String>,
    /// Its domains are another tenant's here: it gets none of them.
    #[serde(default)]
    pub without_domains: bool,
}

/// Restricts a list.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfTenant {
    /// The tenant's name; `None` for all.
    pub tenant: Option<String>,
}

/// A domain for a tenant.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainAdd {
    /// The tenant's name.
    pub tenant: String,
    /// The domain.
    pub domain: String,
}

/// Another address of an account.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AliasAdd {
    /// The new address.
    pub alias: String,
    /// The account's address.
    pub account: String,
}

/// A limit to be shown, or to be set first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaOf {
    /// The account's address, or the tenant's name.
    pub name: String,
    /// What it shall be from now on.
    #[serde(default)]
    pub limit: Option<SaidLimit>,
}

/// What an operator says of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SaidLimit {
    /// An account has its tenant's; a tenant has none.
    Default,
    /// There is none.
    None,
    /// So many bytes.
    Bytes(u64),
}

/// A person's password.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Password {
    /// The account's address.
    pub account: String,
    /// The password.
    #[serde(serialize_with = "serialize_exposed")]
    pub password: Secret<String>,
}

/// An operator's password.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorPassword {
    /// The operator's name.
    pub name: String,
    /// The password.
    #[serde(serialize_with = "serialize_exposed")]
    pub password: Secret<String>,
}

/// An administrator of a tenant.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Administrator {
    /// The account's address.
    pub account: String,
    /// Whether it is one.
    pub on: bool,
}

/// The latest of many.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latest {
    /// Most of them; at most [`super::audit::SHOWN_MAX`].
    #[serde(default)]
    pub limit: Option<usize>,
}

/// An app password to be made.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppPassword {
    /// The account's address.
    pub account: String,
    /// What it is for, in the person's words.
    pub label: String,
    /// After how many days it ends; `None`: never.
    #[serde(default)]
    pub days: Option<u32>,
}

/// A credential to be taken away.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// The account's address.
    pub account: String,
    /// The credential, as [`CredentialEntry::id`] shows it.
    pub id: u64,
}

/// A message of the queue.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queued {
    /// The tenant's name.
    pub tenant: String,
    /// The message, as [`QueueEntry::id`] shows it.
    pub id: u64,
}

/// An origin's addresses to be taken.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressClaim {
    /// The group's name.
    pub name: String,
    /// Whether to take them although somebody answers for them.
    pub force: bool,
}

/// A piece of an update.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdatePiece {
    /// Where it belongs, in bytes.
    pub offset: u64,
    /// The bytes, in base64.
    pub bytes: String,
}

/// An update to be installed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateInstall {
    /// Its length in bytes: so much was handed over.
    pub len: u64,
    /// Only on this appliance, not on its peer.
    pub only_here: bool,
    /// Only here: whether to restart, too.
    pub restart: bool,
    /// Even when it is older than what runs.
    pub downgrade: bool,
    /// Even when it failed before.
    pub again: bool,
}

/// The way back.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateRollback {
    /// Whether to restart, too.
    pub restart: bool,
}

/// The operator's word.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForceSolo {
    /// Whether the operator has confirmed that the peer does not run.
    pub confirmed: bool,
}

/// What comes back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It is so.
    Ok(Answer),
    /// It is not.
    Error(Failure),
}

/// What a request that worked gives.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is done and durable on every insync node.
    Done,
    /// For `status`.
    Status(Box<StatusReport>),
    /// For `tenant-list`.
    Tenants(Vec<TenantEntry>),
    /// For `tenant-export`, `tenant-import` and `tenant-progress`.
    Carried(Carried),
    /// For `domain-list`.
    Domains(Vec<DomainEntry>),
    /// For `account-list`.
    Accounts(Vec<AccountEntry>),
    /// For `account-quota` and `tenant-quota`.
    Quota(QuotaEntry),
    /// For `alias-list`.
    Aliases(Vec<AliasEntry>),
    /// For `credential-list`.
    Credentials(Vec<CredentialEntry>),
    /// For `credential-app-password`.
    AppPassword(MadePassword),
    /// For `queue-list`.
    Queue(Vec<QueueEntry>),
    /// For `address-list`.
    Addresses(Vec<AddressEntry>),
    /// For `branches`.
    Branches(Vec<BranchEntry>),
    /// For `pair-token`.
    Token(Token),
    /// For `pair-show`.
    Pair(PairFacts),
    /// For `update-piece`: how many bytes are there.
    Received(u64),
    /// For `update-progress`.
    Update(Box<UpdateReport>),
    /// For `operator-add`.
    OperatorPassword(MadeOperator),
    /// For `operator-list`.
    Operators(Vec<OperatorEntry>),
    /// For `audit`.
    Audit(Vec<AuditEntry>),
    /// For `certificate-list`.
    Certificates(Vec<CertificateEntry>),
}

/// The password of a new operator, shown once.
#[derive(Debug, Serialize, Deserialize)]
pub struct MadeOperator {
    /// The password.
    #[serde(serialize_with = "serialize_exposed")]
    pub password: Secret<String>,
}

/// An operator of the console.
#[derive(Debug, Serialize, Deserialize)]
pub struct OperatorEntry {
    /// The name.
    pub name: String,
    /// When it was added, milliseconds since 1970.
    pub created_ms: u64,
}

/// Something that was asked for and done, or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When, milliseconds since 1970.
    pub when_ms: u64,
    /// Who asked: `root (uid 0)`, `operator anna`, `administrator x@y`.
    pub by: String,
    /// The tenant whose administrator asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<u32>,
    /// The command.
    pub command: String,
    /// Names and addresses in it; never secrets.
    pub about: String,
    /// Whether it was done.
    pub ok: bool,
    /// Why it was not.
    pub what: String,
}

/// A certificate that clients are shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateEntry {
    /// Names and addresses that it is for.
    pub names: Vec<String>,
    /// `authority` (the pair's), `own` (the operator's files) or `acme`.
    pub source: String,
    /// From when it holds, milliseconds since 1970.
    pub from_ms: u64,
    /// Until when.
    pub until_ms: u64,
    /// SHA-256, `AB:CD:…`.
    pub fingerprint: String,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// How far an update is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UpdateReport {
    /// The update that was asked for last; `None` when none was.
    pub roll: Option<RollReport>,
}

/// A tenant.
#[derive(Debug, Serialize, Deserialize)]
pub struct TenantEntry {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// How many domains it has.
    pub domains: u64,
    /// How many accounts it has.
    pub accounts: u64,
}

/// How far an export or import is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Bytes done.
    pub done: u64,
    /// Bytes in all, about.
    pub total: u64,
    /// What came of it, once it is over.
    pub finished: Option<String>,
}

/// A domain.
#[derive(Debug, Serialize, Deserialize)]
pub struct DomainEntry {
    /// The domain.
    pub domain: String,
    /// Whose it is.
    pub tenant: String,
}

/// An account.
#[derive(Debug, Serialize, Deserialize)]
pub struct AccountEntry {
    /// Its address.
    pub address: String,
    /// Whose it is.
    pub tenant: String,
    /// Whether it is an administrator of the tenant.
    #[serde(default)]
    pub administrator: bool,
}

/// A limit.
#[derive(Debug, Serialize, Deserialize)]
pub struct QuotaEntry {
    /// What is said of it.
    pub said: SaidLimit,
    /// An account: what its mail takes, in bytes.
    pub used: Option<u64>,
    /// An account: what its mail may take, in bytes, whoever said so; `None`: as much as there is.
    pub limit: Option<u64>,
}

/// An alias.
#[derive(Debug, Serialize, Deserialize)]
pub struct AliasEntry {
    /// The alias.
    pub alias: String,
    /// The account that gets its mail.
    pub account: String,
}

/// A credential, without its secret.
#[derive(Debug, Serialize, Deserialize)]
pub struct CredentialEntry {
    /// Names it in `credential revoke`.
    pub id: u64,
    /// `password`, `app-password`, `session` or `totp`.
    pub kind: String,
    /// What it is for.
    pub label: String,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// When it ends, milliseconds since 1970; a session ends later if it is used.
    #[serde(default)]
    pub ends_ms: Option<u64>,
}

/// An app password, shown once.
#[derive(Debug, Serialize, Deserialize)]
pub struct MadePassword {
    /// Names it in `credential revoke`.
    pub id: u64,
    /// The password.
    #[serde(serialize_with = "serialize_exposed")]
    pub password: Secret<String>,
}

/// A branch in one tenant.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BranchEntry {
    /// Which branch: the last shared record and the branch's last epoch.
    pub branch: String,
    /// The tenant's name; `None` for the system's own data.
    pub tenant: Option<String>,
    /// When its first record was taken, in milliseconds since 1970.
    pub began_ms: u64,
    /// When its merge was complete.
    pub finished_ms: Option<u64>,
    /// The last record that was taken.
    pub taken: u64,
    /// The stage of the merge, 0 while records are taken.
    pub stage: u8,
    /// How many stages there are.
    pub stages: u8,
    /// Tasks of the stage that are done.
    pub tasks_done: u32,
    /// What lost.
    pub lost: Vec<LostEntry>,
}

/// A version that lost in a merge.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LostEntry {
    /// When, in milliseconds since 1970.
    pub when_ms: u64,
    /// Which object.
    pub object: String,
    /// By which rule.
    pub rule: String,
    /// What lost.
    pub lost: String,
    /// The branch's record that has the original; `None` where this side's version lost.
    pub original: Option<u64>,
    /// What lost is kept with this entry; it may be a secret, so it is not shown.
    pub kept: bool,
}

/// A message that waits.
#[derive(Debug, Serialize, Deserialize)]
pub struct QueueEntry {
    /// Its number in the queue.
    pub id: u64,
    /// Whose it is.
    pub tenant: String,
    /// Its sender; empty for a bounce.
    pub from: String,
    /// Its recipient.
    pub to: String,
    /// Length in bytes.
    pub size: u64,
    /// When it was accepted, milliseconds since 1970.
    pub accepted_ms: u64,
    /// How often delivery was tried.
    pub attempts: u32,
    /// When it is tried next, milliseconds since 1970.
    pub next_ms: u64,
    /// What the other side said last.
    pub last_answer: Option<String>,
}

/// A group of floating addresses.
#[derive(Debug, Serialize, Deserialize)]
pub struct AddressEntry {
    /// Its name.
    pub name: String,
    /// `pair` or `origin`.
    pub kind: String,
    /// Whose origin.
    pub tenant: Option<String>,
    /// The addresses with their prefix lengths.
    pub addresses: Vec<String>,
    /// Network interface.
    pub interface: String,
    /// Virtual router id.
    pub vrid: u8,
    /// Initialize, Backup or Active (RFC 9568 6.3).
    pub state: String,
    /// `here`, or the address of whoever is Active.
    pub holder: Option<String>,
    /// What our adverts say, or would; 0 for none.
    pub priority: u8,
    /// When the state last changed, milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Origin: idle, asked, probing, refused or held.
    pub claim: Option<String>,
    /// What is wrong.
    pub problem: Option<String>,
}

/// A one-time token.
#[derive(Debug, Serialize, Deserialize)]
pub struct Token {
    /// What `understudy pair join` takes.
    #[serde(serialize_with = "serialize_exposed")]
    pub token: Secret<String>,
    /// For how many seconds it is good.
    pub valid_s: u64,
}

/// Who this appliance is in its pair, for a witness's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairFacts {
    /// The pair's id.
    pub pair: String,
    /// This node: 0 or 1.
    pub node: u8,
    /// The pin of this node's key.
    pub pin: String,
    /// The pin of the peer's; `None` until one has joined.
    pub peer_pin: Option<String>,
}

/// Why something was not done, and what to do now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{what}\n  {advice}")]
pub struct Failure {
    /// What happened.
    pub what: String,
    /// What to do.
    #[serde(rename = "do")]
    pub advice: String,
}

impl Failure {
    /// A failure with its advice. Both are sentences or commands for people.
    #[must_use]
    pub fn new(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what: what.into(), advice: advice.into() }
    }
}

impl Request {
    /// Its command, for the log.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::TenantCreate(_) => "tenant-create",
            Self::TenantList => "tenant-list",
            Self::TenantExport(_) => "tenant-export",
            Self::TenantImport(_) => "tenant-import",
            Self::TenantProgress => "tenant-progress",
            Self::DomainAdd(_) => "domain-add",
            Self::DomainList(_) => "domain-list",
            Self::DomainRemove(_) => "domain-remove",
            Self::AccountCreate(_) => "account-create",
            Self::AccountList(_) => "account-list",
            Self::AccountRemove(_) => "account-remove",
            Self::AccountQuota(_) => "account-quota",
            Self::TenantQuota(_) => "tenant-quota",
            Self::AliasAdd(_) => "alias-add",
            Self::AliasRemove(_) => "alias-remove",
            Self::AliasList(_) => "alias-list",
            Self::CredentialPassword(_) => "credential-password",
            Self::AccountAdministrator(_) => "account-administrator",
            Self::CredentialAppPassword(_) => "credential-app-password",
            Self::CredentialList(_) => "credential-list",
            Self::CredentialRevoke(_) => "credential-revoke",
            Self::CredentialTotpReset(_) => "credential-totp-reset",
            Self::QueueList => "queue-list",
            Self::QueueRetry(_) => "queue-retry",
            Self::QueueRemove(_) => "queue-remove",
            Self::AddressList => "address-list",
            Self::AddressClaim(_) => "address-claim",
            Self::AddressRelease(_) => "address-release",
            Self::Branches => "branches",
            Self::Handover => "handover",
            Self::PairToken => "pair-token",
            Self::PairShow => "pair-show",
            Self::PairForceSolo(_) => "pair-force-solo",
            Self::UpdatePiece(_) => "update-piece",
            Self::UpdateInstall(_) => "update-install",
            Self::UpdateRollback(_) => "update-rollback",
            Self::UpdateProgress => "update-progress",
            Self::OperatorAdd(_) => "operator-add",
            Self::OperatorList => "operator-list",
            Self::OperatorRemove(_) => "operator-remove",
            Self::OperatorPassword(_) => "operator-password",
            Self::Audit(_) => "audit",
            Self::CertificateList => "certificate-list",
        }
    }

    /// Names and addresses in it, for the audit; never a secret.
    #[must_use]
    pub fn about(&self) -> String {
        match self {
            Self::TenantCreate(r)
            | Self::DomainRemove(r)
            | Self::AccountCreate(r)
            | Self::AccountRemove(r)
            | Self::AliasRemove(r)
            | Self::CredentialList(r)
            | Self::CredentialTotpReset(r)
            | Self::AddressRelease(r)
            | Self::OperatorAdd(r)
            | Self::OperatorRemove(r) => r.name.clone(),
            Self::TenantExport(r) => format!("{} {}", r.tenant, r.file.display()),
            Self::TenantImport(r) => {
                format!("{} {}", r.file.display(), r.name.as_deref().unwrap_or_default())
            }
            Self::DomainAdd(r) => format!("{} {}", r.tenant, r.domain),
            Self::DomainList(r) | Self::AccountList(r) | Self::AliasList(r) => {
                r.tenant.clone().unwrap_or_default()
            }
            Self::AliasAdd(r) => format!("{} {}", r.alias, r.account),
            Self::CredentialPassword(r) => r.account.clone(),
            Self::AccountQuota(r) | Self::TenantQuota(r) => match r.limit {
                None => r.name.clone(),
                Some(SaidLimit::Default) => format!("{} default", r.name),
                Some(SaidLimit::None) => format!("{} none", r.name),
                Some(SaidLimit::Bytes(n)) => format!("{} {n}", r.name),
            },
            Self::AccountAdministrator(r) => {
                format!("{} {}", r.account, if r.on { "on" } else { "off" })
            }
            Self::CredentialAppPassword(r) => format!("{} {}", r.account, r.label),
            Self::CredentialRevoke(r) => format!("{} {}", r.account, r.id),
            Self::QueueRetry(r) | Self::QueueRemove(r) => format!("{} {}", r.tenant, r.id),
            Self::AddressClaim(r) => {
                format!("{}{}", r.name, if r.force { " by force" } else { "" })
            }
            Self::OperatorPassword(r) => r.name.clone(),
            Self::Status
            | Self::TenantList
            | Self::TenantProgress
            | Self::QueueList
            | Self::AddressList
            | Self::Branches
            | Self::Handover
            | Self::PairToken
            | Self::PairShow
            | Self::PairForceSolo(_)
            | Self::UpdatePiece(_)
            | Self::UpdateInstall(_)
            | Self::UpdateRollback(_)
            | Self::UpdateProgress
            | Self::OperatorList
            | Self::Audit(_)
            | Self::CertificateList => String::new(),
        }
    }

    /// Whether it changes nothing, or is one of a thousand pieces: such requests are logged at `debug`
    /// only, and not kept in the audit.
    #[must_use]
    pub const fn only_reads(&self) -> bool {
        matches!(
            self,
            Self::Status
                | Self::TenantList
                | Self::TenantProgress
                | Self::DomainList(_)
                | Self::AccountList(_)
                | Self::AliasList(_)
                | Self::AccountQuota(QuotaOf { limit: None, .. })
                | Self::TenantQuota(QuotaOf { limit: None, .. })
                | Self::CredentialList(_)
                | Self::QueueList
                | Self::AddressList
                | Self::Branches
                | Self::PairShow
                | Self::UpdatePiece(_)
                | Self::UpdateProgress
                | Self::OperatorList
                | Self::Audit(_)
                | Self::CertificateList
        )
    }
}

/// Result of an operator's request.
pub type Outcome<T> = Result<T, Failure>;

/// Does what requests ask. The composition root implements it with the real rooms.
///
/// Changing methods return when the change is committed. Lists are bounded by the implementation.
pub trait Operator: Send + Sync + 'static {
    /// Everything about this appliance.
    fn status(&self) -> impl Future<Output = Outcome<StatusReport>> + Send;
    /// Creates a tenant.
    fn tenant_create(&self, name: &str) -> impl Future<Output = Outcome<()>> + Send;
    /// All tenants.
    fn tenant_list(&self) -> impl Future<Output = Outcome<Vec<TenantEntry>>> + Send;
    /// Begins to write a tenant into a file.
    fn tenant_export(&self, export: &Export) -> impl Future<Output = Outcome<Carried>> + Send;
    /// Begins to make a tenant from a file.
    fn tenant_import(&self, import: &Import) -> impl Future<Output = Outcome<Carried>> + Send;
    /// How far the last export or import is, or why it failed.
    fn tenant_progress(&self) -> impl Future<Output = Outcome<Carried>> + Send;
    /// Adds a domain to a tenant.
    fn domain_add(&self, tenant: &str, domain: &str) -> impl Future<Output = Outcome<()>> + Send;
    /// Domains of one tenant or all.
    fn domain_list(
        &self,
        tenant: Option<&str>,
    ) -> impl Future<Output = Outcome<Vec<DomainEntry>>> + Send;
    /// Removes a domain.
    fn domain_remove(&self, domain: &str) -> impl Future<Output = Outcome<()>> + Send;
    /// Creates an account.
    fn account_create(&self, address: &str) -> impl Future<Output = Outcome<()>> + Send;
    /// Accounts of one tenant or all.
    fn account_list(
        &self,
        tenant: Option<&str>,
    ) -> impl Future<Output = Outcome<Vec<AccountEntry>>> + Send;
    /// Removes an account.
    fn account_remove(&self, address: &str) -> impl Future<Output = Outcome<()>> + Send;
    /// Sets an account's limit, if one is given, and shows it.
    fn account_quota(&self, of: &QuotaOf) -> impl Future<Output = Outcome<QuotaEntry>> + Send;
    /// The same of a tenant's default.
    fn tenant_quota(&self, of: &QuotaOf) -> impl Future<Output = Outcome<QuotaEntry>> + Send;
    /// Adds an alias to an account.
    fn alias_add(&self, alias: &str, account: &str) -> impl Future<Output = Outcome<()>> + Send;
    /// Removes an alias.
    fn alias_remove(&self, alias: &str) -> impl Future<Output = Outcome<()>> + Send;
    /// Aliases of one tenant or all.
    fn alias_list(
        &self,
        tenant: Option<&str>,
    ) -> impl Future<Output = Outcome<Vec<AliasEntry>>> + Send;
    /// Sets a password.
    fn credential_password(
        &self,
        account: &str,
        password: &Secret<String>,
    ) -> impl Future<Output = Outcome<()>> + Send;
    /// Makes an app password.
    fn credential_app_password(
        &self,
        account: &str,
        label: &str,
        days: Option<u32>,
    ) -> impl Future<Output = Outcome<MadePassword>> + Send;
    /// An account's credentials.
    fn credential_list(
        &self,
        account: &str,
    ) -> impl Future<Output = Outcome<Vec<CredentialEntry>>> + Send;
    /// Takes a credential away.
    fn credential_revoke(&self, account: &str, id: u64)
    -> impl Future<Output = Outcome<()>> + Send;
    /// Takes an account's second factor away.
    fn credential_totp_reset(&self, account: &str) -> impl Future<Output = Outcome<()>> + Send;
    /// What waits for delivery to others.
    fn queue_list(&self) -> impl Future<Output = Outcome<Vec<QueueEntry>>> + Send;
    /// Tries a message of the queue now.
    fn queue_retry(&self, tenant: &str, id: u64) -> impl Future<Output = Outcome<()>> + Send;
    /// Takes a message out of the queue.
    fn queue_remove(&self, tenant: &str, id: u64) -> impl Future<Output = Outcome<()>> + Send;
    /// All groups of floating addresses.
    fn address_list(&self) -> impl Future<Output = Outcome<Vec<AddressEntry>>> + Send;
    /// Takes an origin's addresses; returns when they are here.
    fn address_claim(&self, name: &str, force: bool) -> impl Future<Output = Outcome<()>> + Send;
    /// Gives an origin's addresses back; returns when they are gone.
    fn address_release(&self, name: &str) -> impl Future<Output = Outcome<()>> + Send;
    /// Branches and what lost when they were merged.
    fn branches(&self) -> impl Future<Output = Outcome<Vec<BranchEntry>>> + Send;
    /// Moves the primary role to the peer, as asked `by`; returns when it is there.
    fn handover(&self, by: &By) -> impl Future<Output = Outcome<()>> + Send;
    /// Makes a one-time token.
    fn pair_token(&self) -> impl Future<Output = Outcome<Token>> + Send;
    /// Who this appliance is in its pair.
    fn pair_show(&self) -> Outcome<PairFacts>;
    /// Takes the word that the peer is gone. Called only when it was confirmed.
    fn pair_force_solo(&self, by: &By) -> impl Future<Output = Outcome<()>> + Send;
    /// Takes a piece of an update; returns how many bytes are there.
    fn update_piece(&self, piece: &UpdatePiece) -> impl Future<Output = Outcome<u64>> + Send;
    /// Begins to install what was handed over, as asked `by`.
    fn update_install(
        &self,
        install: UpdateInstall,
        by: &By,
    ) -> impl Future<Output = Outcome<()>> + Send;
    /// Goes back; returns when that is done.
    fn update_rollback(&self, rollback: UpdateRollback)
    -> impl Future<Output = Outcome<()>> + Send;
    /// How far the last update is.
    fn update_progress(&self) -> impl Future<Output = Outcome<UpdateReport>> + Send;
    /// Makes an account an administrator of its tenant, or none any more.
    fn account_administrator(
        &self,
        account: &str,
        on: bool,
    ) -> impl Future<Output = Outcome<()>> + Send;
    /// Adds an operator, with a password that is made.
    fn operator_add(&self, name: &str) -> impl Future<Output = Outcome<MadeOperator>> + Send;
    /// All operators.
    fn operator_list(&self) -> impl Future<Output = Outcome<Vec<OperatorEntry>>> + Send;
    /// Removes an operator.
    fn operator_remove(&self, name: &str) -> impl Future<Output = Outcome<()>> + Send;
    /// Sets an operator's password.
    fn operator_password(
        &self,
        name: &str,
        password: &Secret<String>,
    ) -> impl Future<Output = Outcome<()>> + Send;
    /// The latest of what was kept.
    fn audit(&self, limit: usize) -> impl Future<Output = Outcome<Vec<AuditEntry>>> + Send;
    /// Keeps what was asked for and what became of it.
    fn keep(&self, entry: AuditEntry) -> impl Future<Output = ()> + Send;
    /// Certificates that clients are shown.
    fn certificate_list(&self) -> Outcome<Vec<CertificateEntry>>;
}

/// What operators ask, wherever they ask it: the operator behind it is of any kind. What was asked is done and
/// kept in the audit, also when nobody waits for the reply any more.
pub type Ask =
    Arc<dyn Fn(Request, By) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync>;

/// Lets `operator` do what `request` asks, logs and keeps it; `by` is who asks.
pub async fn answer<O: Operator>(operator: &O, request: &Request, by: &By) -> Reply {
    let done = perform(operator, request, by).await;
    let (cmd, ok) = (request.name(), done.is_ok());
    if request.only_reads() {
        log::debug!(cmd, ok, by:%; "operator asked");
    } else {
        log::info!(cmd, ok, by:%; "operator command");
        let what = done.as_ref().err().map(|failure| failure.what.clone()).unwrap_or_default();
        let tenant = match by {
            By::Administrator { tenant, .. } => Some(tenant.0),
            By::User(_) | By::Console(_) => None,
        };
        let (command, about) = (cmd.to_owned(), request.about());
        let (when_ms, by) = (clock::now_ms().0, by.to_string());
        operator.keep(AuditEntry { when_ms, by, tenant, command, about, ok, what }).await;
    }
    done.map_or_else(Reply::Error, Reply::Ok)
}

async fn perform<O: Operator>(o: &O, request: &Request, by: &By) -> Outcome<Answer> {
    let done = |()| Answer::Done;
    match request {
        Request::Status => o.status().await.map(|s| Answer::Status(Box::new(s))),
        Request::TenantCreate(r) => o.tenant_create(&r.name).await.map(done),
        Request::TenantList => o.tenant_list().await.map(Answer::Tenants),
        Request::TenantExport(r) => o.tenant_export(r).await.map(Answer::Carried),
        Request::TenantImport(r) => o.tenant_import(r).await.map(Answer::Carried),
        Request::TenantProgress => o.tenant_progress().await.map(Answer::Carried),
        Request::DomainAdd(r) => o.domain_add(&r.tenant, &r.domain).await.map(done),
        Request::DomainList(r) => o.domain_list(r.tenant.as_deref()).await.map(Answer::Domains),
        Request::DomainRemove(r) => o.domain_remove(&r.name).await.map(done),
        Request::AccountCreate(r) => o.account_create(&r.name).await.map(done),
        Request::AccountList(r) => o.account_list(r.tenant.as_deref()).await.map(Answer::Accounts),
        Request::AccountRemove(r) => o.account_remove(&r.name).await.map(done),
        Request::AccountQuota(r) => o.account_quota(r).await.map(Answer::Quota),
        Request::TenantQuota(r) => o.tenant_quota(r).await.map(Answer::Quota),
        Request::AliasAdd(r) => o.alias_add(&r.alias, &r.account).await.map(done),
        Request::AliasRemove(r) => o.alias_remove(&r.name).await.map(done),
        Request::AliasList(r) => o.alias_list(r.tenant.as_deref()).await.map(Answer::Aliases),
        Request::CredentialPassword(r) => {
            o.credential_password(&r.account, &r.password).await.map(done)
        }
        Request::CredentialAppPassword(r) => {
            o.credential_app_password(&r.account, &r.label, r.days).await.map(Answer::AppPassword)
        }
        Request::CredentialList(r) => o.credential_list(&r.name).await.map(Answer::Credentials),
        Request::CredentialRevoke(r) => o.credential_revoke(&r.account, r.id).await.map(done),
        Request::CredentialTotpReset(r) => o.credential_totp_reset(&r.name).await.map(done),
        Request::QueueList => o.queue_list().await.map(Answer::Queue),
        Request::QueueRetry(r) => o.queue_retry(&r.tenant, r.id).await.map(done),
        Request::QueueRemove(r) => o.queue_remove(&r.tenant, r.id).await.map(done),
        Request::AddressList => o.address_list().await.map(Answer::Addresses),
        Request::AddressClaim(r) => o.address_claim(&r.name, r.force).await.map(done),
        Request::AddressRelease(r) => o.address_release(&r.name).await.map(done),
        Request::Branches => o.branches().await.map(Answer::Branches),
        Request::Handover => o.handover(by).await.map(done),
        Request::PairToken => o.pair_token().await.map(Answer::Token),
        Request::PairShow => o.pair_show().map(Answer::Pair),
        Request::PairForceSolo(r) if !r.confirmed => Err(Failure::new(
            "going on alone was not confirmed",
            "Make sure that the peer does not run, then: understudy pair force-solo --confirm",
        )),
        Request::PairForceSolo(_) => o.pair_force_solo(by).await.map(done),
        Request::UpdatePiece(r) => o.update_piece(r).await.map(Answer::Received),
        Request::UpdateInstall(r) => o.update_install(*r, by).await.map(done),
        Request::UpdateRollback(r) => o.update_rollback(*r).await.map(done),
        Request::UpdateProgress => o.update_progress().await.map(|r| Answer::Update(Box::new(r))),
        Request::AccountAdministrator(r) => {
            o.account_administrator(&r.account, r.on).await.map(done)
        }
        Request::OperatorAdd(r) => o.operator_add(&r.name).await.map(Answer::OperatorPassword),
        Request::OperatorList => o.operator_list().await.map(Answer::Operators),
        Request::OperatorRemove(r) => o.operator_remove(&r.name).await.map(done),
        Request::OperatorPassword(r) => o.operator_password(&r.name, &r.password).await.map(done),
        Request::Audit(r) => {
            let limit = r.limit.unwrap_or(SHOWN_MAX).min(SHOWN_MAX);
            o.audit(limit).await.map(Answer::Audit)
        }
        Request::CertificateList => o.certificate_list().map(Answer::Certificates),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_as_documented() {
        let request =
            Request::DomainAdd(DomainAdd { tenant: "acme".into(), domain: "acme.example".into() });
        assert_eq!(
            serde_json::to_string(&request).unwrap(),
            r#"{"cmd":"domain-add","args":{"tenant":"acme","domain":"acme.example"}}"#
        );
        assert_eq!(serde_json::to_string(&Request::Status).unwrap(), r#"{"cmd":"status"}"#);
        assert_eq!(serde_json::to_string(&Reply::Ok(Answer::Done)).unwrap(), r#"{"ok":"done"}"#);
        assert_eq!(
            serde_json::to_string(&Reply::Error(Failure::new("a", "b"))).unwrap(),
            r#"{"error":{"what":"a","do":"b"}}"#
        );
    }

    #[test]
    fn the_log_name_is_the_command_on_the_wire() {
        let text = r#"{"cmd":"credential-password","args":{"account":"a@b","password":"x"}}"#;
        let request: Request = serde_json::from_str(text).unwrap();
        assert_eq!(request.name(), "credential-password");
        assert!(!format!("{request:?}").contains("\"x\""));
    }

    #[test]
    fn what_is_not_a_request_is_refused() {
        for text in [
            r#"{"cmd":"drop-all"}"#,
            r#"{"cmd":"tenant-create","args":{"nam":"x"}}"#,
            r#"{"cmd":"tenant-create","args":{"name":"x","more":1}}"#,
            r#"{"cmd":"status","extra":1}"#,
            "[]",
        ] {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
    }
}

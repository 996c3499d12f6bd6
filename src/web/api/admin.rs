//! Administrators of a tenant: some of the words of operators, for their own tenant.
//!
//! [`is_open`] says which; the operator behind it is confined to the tenant, so that what is another's is
//! answered exactly as what nobody has (`Directory::confined`). Invariants: only a session of the web (a
//! cookie) opens this; nobody takes away the account that they are signed in with.

use super::Asked;
use crate::directory::Resolved;
use crate::ops::request::{By, Failure as Refusal, QuotaOf, Reply, Request};
use crate::web::Web;
use crate::web::caller::Caller;
use crate::web::failure::Failure;
use axum::Json;
use axum::extract::State;

/// Whether administrators of tenants may ask this, about their own tenant. A new request has to decide.
const fn is_open(request: &Request) -> bool {
    match request {
        Request::DomainList(_)
        | Request::AccountCreate(_)
        | Request::AccountList(_)
        | Request::AccountRemove(_)
        | Request::AccountAdministrator(_)
        | Request::AccountQuota(QuotaOf { limit: None, .. })
        | Request::AliasAdd(_)
        | Request::AliasRemove(_)
        | Request::AliasList(_)
        | Request::CredentialPassword(_)
        | Request::CredentialAppPassword(_)
        | Request::CredentialList(_)
        | Request::CredentialRevoke(_)
        | Request::CredentialTotpReset(_)
        | Request::Audit(_) => true,
        Request::Status
        | Request::TenantCreate(_)
        | Request::TenantList
        | Request::TenantExport(_)
        | Request::TenantImport(_)
        | Request::TenantProgress
        | Request::DomainAdd(_)
        // Limits are the operator's.
        | Request::AccountQuota(_)
        | Request::TenantQuota(_)
        | Request::DomainRemove(_)
        | Request::QueueList
        | Request::QueueRetry(_)
        | Request::QueueRemove(_)
        | Request::AddressList
        | Request::AddressClaim(_)
        | Request::AddressRelease(_)
        | Request::Branches
        | Request::Handover
        | Request::PairToken
        | Request::PairShow
        | Request::PairForceSolo(_)
        | Request::UpdatePiece(_)
        | Request::UpdateInstall(_)
        | Request::UpdateRollback(_)
        | Request::UpdateProgress
        | Request::OperatorAdd(_)
        | Request::OperatorList
        | Request::OperatorRemove(_)
        | Request::OperatorPassword(_)
        | Request::CertificateList => false,
    }
}

/// The account that an administrator would no longer be, or be without.
fn takes_away(request: &Request) -> Option<&str> {
    match request {
        Request::AccountRemove(named) => Some(&named.name),
        Request::AccountAdministrator(it) if !it.on => Some(&it.account),
        _ => None,
    }
}

pub(super) async fn ask(
    State(web): State<Web>,
    caller: Caller,
    Asked(request): Asked<Request>,
) -> Result<Json<Reply>, Failure> {
    caller.session()?;
    let (directory, login) = (web.directory(), &caller.login);
    if !directory.is_administrator(login)? || !is_open(&request) {
        return Err(Failure::NotAllowed);
    }
    if let Some(name) = takes_away(&request) {
        let own = Resolved::Account { tenant: login.tenant, account: login.account };
        if directory.resolve(name)? == own {
            return Ok(Json(Reply::Error(Refusal::new(
                "this is the account that you are signed in with",
                "Another administrator can do that.",
            ))));
        }
    }
    let ask = web.operator().ok_or(Failure::NotHere)?;
    let by = By::Administrator { tenant: login.tenant, address: login.address.clone() };
    Ok(Json(ask(request, by).await))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn request(cmd: &str, args: Value) -> Request {
        let whole =
            if args.is_null() { json!({"cmd": cmd}) } else { json!({"cmd": cmd, "args": args}) };
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn administrators_see_to_people_and_to_nothing_of_the_appliance() {
        let (named, of) = (json!({"name": "x"}), json!({}));
        let account = json!({"account": "x"});
        let with = |more: Value| {
            let mut all = account.clone();
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            all
        };
        let file = json!({"file": "/x", "passphrase": "x"});
        for (cmd, args, open) in [
            ("status", Value::Null, false),
            ("tenant-create", named.clone(), false),
            ("tenant-list", Value::Null, false),
            ("tenant-export", json!({"tenant": "x", "file": "/x", "passphrase": "x"}), false),
            ("tenant-import", file, false),
            ("tenant-progress", Value::Null, false),
            ("domain-add", json!({"tenant": "x", "domain": "x"}), false),
            ("domain-list", of.clone(), true),
            ("domain-remove", named.clone(), false),
            ("account-create", named.clone(), true),
            ("account-list", of.clone(), true),
            ("account-remove", named.clone(), true),
            ("account-administrator", with(json!({"on": true})), true),
            ("account-quota", named.clone(), true),
            ("account-quota", json!({"name": "x", "limit": "none"}), false),
            ("tenant-quota", named.clone(), false),
            ("alias-add", with(json!({"alias": "x"})), true),
            ("alias-remove", named.clone(), true),
            ("alias-list", of.clone(), true),
            ("credential-password", with(json!({"password": "x"})), true),
            ("credential-app-password", with(json!({"label": "x"})), true),
            ("credential-list", named.clone(), true),
            ("credential-revoke", with(json!({"id": 1})), true),
            ("credential-totp-reset", named.clone(), true),
            ("queue-list", Value::Null, false),
            ("queue-retry", json!({"tenant": "t", "id": 1}), false),
            ("queue-remove", json!({"tenant": "t", "id": 1}), false),
            ("address-list", Value::Null, false),
            ("address-claim", json!({"name": "x", "force": false}), false),
            ("address-release", named.clone(), false),
            ("branches", Value::Null, false),
            ("handover", Value::Null, false),
            ("pair-token", Value::Null, false),
            ("pair-show", Value::Null, false),
            ("pair-force-solo", json!({"confirmed": true}), false),
            ("update-piece", json!({"offset": 0, "bytes": ""}), false),
            (
                "update-install",
                json!({"len": 0, "only_here": false, "restart": false, "downgrade": false, "again": false}),
                false,
            ),
            ("update-rollback", json!({"restart": false}), false),
            ("update-progress", Value::Null, false),
            ("operator-add", named.clone(), false),
            ("operator-list", Value::Null, false),
            ("operator-remove", named.clone(), false),
            ("operator-password", json!({"name": "x", "password": "x"}), false),
            ("audit", of, true),
            ("certificate-list", Value::Null, false),
        ] {
            let request = request(cmd, args);
            assert_eq!(request.name(), cmd);
            assert_eq!(is_open(&request), open, "{cmd}");
            assert!(takes_away(&request).is_none() || cmd == "account-remove", "{cmd}");
        }
        let demoted = request("account-administrator", with(json!({"on": false})));
        assert_eq!(takes_away(&demoted), Some("x"));
    }
}

//! Quota (RFC 9425): one object, the bytes of the account's mail; none where there is no limit.
//!
//! Its state says limit and use themselves, so that changes since any state are known without a history.

use super::Look;
use super::arguments::{Arguments, got};
use crate::mail::{MailError, Snapshot};
use serde_json::{Map, Value, json};
use understudy_proto::jmap::MethodError;
use understudy_proto::mailbox::Quota;

/// The id of the only one.
const ID: &str = "octets";
const PROPERTIES: [&str; 10] = [
    "id",
    "resourceType",
    "used",
    "hardLimit",
    "warnLimit",
    "softLimit",
    "scope",
    "name",
    "types",
    "description",
];

/// What a client knows: `none`, or limit and use.
pub(super) fn state(account: &Snapshot) -> Result<String, MailError> {
    Ok(text(account.quota()?))
}

fn text(quota: Quota) -> String {
    quota.limit.map_or_else(|| "none".to_owned(), |limit| format!("{limit}-{}", quota.used))
}

/// The limit and the use that a state says; `None`: it is none of ours.
fn parse(state: &str) -> Option<Option<(u64, u64)>> {
    if state == "none" {
        return Some(None);
    }
    let (limit, used) = state.split_once('-')?;
    Some(Some((limit.parse().ok()?, used.parse().ok()?)))
}

/// RFC 9425 4.1.
fn object(quota: Quota) -> Option<Value> {
    let limit = quota.limit?;
    // RFC 9425 3.1: people are warned at nine tenths.
    let warn = limit.saturating_sub(limit / 10);
    Some(json!({
        "id": ID, "resourceType": "octets", "used": quota.used, "hardLimit": limit,
        "warnLimit": warn, "softLimit": null, "scope": "account", "name": "Mail",
        "types": ["Email"], "description": null,
    }))
}

pub(super) fn get(look: &Look, mut arguments: Arguments) -> Result<Value, MethodError> {
    let asked = arguments.get()?;
    arguments.end()?;
    asked.only(&PROPERTIES)?;
    let quota = look.account.quota()?;
    let wanted = |ids: &Vec<String>| ids.iter().any(|id| id == ID);
    let there = object(quota).filter(|_| asked.ids.as_ref().is_none_or(wanted));
    let found = there.is_some();
    let missing = asked.ids.iter().flatten().filter(|id| !found || *id != ID).cloned().collect();
    let list = there.into_iter().map(|object| asked.project(object)).collect();
    Ok(got(look.account_id(), &text(quota), list, missing))
}

/// RFC 9425 4.2.
pub(super) fn changes(look: &Look, arguments: Arguments) -> Result<Value, MethodError> {
    let asked = arguments.changes()?;
    let quota = look.account.quota()?;
    let known = parse(&asked.since).ok_or(MethodError::CannotCalculateChanges)?;
    let now = quota.limit.map(|limit| (limit, quota.used));
    let (mut created, mut updated, mut destroyed) = (vec![], vec![], vec![]);
    let mut properties = Value::Null;
    match (known, now) {
        (None, Some(_)) => created.push(ID),
        (Some(_), None) => destroyed.push(ID),
        (Some((old, _)), Some((new, _))) if known != now => {
            updated.push(ID);
            if old == new {
                properties = json!(["used"]);
            }
        }
        _ => {}
    }
    Ok(json!({
        "accountId": look.account_id(), "oldState": asked.since, "newState": text(quota),
        "hasMoreChanges": false, "updatedProperties": properties,
        "created": created, "updated": updated, "destroyed": destroyed,
    }))
}

/// RFC 9425 4.3: there is one at most.
pub(super) fn query(look: &Look, mut arguments: Arguments) -> Result<Value, MethodError> {
    let filter: Option<Map<String, Value>> = arguments.take("filter")?;
    let sort: Option<Vec<Map<String, Value>>> = arguments.take("sort")?;
    let position: i64 = arguments.take("position")?.unwrap_or(0);
    let limit: Option<usize> = arguments.take("limit")?;
    let total = arguments.flag("calculateTotal")?;
    arguments.end()?;
    let quota = look.account.quota()?;
    let mut there = quota.limit.is_some();
    for (name, value) in filter.into_iter().flatten() {
        there &= match name.as_str() {
            "name" => value.as_str().is_some_and(|text| "mail".contains(&text.to_lowercase())),
            "scope" => value == "account",
            "resourceType" => value == "octets",
            "type" => value == "Email",
            other => {
                return Err(MethodError::UnsupportedFilter(format!("{other} is no condition")));
            }
        };
    }
    for term in sort.into_iter().flatten() {
        if !term.get("property").is_some_and(|p| p == "name" || p == "used") {
            return Err(MethodError::UnsupportedSort("quotas have name and used".into()));
        }
    }
    let ids: &[&str] = if there && position < 1 && limit != Some(0) { &[ID] } else { &[] };
    let mut answer = json!({
        "accountId": look.account_id(), "queryState": text(quota), "canCalculateChanges": false,
        "position": position.max(0), "ids": ids,
    });
    if let (true, Some(all)) = (total, answer.as_object_mut()) {
        all.insert("total".into(), json!(usize::from(there)));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_says_limit_and_use() {
        for quota in [Quota { used: 7, limit: Some(9) }, Quota { used: 7, limit: None }] {
            let known = parse(&text(quota)).unwrap();
            assert_eq!(known, quota.limit.map(|limit| (limit, quota.used)));
        }
        for strange in ["", "9", "a-b", "9-", "-9"] {
            assert_eq!(parse(strange), None, "{strange}");
        }
    }
}

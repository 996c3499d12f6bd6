//! The types that are kept as JSON ([`crate::objects`]): what each may say.
//!
//! Identity (RFC 8621 6), VacationResponse (8), AddressBook and ContactCard (RFC 9610, RFC 9553), and the
//! app's Preferences. [`create`] and [`update`] give what is kept and what the client is told beyond what
//! it said; [`show`] gives what `/get` shows. Invariants: what is kept has every property that has a
//! default; `id` and what only the server sets are not kept, but AddressBook's `isDefault`.
//! Absent: what needs other objects, but for what [`Context`] answers.

mod card;
mod check;
mod query;
#[cfg(test)]
mod tests;

pub use query::{Comparator, Condition, Filter, filter, holds};

use super::{Map, patch};
use crate::objects::{ObjectType, SINGLETON};
use crate::time::{UnixMs, parse_utc_date};
use serde_json::{Value, json};

/// Most addresses whose images are always shown.
const TRUSTED_MAX: usize = 2_000;
/// Longest time that sending can be undone, in seconds.
const UNDO_MAX: u64 = 120;

/// RFC 8620 5.3: why one object is not created or updated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// These properties are not what they may be.
    #[error("invalidProperties")]
    InvalidProperties(Vec<String>),
    /// The patch cannot be applied.
    #[error("invalidPatch")]
    InvalidPatch(patch::PatchError),
    /// RFC 8621 8.2: there is one, always.
    #[error("singleton")]
    Singleton,
    /// RFC 8621 6.3: the account may not send as this address.
    #[error("forbiddenFrom")]
    ForbiddenFrom,
    /// Clients do not make these.
    #[error("forbidden")]
    Forbidden,
}

impl SetError {
    /// As it stands in a response.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut error = json!({"type": self.to_string()});
        if let Some(error) = error.as_object_mut() {
            match self {
                Self::InvalidProperties(names) => {
                    error.insert("properties".to_owned(), json!(names));
                }
                Self::InvalidPatch(why) => {
                    error.insert("description".to_owned(), json!(why.to_string()));
                }
                Self::Singleton | Self::ForbiddenFrom | Self::Forbidden => {}
            }
        }
        error
    }
}

/// What a check may ask of the world.
pub struct Context<'a> {
    /// Now.
    pub now: UnixMs,
    /// Fresh random bytes: a card without a uid gets one.
    pub random: [u8; 16],
    /// Whether the account may send as this address.
    pub may_send_as: &'a dyn Fn(&str) -> bool,
    /// Whether this is the id of an address book.
    pub is_address_book: &'a dyn Fn(&str) -> bool,
}

/// An object that may be kept so.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// What is kept.
    pub json: Map,
    /// What the client does not know, since it did not say so: for `created` and `updated`.
    pub told: Map,
}

/// Who gives a property.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Client,
    /// The client, when it creates the object.
    ClientOnce,
    Server,
}

/// One property of a type.
struct Property {
    name: &'static str,
    by: By,
    check: fn(&Value) -> bool,
    /// `None`: it must be given.
    default: Option<fn() -> Value>,
}

const fn property(name: &'static str, by: By, check: fn(&Value) -> bool) -> Property {
    Property { name, by, check, default: None }
}

impl Property {
    const fn or(mut self, default: fn() -> Value) -> Self {
        self.default = Some(default);
        self
    }
}

fn nothing() -> Value {
    Value::Null
}

fn empty() -> Value {
    json!("")
}

fn no() -> Value {
    json!(false)
}

fn yes() -> Value {
    json!(true)
}

fn zero() -> Value {
    json!(0)
}

/// RFC 9610 2: what an address book's owner may do; nothing is shared yet.
fn rights() -> Value {
    json!({"mayRead": true, "mayWrite": true, "mayShare": false, "mayDelete": true})
}

// RFC 8621 6.
const IDENTITY: &[Property] = &[
    property("name", By::Client, check::line).or(empty),
    property("email", By::ClientOnce, check::email),
    property("replyTo", By::Client, check::addresses_or_null).or(nothing),
    property("bcc", By::Client, check::addresses_or_null).or(nothing),
    property("textSignature", By::Client, check::text).or(empty),
    property("htmlSignature", By::Client, check::text).or(empty),
    property("mayDelete", By::Server, check::boolean).or(yes),
];

// RFC 8621 8.
const VACATION: &[Property] = &[
    property("isEnabled", By::Client, check::boolean).or(no),
    property("fromDate", By::Client, check::date_or_null).or(nothing),
    property("toDate", By::Client, check::date_or_null).or(nothing),
    property("subject", By::Client, check::line_or_null).or(nothing),
    property("textBody", By::Client, check::text_or_null).or(nothing),
    property("htmlBody", By::Client, check::text_or_null).or(nothing),
];

// RFC 9610 2. Sharing comes later: shareWith is null.
const ADDRESS_BOOK: &[Property] = &[
    property("name", By::Client, check::name),
    property("description", By::Client, check::text_or_null).or(nothing),
    property("sortOrder", By::Client, check::unsigned).or(zero),
    property("isDefault", By::Server, check::boolean).or(no),
    property("isSubscribed", By::Client, check::boolean).or(yes),
    property("shareWith", By::Client, check::null).or(nothing),
    property("myRights", By::Server, Value::is_object).or(rights),
];

// docs/design/web.md.
const PREFERENCES: &[Property] = &[
    property("language", By::Client, |v| v.is_null() || v == "de" || v == "en").or(nothing),
    property("theme", By::Client, |v| v == "auto" || v == "light" || v == "dark")
        .or(|| json!("auto")),
    property("density", By::Client, |v| v == "normal" || v == "compact").or(|| json!("normal")),
    property("undoSeconds", By::Client, |v| v.as_u64().is_some_and(|n| n <= UNDO_MAX))
        .or(|| json!(10)),
    property("signatureDefault", By::Client, check::boolean).or(yes),
    property("trustedSenders", By::Client, |v| check::set_of(v, TRUSTED_MAX, |a| a.len() <= 320))
        .or(|| json!({})),
    property("remoteImages", By::Client, |v| v == "ask" || v == "always").or(|| json!("ask")),
    property("shortcuts", By::Client, check::boolean).or(yes),
];

/// The properties of a type; `None`: its objects are not made of clients' JSON.
fn properties(object_type: ObjectType) -> Option<&'static [Property]> {
    match object_type {
        ObjectType::Identity => Some(IDENTITY),
        ObjectType::VacationResponse => Some(VACATION),
        ObjectType::AddressBook => Some(ADDRESS_BOOK),
        ObjectType::ContactCard => Some(card::PROPERTIES),
        ObjectType::Preferences => Some(PREFERENCES),
        ObjectType::EmailSubmission | ObjectType::Upload | ObjectType::Answered => None,
    }
}

/// Whether there is one object of this type, `singleton`, whatever was created.
#[must_use]
pub fn is_singleton(object_type: ObjectType) -> bool {
    matches!(object_type, ObjectType::VacationResponse | ObjectType::Preferences)
}

/// What is kept of an object that nobody has changed yet: of singletons, and of a first address book
/// but for its name.
#[must_use]
pub fn defaults(object_type: ObjectType) -> Map {
    let all = properties(object_type).unwrap_or_default().iter();
    let kept = all.filter(|p| p.by != By::Server || p.name == "isDefault");
    kept.filter_map(|p| Some((p.name.to_owned(), p.default?()))).collect()
}

/// RFC 8620 5.3: what is kept of an object that a client creates.
pub fn create(
    object_type: ObjectType,
    given: &Map,
    context: &Context<'_>,
) -> Result<Kept, SetError> {
    let Some(all) = properties(object_type) else { return Err(SetError::Forbidden) };
    if is_singleton(object_type) {
        return Err(SetError::Singleton);
    }
    let by_server = |p: &&Property| p.by == By::Server && given.contains_key(p.name);
    let mut bad: Vec<String> = all.iter().filter(by_server).map(|p| p.name.to_owned()).collect();
    bad.extend(given.contains_key("id").then(|| "id".to_owned()));
    let mut json = given.clone();
    if object_type == ObjectType::ContactCard {
        card::complete(&mut json, context);
    }
    finish(object_type, all, &mut json, bad, context)?;
    let mut told = show_all(all, &json);
    told.retain(|name, value| given.get(name) != Some(value));
    Ok(Kept { json, told })
}

/// RFC 8620 5.3: what is kept of an object after a patch.
pub fn update(
    object_type: ObjectType,
    kept: &Map,
    (id, changes): (&str, &Map),
    context: &Context<'_>,
) -> Result<Kept, SetError> {
    let Some(all) = properties(object_type) else { return Err(SetError::Forbidden) };
    let mut before = show_all(all, kept);
    before.insert("id".to_owned(), json!(id));
    let mut json = patch::apply(&before, changes).map_err(SetError::InvalidPatch)?;
    let mut bad = Vec::new();
    // What only the server sets may be sent as it is.
    let fixed = all.iter().filter(|p| p.by != By::Client).map(|p| p.name);
    for name in fixed.chain(["id"]) {
        if json.get(name) != before.get(name) {
            bad.push(name.to_owned());
        }
    }
    json.remove("id");
    for p in all.iter().filter(|p| p.by == By::Server) {
        json.remove(p.name);
        if let Some(value) = kept.get(p.name) {
            json.insert(p.name.to_owned(), value.clone());
        }
    }
    if object_type == ObjectType::ContactCard {
        card::touch(&mut json, &before, context);
    }
    let said = json.clone();
    finish(object_type, all, &mut json, bad, context)?;
    let mut told = show_all(all, &json);
    // What a client removed and has a default, and what the server changed by itself.
    let asked = |name: &str| changes.keys().any(|key| key.split('/').next() == Some(name));
    told.retain(|name, value| {
        let changed = before.get(name) != Some(value);
        changed && (!asked(name) || said.get(name) != Some(value))
    });
    Ok(Kept { json, told })
}

/// Fills in defaults and checks all; `bad`: what is wrong already.
fn finish(
    object_type: ObjectType,
    all: &[Property],
    json: &mut Map,
    mut bad: Vec<String>,
    context: &Context<'_>,
) -> Result<(), SetError> {
    for p in all.iter().filter(|p| p.by != By::Server || p.name == "isDefault") {
        match (json.get(p.name), p.default) {
            (None, Some(default)) => {
                let default = default();
                // Of a card what is absent stays so: JSContact has no nulls.
                if !(default.is_null() && object_type == ObjectType::ContactCard) {
                    json.insert(p.name.to_owned(), default);
                }
            }
            (None, None) => bad.push(p.name.to_owned()),
            (Some(value), _) if !(p.check)(value) => bad.push(p.name.to_owned()),
            _ => {}
        }
    }
    // RFC 9553 1.8: of a card unknown properties are kept, they may be a later version's.
    if object_type != ObjectType::ContactCard {
        let unknown = json.keys().filter(|key| !all.iter().any(|p| p.name == *key));
        bad.extend(unknown.cloned());
    }
    match object_type {
        ObjectType::ContactCard => card::check(json, context, &mut bad),
        ObjectType::VacationResponse => {
            let date = |name| json.get(name).and_then(Value::as_str).and_then(parse_utc_date);
            if let (Some(from), Some(to)) = (date("fromDate"), date("toDate"))
                && to < from
            {
                bad.push("toDate".to_owned());
            }
        }
        _ => {}
    }
    bad.sort();
    bad.dedup();
    if !bad.is_empty() {
        return Err(SetError::InvalidProperties(bad));
    }
    if object_type == ObjectType::Identity {
        let email = json.get("email").and_then(Value::as_str).unwrap_or_default();
        if !(context.may_send_as)(email) {
            return Err(SetError::ForbiddenFrom);
        }
    }
    Ok(())
}

/// All that is shown of what is kept, but for the id.
fn show_all(all: &[Property], kept: &Map) -> Map {
    let mut shown = kept.clone();
    for p in all {
        if let (None, Some(default)) = (shown.get(p.name), p.default) {
            let default = default();
            if !default.is_null() || !all.iter().any(|p| p.name == "@type") {
                shown.insert(p.name.to_owned(), default);
            }
        }
    }
    shown
}

/// RFC 8620 5.1: what `/get` shows of an object; of `wanted` alone, if that is given. Errors are names
/// that the type does not have: `invalidArguments`.
pub fn show(
    object_type: ObjectType,
    id: &str,
    kept: &Map,
    wanted: Option<&[String]>,
) -> Result<Map, Vec<String>> {
    let all = properties(object_type).unwrap_or_default();
    let mut shown = show_all(all, kept);
    shown.insert("id".to_owned(), json!(id));
    let Some(wanted) = wanted else { return Ok(shown) };
    if object_type != ObjectType::ContactCard {
        let known = |name: &&String| *name == "id" || all.iter().any(|p| p.name == **name);
        let unknown: Vec<String> = wanted.iter().filter(|name| !known(name)).cloned().collect();
        if !unknown.is_empty() && !all.is_empty() {
            return Err(unknown);
        }
    }
    shown.retain(|name, _| name == "id" || wanted.contains(name));
    Ok(shown)
}

/// Whether clients may destroy this object: what there is one of stays.
pub fn destroy(object_type: ObjectType, id: &str) -> Result<(), SetError> {
    if is_singleton(object_type) && id == SINGLETON { Err(SetError::Singleton) } else { Ok(()) }
}

/// RFC 8621 8: whether an answer is given now.
#[must_use]
pub fn is_away(vacation: &Map, now: UnixMs) -> bool {
    let date = |name: &str| vacation.get(name).and_then(Value::as_str).and_then(parse_utc_date);
    vacation.get("isEnabled") == Some(&Value::Bool(true))
        && date("fromDate").is_none_or(|from| from <= now)
        && date("toDate").is_none_or(|to| now < to)
}

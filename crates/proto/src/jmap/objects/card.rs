//! ContactCard: RFC 9610 3, a JSContact Card (RFC 9553) in address books.
//!
//! Known properties are checked as far as programs rest on them; what is unknown is kept as it is, for
//! it may be a vendor's or a later version's (RFC 9553 1.5, 1.8).

use super::super::Map;
use super::{By, Context, Property, check, nothing, property};
use crate::time::{parse_utc_date, utc_date};
use serde_json::{Value, json};

/// Most entries of one kind (addresses, numbers, …), and most members of a group.
const ENTRIES_MAX: usize = 1_000;
/// Most address books of one card.
const BOOKS_MAX: usize = 100;

fn entry_id(id: &str) -> bool {
    check::is_id(id)
}

/// RFC 9553 1.4.1: `Id[T]`, each value an object that has all of `wanted` as text, or any of `any`.
fn entries(value: &Value, wanted: &[&str], any: &[&str]) -> bool {
    let one = |one: &Map| {
        let text = |name: &&str| one.get(*name).is_some_and(Value::is_string);
        wanted.iter().all(text)
            && (any.is_empty() || any.iter().any(|name| one.contains_key(*name)))
            && one.get("label").is_none_or(check::text)
            && one.get("pref").is_none_or(|p| p.as_u64().is_some_and(|n| (1..=100).contains(&n)))
            && one
                .get("contexts")
                .is_none_or(|set| check::set_of(set, ENTRIES_MAX, |name| !name.is_empty()))
    };
    value.as_object().is_some_and(|all| {
        let fits =
            |(id, value): (&String, &Value)| entry_id(id) && value.as_object().is_some_and(one);
        all.len() <= ENTRIES_MAX && all.iter().all(fits)
    })
}

/// RFC 9553 2.2.1, 2.5.1: components, each a kind and a value.
fn components(value: &Value) -> bool {
    let text = |one: &Value, name: &str| one.get(name).is_some_and(Value::is_string);
    value.as_array().is_some_and(|all| {
        all.len() <= ENTRIES_MAX && all.iter().all(|c| text(c, "kind") && text(c, "value"))
    })
}

/// RFC 9553 2.2.1: a name has components or is given in full.
fn name(value: &Value) -> bool {
    let Some(name) = value.as_object() else { return false };
    let (parts, full) = (name.get("components"), name.get("full"));
    (parts.is_some() || full.is_some())
        && parts.is_none_or(components)
        && full.is_none_or(check::text)
        && name.get("isOrdered").is_none_or(Value::is_boolean)
}

fn addresses(value: &Value) -> bool {
    let one = |one: &Value| {
        one.get("components").is_none_or(components) && one.get("full").is_none_or(check::text)
    };
    entries(value, &[], &[]) && value.as_object().is_some_and(|all| all.values().all(one))
}

fn organizations(value: &Value) -> bool {
    let unit = |unit: &Value| unit.get("name").is_some_and(Value::is_string);
    let one = |one: &Value| {
        one.get("name").is_none_or(Value::is_string)
            && one
                .get("units")
                .is_none_or(|all| all.as_array().is_some_and(|all| all.iter().all(unit)))
    };
    entries(value, &[], &["name", "units"])
        && value.as_object().is_some_and(|all| all.values().all(one))
}

fn date(value: &Value) -> bool {
    value.as_str().and_then(parse_utc_date).is_some()
}

fn word(value: &Value) -> bool {
    value.as_str().is_some_and(|text| (1..=255).contains(&text.len()))
}

fn objects(value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|all| all.len() <= ENTRIES_MAX && all.values().all(Value::is_object))
}

fn members(value: &Value) -> bool {
    check::set_of(value, ENTRIES_MAX, |uid| !uid.is_empty())
}

const fn optional(name: &'static str, check: fn(&Value) -> bool) -> Property {
    property(name, By::Client, check).or(nothing)
}

/// What is known of a card, in the order of RFC 9553 2.
pub(super) const PROPERTIES: &[Property] = &[
    property("addressBookIds", By::Client, |v| check::set_of(v, BOOKS_MAX, check::is_id)),
    property("@type", By::Client, |v| v == "Card"),
    property("version", By::Client, word),
    optional("created", date),
    optional("kind", word),
    optional("language", word),
    optional("members", members),
    optional("prodId", word),
    optional("relatedTo", objects),
    property("uid", By::ClientOnce, word),
    optional("updated", date),
    optional("name", name),
    optional("nicknames", |v| entries(v, &["name"], &[])),
    optional("organizations", organizations),
    optional("speakToAs", Value::is_object),
    optional("titles", |v| entries(v, &["name"], &[])),
    optional("emails", |v| entries(v, &["address"], &[])),
    optional("onlineServices", |v| entries(v, &[], &["service", "uri", "user"])),
    optional("phones", |v| entries(v, &["number"], &[])),
    optional("preferredLanguages", |v| entries(v, &["language"], &[])),
    optional("calendars", |v| entries(v, &["uri"], &[])),
    optional("schedulingAddresses", |v| entries(v, &["uri"], &[])),
    optional("addresses", addresses),
    optional("cryptoKeys", |v| entries(v, &["uri"], &[])),
    optional("directories", |v| entries(v, &["uri"], &[])),
    optional("links", |v| entries(v, &["uri"], &[])),
    // RFC 9610 3: a photo may be a blob instead of a URI.
    optional("media", |v| entries(v, &["kind"], &["uri", "blobId"])),
    optional("localizations", objects),
    optional("anniversaries", |v| entries(v, &["kind"], &["date"])),
    optional("keywords", |v| check::set_of(v, ENTRIES_MAX, |word| !word.is_empty())),
    optional("notes", |v| entries(v, &["note"], &[])),
    optional("personalInfo", |v| entries(v, &["kind", "value"], &[])),
];

/// What a new card has if the client did not say.
pub(super) fn complete(card: &mut Map, context: &Context<'_>) {
    let hex: String = context.random.iter().map(|b| format!("{b:02x}")).collect();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default().to_owned();
    // RFC 9562 5.4: version 4.
    let uid = format!(
        "urn:uuid:{}-{}-4{}-8{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32)
    );
    let now = utc_date(context.now);
    let given = [
        ("@type", "Card"),
        ("version", "1.0"),
        ("uid", &uid),
        ("created", &now),
        ("updated", &now),
    ];
    for (name, value) in given {
        if !card.contains_key(name) {
            card.insert(name.to_owned(), json!(value));
        }
    }
}

/// A card was changed, unless the client says when.
pub(super) fn touch(card: &mut Map, before: &Map, context: &Context<'_>) {
    if card != before && card.get("updated") == before.get("updated") {
        card.insert("updated".to_owned(), json!(utc_date(context.now)));
    }
}

/// What properties have to do with each other and with address books.
pub(super) fn check(card: &Map, context: &Context<'_>, bad: &mut Vec<String>) {
    let books = card.get("addressBookIds").and_then(Value::as_object);
    if books.is_none_or(|books| {
        books.is_empty() || !books.keys().all(|id| (context.is_address_book)(id))
    }) {
        bad.push("addressBookIds".to_owned());
    }
    // RFC 9553 2.1.6: only groups have members.
    if card.contains_key("members") && card.get("kind") != Some(&json!("group")) {
        bad.push("members".to_owned());
    }
    // JSContact has no nulls at its top: what is not there is left out.
    bad.extend(card.iter().filter(|(_, value)| value.is_null()).map(|(name, _)| name.clone()));
}

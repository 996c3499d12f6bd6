//! ContactCard/query: RFC 9610 3.3, over cards as they are kept.
//!
//! Texts are compared without regard to case. A text to be found is words, all of which must be there,
//! or phrases in quotation marks.

use super::super::{Map, MethodError, filter};
use crate::objects::Object;
use crate::time::{UnixMs, parse_utc_date};
use serde_json::Value;
use std::cmp::Ordering;
use std::convert::Infallible;

/// Most words of one text.
const WORDS_MAX: usize = 50;
/// Most comparators of one sort.
const COMPARATORS_MAX: usize = 10;

/// Where a text is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Text,
    Name,
    NamePart(&'static str),
    Nickname,
    Organization,
    Email,
    Phone,
    OnlineService,
    Address,
    Note,
}

/// One condition (RFC 9610 3.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition(Is);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Is {
    InAddressBook(String),
    Uid(String),
    HasMember(String),
    Kind(String),
    Created { before: bool, at: UnixMs },
    Updated { before: bool, at: UnixMs },
    Has(Field, Vec<String>),
}

/// A filter of cards; the conditions of one object must all hold.
pub type Filter = filter::Filter<Vec<Condition>>;

/// RFC 8620 5.5: a FilterOperator or a FilterCondition; null finds all.
///
/// # Errors
/// It is none, or has a condition that cards do not have.
pub fn filter(value: &Value) -> Result<Filter, MethodError> {
    if value.is_null() {
        return Ok(Filter::And(Vec::new()));
    }
    Filter::parse(value, &mut |all| {
        all.iter().map(|(name, value)| condition(name, value).map(Condition)).collect()
    })
}

/// Whether a card is among those looked for.
#[must_use]
pub fn holds(filter: &Filter, card: &Map, row: &Object) -> bool {
    let mut all = |all: &Vec<Condition>| Ok(all.iter().all(|c| is(c, card, row)));
    let Ok::<bool, Infallible>(holds) = filter.holds(&mut all);
    holds
}

fn unsupported() -> MethodError {
    MethodError::UnsupportedFilter("cards have no such condition, or none that long".into())
}

fn unsorted() -> MethodError {
    MethodError::UnsupportedSort("cards are not sorted so".into())
}

fn wrong() -> MethodError {
    MethodError::argument("a filter or a sort is of the wrong kind")
}

fn condition(name: &str, value: &Value) -> Result<Is, MethodError> {
    let value = value.as_str().ok_or_else(wrong)?;
    let text = || value.to_owned();
    let at = || parse_utc_date(value).ok_or_else(wrong);
    let has = |field| Ok(Is::Has(field, words(value)?));
    match name {
        "inAddressBook" => Ok(Is::InAddressBook(text())),
        "uid" => Ok(Is::Uid(text())),
        "hasMember" => Ok(Is::HasMember(text())),
        "kind" => Ok(Is::Kind(text())),
        "createdBefore" => Ok(Is::Created { before: true, at: at()? }),
        "createdAfter" => Ok(Is::Created { before: false, at: at()? }),
        "updatedBefore" => Ok(Is::Updated { before: true, at: at()? }),
        "updatedAfter" => Ok(Is::Updated { before: false, at: at()? }),
        "text" => has(Field::Text),
        "name" => has(Field::Name),
        "name/given" => has(Field::NamePart("given")),
        "name/surname" => has(Field::NamePart("surname")),
        "name/surname2" => has(Field::NamePart("surname2")),
        "nickname" => has(Field::Nickname),
        "organization" => has(Field::Organization),
        "email" => has(Field::Email),
        "phone" => has(Field::Phone),
        "onlineService" => has(Field::OnlineService),
        "address" => has(Field::Address),
        "note" => has(Field::Note),
        _ => Err(unsupported()),
    }
}

/// RFC 8621 4.4.1's way of reading a text: words, and phrases in quotation marks.
fn words(text: &str) -> Result<Vec<String>, MethodError> {
    let mut all = Vec::new();
    for (n, part) in text.split('"').enumerate() {
        let part = part.to_lowercase();
        if n % 2 == 1 {
            all.extend(Some(part).filter(|phrase| !phrase.trim().is_empty()));
        } else {
            all.extend(part.split_whitespace().map(str::to_owned));
        }
        if all.len() > WORDS_MAX {
            return Err(unsupported());
        }
    }
    Ok(all)
}

fn is(Condition(condition): &Condition, card: &Map, row: &Object) -> bool {
    let text = |name: &str| card.get(name).and_then(Value::as_str);
    let in_set = |name: &str, key: &str| card.get(name).is_some_and(|set| set.get(key).is_some());
    match condition {
        Is::InAddressBook(id) => in_set("addressBookIds", id),
        Is::Uid(uid) => text("uid") == Some(uid),
        Is::HasMember(uid) => in_set("members", uid),
        // RFC 9553 2.1.4: who says nothing is a person.
        Is::Kind(kind) => text("kind").unwrap_or("individual") == kind,
        Is::Created { before, at } => {
            let created = text("created").and_then(parse_utc_date).unwrap_or(row.created);
            (created < *at) == *before
        }
        Is::Updated { before, at } => {
            let updated = text("updated").and_then(parse_utc_date).unwrap_or(row.updated);
            (updated < *at) == *before
        }
        Is::Has(field, words) => {
            let mut texts = Vec::new();
            gather(card, *field, &mut texts);
            let texts: Vec<String> = texts.into_iter().map(str::to_lowercase).collect();
            let plain = |text: &str| -> String {
                text.chars().filter(|c| c.is_ascii_digit() || *c == '+').collect()
            };
            let is_in = |word: &String| {
                let number = plain(word);
                texts.iter().any(|text| {
                    // A number is the same however it is grouped.
                    text.contains(word.as_str())
                        || *field == Field::Phone
                            && !number.is_empty()
                            && plain(text).contains(&number)
                })
            };
            words.iter().all(is_in)
        }
    }
}

/// The texts of a field.
fn gather<'a>(card: &'a Map, field: Field, texts: &mut Vec<&'a str>) {
    let mut of = |property: &str, names: &[&str]| {
        let Some(all) = card.get(property).and_then(Value::as_object) else { return };
        for one in all.values() {
            texts.extend(names.iter().filter_map(|name| one.get(*name)?.as_str()));
        }
    };
    match field {
        Field::Nickname => of("nicknames", &["name"]),
        Field::Email => of("emails", &["address", "label"]),
        Field::Phone => of("phones", &["number", "label"]),
        Field::OnlineService => of("onlineServices", &["service", "uri", "user", "label"]),
        Field::Note => of("notes", &["note"]),
        Field::Organization => {
            of("organizations", &["name"]);
            let all = card.get("organizations").and_then(Value::as_object);
            let units =
                all.into_iter().flat_map(Map::values).filter_map(|o| o.get("units")?.as_array());
            texts.extend(units.flatten().filter_map(|unit| unit.get("name")?.as_str()));
        }
        Field::Address => {
            of("addresses", &["full"]);
            let all = card.get("addresses").and_then(Value::as_object);
            for one in all.into_iter().flat_map(Map::values) {
                texts.extend(parts(one, None));
            }
        }
        Field::Name => {
            let name = card.get("name");
            texts.extend(name.and_then(|name| name.get("full")?.as_str()));
            texts.extend(name.into_iter().flat_map(|name| parts(name, None)));
        }
        Field::NamePart(kind) => {
            let name = card.get("name");
            texts.extend(name.into_iter().flat_map(|name| parts(name, Some(kind))));
        }
        Field::Text => {
            for field in [
                Field::Name,
                Field::Nickname,
                Field::Organization,
                Field::Email,
                Field::Phone,
                Field::OnlineService,
                Field::Address,
                Field::Note,
            ] {
                gather(card, field, texts);
            }
            for (property, name) in [("titles", "name"), ("personalInfo", "value")] {
                let all = card.get(property).and_then(Value::as_object);
                let all = all.into_iter().flat_map(Map::values);
                texts.extend(all.filter_map(|one| one.get(name)?.as_str()));
            }
            let keywords = card.get("keywords").and_then(Value::as_object);
            texts.extend(keywords.into_iter().flat_map(Map::keys).map(String::as_str));
        }
    }
}

/// The values of components, of one kind or of all but separators.
fn parts<'a>(of: &'a Value, kind: Option<&'a str>) -> impl Iterator<Item = &'a str> {
    let all = of.get("components").and_then(Value::as_array).into_iter().flatten();
    all.filter_map(move |part| {
        let found = part.get("kind")?.as_str()?;
        let wanted = kind.map_or(found != "separator", |kind| kind == found);
        part.get("value")?.as_str().filter(|_| wanted)
    })
}

/// What cards are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Created,
    Updated,
    NamePart(&'static str),
}

/// RFC 8620 5.5, RFC 9610 3.3.2: one property to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparator {
    by: By,
    ascending: bool,
}

impl Comparator {
    /// A list of comparators; null sorts by nothing but ids.
    pub fn parse(sort: &Value) -> Result<Vec<Self>, MethodError> {
        let Some(all) = sort.as_array() else {
            return if sort.is_null() { Ok(Vec::new()) } else { Err(wrong()) };
        };
        if all.len() > COMPARATORS_MAX {
            return Err(unsorted());
        }
        all.iter().map(Self::one).collect()
    }

    fn one(one: &Value) -> Result<Self, MethodError> {
        let property = one.get("property").and_then(Value::as_str);
        let by = match property.ok_or_else(wrong)? {
            "created" => By::Created,
            "updated" => By::Updated,
            "name/given" => By::NamePart("given"),
            "name/surname" => By::NamePart("surname"),
            "name/surname2" => By::NamePart("surname2"),
            _ => return Err(unsorted()),
        };
        let ascending = match one.get("isAscending") {
            None => true,
            Some(value) => value.as_bool().ok_or_else(wrong)?,
        };
        match one.get("collation").map(Value::as_str) {
            None | Some(Some("i;unicode-casemap" | "i;ascii-casemap")) => {
                Ok(Self { by, ascending })
            }
            Some(_) => Err(unsorted()),
        }
    }

    /// How two cards stand to each other: by all comparators, then by id.
    #[must_use]
    pub fn compare(all: &[Self], a: (&Map, &Object), b: (&Map, &Object)) -> Ordering {
        let by = |one: &Self| {
            let order = one.key(a).cmp(&one.key(b));
            if one.ascending { order } else { order.reverse() }
        };
        all.iter().map(by).find(|order| order.is_ne()).unwrap_or_else(|| a.1.id.cmp(&b.1.id))
    }

    fn key(&self, (card, row): (&Map, &Object)) -> (UnixMs, String) {
        let date = |name: &str| card.get(name).and_then(Value::as_str).and_then(parse_utc_date);
        match self.by {
            By::Created => (date("created").unwrap_or(row.created), String::new()),
            By::Updated => (date("updated").unwrap_or(row.updated), String::new()),
            By::NamePart(kind) => {
                let name = card.get("name").into_iter().flat_map(|name| parts(name, Some(kind)));
                (UnixMs(0), name.collect::<Vec<_>>().join(" ").to_lowercase())
            }
        }
    }
}

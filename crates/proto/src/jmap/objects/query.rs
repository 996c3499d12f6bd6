//! ContactCard/query: RFC 9610 3.3, over cards as they are kept.
//!
//! Texts are compared without regard to case. A text to be found is words, all of which must be there,
//! or phrases in quotation marks.

use super::super::Map;
use super::utc_date;
use crate::objects::Object;
use crate::time::UnixMs;
use serde_json::Value;
use std::cmp::Ordering;

/// Most levels of operators.
const DEPTH_MAX: usize = 10;
/// Most conditions of one filter.
const CONDITIONS_MAX: usize = 100;
/// Most words of one text.
const WORDS_MAX: usize = 50;
/// Most comparators of one sort.
const COMPARATORS_MAX: usize = 10;

/// RFC 8620 5.5: why a query cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Something that no filter of this type has.
    #[error("unsupportedFilter")]
    UnsupportedFilter,
    /// Something that cards cannot be sorted by.
    #[error("unsupportedSort")]
    UnsupportedSort,
    /// It is not what it must be.
    #[error("invalidArguments")]
    InvalidArguments,
}

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

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    InAddressBook(String),
    Uid(String),
    HasMember(String),
    Kind(String),
    Created { before: bool, at: UnixMs },
    Updated { before: bool, at: UnixMs },
    Has(Field, Vec<String>),
}

/// A filter, ready to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Node);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    None(Vec<Node>),
    One(Condition),
}

impl Filter {
    /// RFC 8620 5.5: a FilterOperator or a FilterCondition; null finds all.
    pub fn parse(filter: &Value) -> Result<Self, QueryError> {
        let mut left = CONDITIONS_MAX;
        if filter.is_null() {
            return Ok(Self(Node::All(Vec::new())));
        }
        parse(filter, 0, &mut left).map(Self)
    }

    /// Whether a card is among those looked for.
    #[must_use]
    pub fn matches(&self, card: &Map, row: &Object) -> bool {
        matches(&self.0, card, row)
    }
}

fn parse(filter: &Value, depth: usize, left: &mut usize) -> Result<Node, QueryError> {
    let filter = filter.as_object().ok_or(QueryError::InvalidArguments)?;
    let spend = |left: &mut usize| match left.checked_sub(1) {
        Some(rest) => {
            *left = rest;
            Ok(())
        }
        None => Err(QueryError::UnsupportedFilter),
    };
    let Some(operator) = filter.get("operator") else {
        let mut all = Vec::with_capacity(filter.len());
        for (name, value) in filter {
            spend(left)?;
            all.push(Node::One(condition(name, value)?));
        }
        return Ok(Node::All(all));
    };
    if depth >= DEPTH_MAX {
        return Err(QueryError::UnsupportedFilter);
    }
    let parts = filter.get("conditions").and_then(Value::as_array);
    if filter.len() != 2 {
        return Err(QueryError::InvalidArguments);
    }
    let mut all = Vec::new();
    for part in parts.ok_or(QueryError::InvalidArguments)? {
        spend(left)?;
        all.push(parse(part, depth.saturating_add(1), left)?);
    }
    match operator.as_str() {
        Some("AND") => Ok(Node::All(all)),
        Some("OR") => Ok(Node::Any(all)),
        Some("NOT") => Ok(Node::None(all)),
        _ => Err(QueryError::InvalidArguments),
    }
}

fn condition(name: &str, value: &Value) -> Result<Condition, QueryError> {
    let value = value.as_str().ok_or(QueryError::InvalidArguments)?;
    let text = || value.to_owned();
    let at = || utc_date(value).ok_or(QueryError::InvalidArguments);
    let has = |field| Ok(Condition::Has(field, words(value)?));
    match name {
        "inAddressBook" => Ok(Condition::InAddressBook(text())),
        "uid" => Ok(Condition::Uid(text())),
        "hasMember" => Ok(Condition::HasMember(text())),
        "kind" => Ok(Condition::Kind(text())),
        "createdBefore" => Ok(Condition::Created { before: true, at: at()? }),
        "createdAfter" => Ok(Condition::Created { before: false, at: at()? }),
        "updatedBefore" => Ok(Condition::Updated { before: true, at: at()? }),
        "updatedAfter" => Ok(Condition::Updated { before: false, at: at()? }),
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
        _ => Err(QueryError::UnsupportedFilter),
    }
}

/// RFC 8621 4.4.1's way of reading a text: words, and phrases in quotation marks.
fn words(text: &str) -> Result<Vec<String>, QueryError> {
    let mut all = Vec::new();
    for (n, part) in text.split('"').enumerate() {
        let part = part.to_lowercase();
        if n % 2 == 1 {
            all.extend(Some(part).filter(|phrase| !phrase.trim().is_empty()));
        } else {
            all.extend(part.split_whitespace().map(str::to_owned));
        }
        if all.len() > WORDS_MAX {
            return Err(QueryError::UnsupportedFilter);
        }
    }
    Ok(all)
}

fn matches(node: &Node, card: &Map, row: &Object) -> bool {
    match node {
        Node::All(all) => all.iter().all(|node| matches(node, card, row)),
        Node::Any(all) => all.iter().any(|node| matches(node, card, row)),
        Node::None(all) => !all.iter().any(|node| matches(node, card, row)),
        Node::One(one) => holds(one, card, row),
    }
}

fn holds(condition: &Condition, card: &Map, row: &Object) -> bool {
    let text = |name: &str| card.get(name).and_then(Value::as_str);
    let in_set = |name: &str, key: &str| card.get(name).is_some_and(|set| set.get(key).is_some());
    match condition {
        Condition::InAddressBook(id) => in_set("addressBookIds", id),
        Condition::Uid(uid) => text("uid") == Some(uid),
        Condition::HasMember(uid) => in_set("members", uid),
        // RFC 9553 2.1.4: who says nothing is a person.
        Condition::Kind(kind) => text("kind").unwrap_or("individual") == kind,
        Condition::Created { before, at } => {
            let created = text("created").and_then(utc_date).unwrap_or(row.created);
            (created < *at) == *before
        }
        Condition::Updated { before, at } => {
            let updated = text("updated").and_then(utc_date).unwrap_or(row.updated);
            (updated < *at) == *before
        }
        Condition::Has(field, words) => {
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
    pub fn parse(sort: &Value) -> Result<Vec<Self>, QueryError> {
        let Some(all) = sort.as_array() else {
            return if sort.is_null() { Ok(Vec::new()) } else { Err(QueryError::InvalidArguments) };
        };
        if all.len() > COMPARATORS_MAX {
            return Err(QueryError::UnsupportedSort);
        }
        all.iter().map(Self::one).collect()
    }

    fn one(one: &Value) -> Result<Self, QueryError> {
        let property = one.get("property").and_then(Value::as_str);
        let by = match property.ok_or(QueryError::InvalidArguments)? {
            "created" => By::Created,
            "updated" => By::Updated,
            "name/given" => By::NamePart("given"),
            "name/surname" => By::NamePart("surname"),
            "name/surname2" => By::NamePart("surname2"),
            _ => return Err(QueryError::UnsupportedSort),
        };
        let ascending = match one.get("isAscending") {
            None => true,
            Some(value) => value.as_bool().ok_or(QueryError::InvalidArguments)?,
        };
        match one.get("collation").map(Value::as_str) {
            None | Some(Some("i;unicode-casemap" | "i;ascii-casemap")) => {
                Ok(Self { by, ascending })
            }
            Some(_) => Err(QueryError::UnsupportedSort),
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
        let date = |name: &str| card.get(name).and_then(Value::as_str).and_then(utc_date);
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

//! Email/query and SearchSnippet/get (RFC 8621 4.4, 5).

use super::arguments::Arguments;
use super::{Look, email};
use crate::mail::{Field, Leaf, Listed, Listing, Snippet};
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashSet};
use understudy_proto::id::{EmailId, ThreadId};
use understudy_proto::jmap::email::{
    Condition, HeaderProperty, Sort, SortBy, TextIn, parse_condition, parse_sort,
};
use understudy_proto::jmap::filter::Filter;
use understudy_proto::jmap::{self, MethodError};
use understudy_proto::mailbox::{Email, Flags};
use understudy_proto::message::decode::contains;
use understudy_proto::time::UnixMs;

/// Most ids that one answer gives.
const LIMIT_MAX: usize = 5_000;

/// A condition that is ready to be looked at, cheap ones first in `Email`.
enum Check {
    /// Decided by the listing alone.
    Listed(Condition),
    /// Decided by the rows of the message, or its header.
    Email(Condition),
    /// Full text: these have it.
    Among(HashSet<EmailId>),
}

pub(super) fn query(look: &Look, mut arguments: Arguments) -> Result<Value, MethodError> {
    let filter: Option<Value> = arguments.take("filter")?;
    let sort: Option<Value> = arguments.take("sort")?;
    let sort = parse_sort(sort.as_ref())?;
    let collapse = arguments.flag("collapseThreads")?;
    let position: i64 = arguments.take("position")?.unwrap_or(0);
    let anchor: Option<String> = arguments.take("anchor")?;
    let offset: i64 = arguments.take("anchorOffset")?.unwrap_or(0);
    let limit: Option<usize> = arguments.take("limit")?;
    let total = arguments.flag("calculateTotal")?;
    arguments.end()?;
    let listing = look.account.listing()?;
    let filter = filter.map(|f| prepare(look, &f)).transpose()?;
    let limit_given = limit;
    let limit = limit.unwrap_or(LIMIT_MAX).min(LIMIT_MAX);
    // How many are needed from the front; all of them where the end counts, too.
    let enough = match (&anchor, usize::try_from(position)) {
        (None, Ok(position)) if !total => Some(position.saturating_add(limit)),
        _ => None,
    };
    let found = find(look, &listing, filter.as_ref(), &sort, collapse, enough)?;
    let start = match anchor {
        Some(anchor) => {
            let anchor = jmap::parse_email(&anchor);
            let at = found.iter().position(|id| Some(*id) == anchor);
            let at = at.ok_or(MethodError::AnchorNotFound)?;
            i64::try_from(at).unwrap_or(i64::MAX).saturating_add(offset).max(0)
        }
        None if position < 0 => {
            i64::try_from(found.len()).unwrap_or(i64::MAX).saturating_add(position).max(0)
        }
        None => position,
    };
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    let ids: Vec<String> =
        found.iter().skip(start).take(limit).map(|id| jmap::email_id(*id)).collect();
    let mut answer = json!({
        "accountId": look.account_id(),
        "queryState": email::state(&look.account).to_string(),
        "canCalculateChanges": false,
        "position": start,
        "ids": ids,
    });
    if let Some(all) = answer.as_object_mut() {
        if total {
            all.insert("total".into(), json!(found.len()));
        }
        if limit_given.is_some_and(|asked| asked > limit) {
            all.insert("limit".into(), json!(limit));
        }
    }
    Ok(answer)
}

fn prepare(look: &Look, value: &Value) -> Result<Filter<Vec<Check>>, MethodError> {
    let filter = Filter::parse(value, &mut parse_condition)?;
    filter.map(&mut |all: Vec<Condition>| all.into_iter().map(|c| check(look, c)).collect())
}

fn check(look: &Look, condition: Condition) -> Result<Check, MethodError> {
    Ok(match condition {
        Condition::Text(place, words) => Check::Among(full_text(look, place, &words)?),
        Condition::HasAttachment(_) | Condition::Header(..) => Check::Email(condition),
        listed => Check::Listed(listed),
    })
}

/// Which messages have the words there.
fn full_text(look: &Look, place: TextIn, words: &str) -> Result<HashSet<EmailId>, MethodError> {
    let found = look.web.mail().search(&look.login, &[leaf(place, words)])?;
    Ok(found.leaves.into_iter().flatten().collect())
}

fn leaf(place: TextIn, words: &str) -> Leaf {
    let field = match place {
        TextIn::Anywhere => Field::Text,
        TextIn::From => Field::From,
        TextIn::To => Field::To,
        TextIn::Cc => Field::Cc,
        TextIn::Bcc => Field::Bcc,
        TextIn::Subject => Field::Subject,
        TextIn::Body => Field::Body,
    };
    Leaf { field, text: words.to_owned() }
}

/// The ids that hold, in order; no more than `enough`.
fn find(
    look: &Look,
    listing: &Listing,
    filter: Option<&Filter<Vec<Check>>>,
    sort: &[Sort],
    collapse: bool,
    enough: Option<usize>,
) -> Result<Vec<EmailId>, MethodError> {
    let mut all: Vec<&Listed> =
        listing.messages().iter().filter(|m| !m.flags.has(Flags::DELETED)).collect();
    // What the listing decides goes first: the rest is then looked at in order, and no further than needed.
    if let Some(Filter::Is(checks)) = filter {
        for check in checks {
            match check {
                Check::Listed(condition) => {
                    let keep = listed_set(listing, condition);
                    all.retain(|m| keep(m));
                }
                Check::Among(ids) => all.retain(|m| ids.contains(&m.id)),
                Check::Email(_) => {}
            }
        }
    }
    order(look, listing, &mut all, sort)?;
    let (mut found, mut threads) = (Vec::new(), BTreeSet::new());
    for message in all {
        if enough.is_some_and(|enough| found.len() >= enough) {
            break;
        }
        if collapse && threads.contains(&message.thread) {
            continue;
        }
        let holds = match filter {
            None => true,
            Some(filter) => filter.holds(&mut |checks: &Vec<Check>| {
                for check in checks {
                    if !holds(look, listing, message, check)? {
                        return Ok(false);
                    }
                }
                Ok::<bool, MethodError>(true)
            })?,
        };
        if holds {
            threads.insert(message.thread);
            found.push(message.id);
        }
    }
    Ok(found)
}

fn holds(
    look: &Look,
    listing: &Listing,
    message: &Listed,
    check: &Check,
) -> Result<bool, MethodError> {
    match check {
        Check::Listed(condition) => Ok(listed_set(listing, condition)(message)),
        Check::Among(ids) => Ok(ids.contains(&message.id)),
        Check::Email(condition) => {
            let Some(row) = look.account.email(message.id)? else { return Ok(false) };
            match condition {
                Condition::HasAttachment(wanted) => {
                    Ok(email::has_attachment(&row.summary.parts) == *wanted)
                }
                Condition::Header(name, text) => {
                    let range = 0..u64::from(row.summary.header_len);
                    let raw = look.web.mail().read(&look.login, &row.body, range)?;
                    let property = HeaderProperty::parse(&format!("header:{name}:asRaw:all"));
                    let values = property.map(|p| p.value(&raw)).unwrap_or_default();
                    let has = |v: &Value| {
                        text.as_ref().is_none_or(|t| v.as_str().is_some_and(|v| contains(v, t)))
                    };
                    Ok(values.as_array().is_some_and(|all| all.iter().any(has)))
                }
                _ => Ok(false),
            }
        }
    }
}

type Keep<'a> = Box<dyn Fn(&Listed) -> bool + 'a>;

/// A condition on what the listing knows; conversations are looked through once.
fn listed_set<'a>(listing: &'a Listing, condition: &'a Condition) -> Keep<'a> {
    match condition {
        Condition::InMailbox(id) => Box::new(move |m| Some(m.mailbox) == *id),
        Condition::InMailboxOtherThan(ids) => Box::new(move |m| !ids.contains(&m.mailbox)),
        Condition::Before(at) => Box::new(move |m| m.received < *at),
        Condition::After(at) => Box::new(move |m| m.received >= *at),
        Condition::MinSize(n) => Box::new(move |m| m.size >= *n),
        Condition::MaxSize(n) => Box::new(move |m| m.size < *n),
        Condition::Has(flags) => Box::new(move |m| has(m, flags)),
        Condition::HasNot(flags) => Box::new(move |m| !has(m, flags)),
        Condition::SomeInThreadHave(flags) => {
            let some = threads(listing, |m| has(m, flags));
            Box::new(move |m| some.contains(&m.thread))
        }
        Condition::NoneInThreadHave(flags) => {
            let some = threads(listing, |m| has(m, flags));
            Box::new(move |m| !some.contains(&m.thread))
        }
        Condition::AllInThreadHave(flags) => {
            let without = threads(listing, |m| !has(m, flags));
            Box::new(move |m| !without.contains(&m.thread))
        }
        Condition::HasAttachment(_) | Condition::Text(..) | Condition::Header(..) => {
            Box::new(|_| false)
        }
    }
}

fn threads(listing: &Listing, is: impl Fn(&Listed) -> bool) -> HashSet<ThreadId> {
    listing.messages().iter().filter(|m| is(m)).map(|m| m.thread).collect()
}

/// Whether a message has the one keyword that `flags` is.
fn has(message: &Listed, flags: &Flags) -> bool {
    message.flags.has(flags.bits) && flags.keywords.iter().all(|k| message.flags.has_keyword(k))
}

/// What a message is compared by under one term of the sort.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum SortKey {
    Number(u64),
    Text(String),
}

fn order(
    look: &Look,
    listing: &Listing,
    all: &mut Vec<&Listed>,
    sort: &[Sort],
) -> Result<(), MethodError> {
    if let [Sort { by: SortBy::ReceivedAt, ascending }] = sort {
        all.sort_unstable_by_key(|m| (m.received, m.id));
        if !ascending {
            all.reverse();
        }
        return Ok(());
    }
    let sets: Vec<HashSet<ThreadId>> = sort
        .iter()
        .map(|term| match &term.by {
            SortBy::SomeInThreadHaveKeyword(flags) => threads(listing, |m| has(m, flags)),
            SortBy::AllInThreadHaveKeyword(flags) => threads(listing, |m| !has(m, flags)),
            _ => HashSet::new(),
        })
        .collect();
    let mut keyed = Vec::with_capacity(all.len());
    for message in all.drain(..) {
        let mut keys = Vec::with_capacity(sort.len());
        for (term, set) in sort.iter().zip(&sets) {
            keys.push(sort_key(look, message, &term.by, set)?);
        }
        keyed.push((keys, message));
    }
    keyed.sort_by(|(a, one), (b, other)| {
        for ((a, b), term) in a.iter().zip(b).zip(sort) {
            let by = if term.ascending { a.cmp(b) } else { b.cmp(a) };
            if by.is_ne() {
                return by;
            }
        }
        other.id.cmp(&one.id)
    });
    all.extend(keyed.into_iter().map(|(_, message)| message));
    Ok(())
}

fn sort_key(
    look: &Look,
    message: &Listed,
    by: &SortBy,
    set: &HashSet<ThreadId>,
) -> Result<SortKey, MethodError> {
    let row = || -> Result<Option<Email>, MethodError> { Ok(look.account.email(message.id)?) };
    let number = |is: bool| SortKey::Number(u64::from(is));
    let text = |text: String| SortKey::Text(text.to_lowercase());
    Ok(match by {
        SortBy::ReceivedAt => SortKey::Number(message.received.0),
        SortBy::Size => SortKey::Number(message.size),
        SortBy::HasKeyword(flags) => number(has(message, flags)),
        SortBy::SomeInThreadHaveKeyword(_) => number(set.contains(&message.thread)),
        SortBy::AllInThreadHaveKeyword(_) => number(!set.contains(&message.thread)),
        SortBy::SentAt => {
            let sent = row()?.and_then(|r| r.summary.date).unwrap_or(UnixMs(message.received.0));
            SortKey::Number(sent.0)
        }
        SortBy::From => text(row()?.map(|r| r.summary.from).unwrap_or_default()),
        SortBy::To => text(row()?.map(|r| r.summary.to).unwrap_or_default()),
        SortBy::Subject => {
            text(row()?.map(|r| base_subject(&r.summary.subject)).unwrap_or_default())
        }
    })
}

/// RFC 5256 2.1, its everyday part: without `Re:`, `AW:`, `Fwd:`, `WG:`.
fn base_subject(subject: &str) -> String {
    let mut rest = subject.trim();
    while let Some((head, tail)) = rest.split_once(':') {
        let known = ["re", "aw", "fw", "fwd", "wg"];
        if !known.contains(&head.trim().to_lowercase().as_str()) {
            break;
        }
        rest = tail.trim();
    }
    rest.to_owned()
}

/// RFC 8621 5.1.
pub(super) fn snippets(look: &Look, mut arguments: Arguments) -> Result<Value, MethodError> {
    let filter: Option<Value> = arguments.take("filter")?;
    let ids: Vec<String> = arguments.take("emailIds")?.unwrap_or_default();
    arguments.end()?;
    if ids.len() > jmap::GET_MAX {
        return Err(MethodError::RequestTooLarge);
    }
    let mut leaves = Vec::new();
    if let Some(filter) = filter {
        gather(&Filter::parse(&filter, &mut parse_condition)?, &mut leaves);
    }
    let (mut list, mut not_found) = (Vec::new(), Vec::new());
    for id in ids {
        let found =
            jmap::parse_email(&id).map(|id| look.web.mail().snippet(&look.login, id, &leaves));
        match found.transpose()?.flatten() {
            Some(Snippet { subject, preview }) => {
                list.push(json!({ "emailId": id, "subject": subject, "preview": preview }));
            }
            None => not_found.push(json!(id)),
        }
    }
    let not_found = if not_found.is_empty() { Value::Null } else { Value::Array(not_found) };
    let mut answer = Map::new();
    answer.insert("accountId".into(), json!(look.account_id()));
    answer.insert("list".into(), Value::Array(list));
    answer.insert("notFound".into(), not_found);
    Ok(Value::Object(answer))
}

/// What is looked for; not what must not be there.
fn gather(filter: &Filter<Vec<Condition>>, leaves: &mut Vec<Leaf>) {
    match filter {
        Filter::And(all) | Filter::Or(all) => all.iter().for_each(|f| gather(f, leaves)),
        Filter::Not(_) => {}
        Filter::Is(all) => {
            leaves.extend(all.iter().filter_map(|condition| match condition {
                Condition::Text(place, text) => Some(leaf(*place, text)),
                _ => None,
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_compared_without_what_answers_put_before_them() {
        assert_eq!(base_subject("Re: AW: Fwd : Plan: Haus"), "Plan: Haus");
    }
}

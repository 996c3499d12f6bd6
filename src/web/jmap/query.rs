//! Email/query, Email/queryChanges and SearchSnippet/get (RFC 8621 4.4, 4.5, 5).

use super::arguments::{Arguments, known};
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

/// A condition that is ready to be looked at: what it needs of other messages was gathered once.
enum Check {
    /// Decided by what the listing knows of a message.
    Listed(Box<dyn Fn(&Listed) -> bool>),
    /// Decided by its row, or its header: one read for each message.
    Row(Condition),
}

/// The checks of one FilterCondition must all hold.
type Checks = Filter<Vec<Check>>;

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
    let filter = filter.map(|f| prepare(look, &listing, &f)).transpose()?;
    let followed = filter.as_ref().is_none_or(|f| f.followed);
    let filter = filter.map(|f| f.checks);
    let limit_given = limit;
    let limit = limit.unwrap_or(LIMIT_MAX).min(LIMIT_MAX);
    // How many are needed from the front; all of them where the end counts, too.
    let enough = match (&anchor, usize::try_from(position)) {
        (None, Ok(position)) if !total => Some(position.saturating_add(limit)),
        _ => None,
    };
    let found = find(look, &listing, filter, &sort, collapse, enough)?;
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
        "canCalculateChanges": followed,
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

/// RFC 8620 5.6. What a message's own properties and those of its conversation decide is followed: all
/// messages of a conversation in which something changed are told as removed (which the RFC allows of those
/// that may have been there), and as added where they are now. What needs words or headers is asked for anew.
pub(super) fn changes(look: &Look, mut arguments: Arguments) -> Result<Value, MethodError> {
    let filter: Option<Value> = arguments.take("filter")?;
    let sort: Option<Value> = arguments.take("sort")?;
    let sort = parse_sort(sort.as_ref())?;
    let collapse = arguments.flag("collapseThreads")?;
    let since = arguments.text("sinceQueryState")?;
    let max: Option<usize> = arguments.take("maxChanges")?;
    let _up_to: Option<String> = arguments.take("upToId")?;
    let total = arguments.flag("calculateTotal")?;
    arguments.end()?;
    let now = email::state(&look.account);
    let known = known(&since, now)?;
    let listing = look.account.listing()?;
    let filter = filter.map(|f| prepare(look, &listing, &f)).transpose()?;
    if filter.as_ref().is_some_and(|f| !f.followed) {
        return Err(MethodError::CannotCalculateChanges);
    }
    let told = look.account.since(known.modseq)?.ok_or(MethodError::CannotCalculateChanges)?;
    let mut threads: HashSet<ThreadId> = told.gone.emails.iter().map(|(_, t)| *t).collect();
    threads.extend(told.emails.iter().filter_map(|id| listing.get(*id)).map(|m| m.thread));
    let mut touched: BTreeSet<EmailId> = told.gone.emails.iter().map(|(id, _)| *id).collect();
    let all = listing.messages().iter().filter(|m| threads.contains(&m.thread));
    touched.extend(all.map(|m| m.id));
    let found = find(look, &listing, filter.map(|f| f.checks), &sort, collapse, None)?;
    let added: Vec<Value> = found
        .iter()
        .enumerate()
        .filter(|(_, id)| touched.contains(id))
        .map(|(index, id)| json!({ "id": jmap::email_id(*id), "index": index }))
        .collect();
    // What came since was never in the list.
    let removed = touched.into_iter().filter(|id| id.0 <= known.counter);
    let removed: Vec<String> = removed.map(jmap::email_id).collect();
    let total = total.then_some(found.len());
    told_changes(look.account_id(), (since, now.to_string()), (removed, added), max, total)
}

/// The answer of `/queryChanges` (RFC 8620 5.6).
pub(super) fn told_changes(
    account: String,
    (old, new): (String, String),
    (removed, added): (Vec<String>, Vec<Value>),
    max: Option<usize>,
    total: Option<usize>,
) -> Result<Value, MethodError> {
    let count = removed.len().saturating_add(added.len());
    if count > LIMIT_MAX {
        return Err(MethodError::CannotCalculateChanges);
    }
    if max.is_some_and(|max| count > max) {
        return Err(MethodError::TooManyChanges);
    }
    let mut answer = json!({
        "accountId": account, "oldQueryState": old, "newQueryState": new,
        "removed": removed, "added": added,
    });
    if let (Some(total), Some(all)) = (total, answer.as_object_mut()) {
        all.insert("total".into(), json!(total));
    }
    Ok(answer)
}

/// A filter that is ready.
struct Prepared {
    checks: Checks,
    /// Whether changes of what it finds can be told.
    followed: bool,
}

fn prepare(look: &Look, listing: &Listing, value: &Value) -> Result<Prepared, MethodError> {
    let filter = Filter::parse(value, &mut parse_condition)?;
    let mut leaves = Vec::new();
    filter.each(&mut |all, _| leaves.extend(all.iter().filter_map(leaf_of)));
    // In one search: what is not indexed yet is read once for all of them.
    let found = match leaves.as_slice() {
        [] => Vec::new(),
        leaves => look.web.mail().search(&look.login, leaves)?.leaves,
    };
    let mut found = found.into_iter().map(HashSet::<EmailId>::from_iter);
    let checks = filter.map(&mut |all: Vec<Condition>| {
        Ok::<_, MethodError>(all.into_iter().map(|c| check(listing, c, &mut found)).collect())
    })?;
    let followed = leaves.is_empty() && is_listed(&checks);
    Ok(Prepared { checks, followed })
}

fn leaf_of(condition: &Condition) -> Option<Leaf> {
    match condition {
        Condition::Text(place, words) => Some(leaf(*place, words)),
        _ => None,
    }
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
    filter: Option<Checks>,
    sort: &[Sort],
    collapse: bool,
    enough: Option<usize>,
) -> Result<Vec<EmailId>, MethodError> {
    // What the listing decides goes first; rows are then read in order, and no further than needed.
    let (listed, rows): (Vec<Checks>, Vec<Checks>) =
        filter.into_iter().flat_map(conjuncts).partition(is_listed);
    let mut all = Vec::new();
    for message in listing.messages().iter().filter(|m| !m.flags.has(Flags::DELETED)) {
        if hold(look, message, &listed)? {
            all.push(message);
        }
    }
    order(look, listing, &mut all, sort)?;
    let (mut found, mut threads) = (Vec::new(), HashSet::new());
    for message in all {
        if enough.is_some_and(|enough| found.len() >= enough) {
            break;
        }
        if (!collapse || !threads.contains(&message.thread)) && hold(look, message, &rows)? {
            threads.insert(message.thread);
            found.push(message.id);
        }
    }
    Ok(found)
}

/// Filters that must all hold, as small as they get.
fn conjuncts(filter: Checks) -> Vec<Checks> {
    match filter {
        Filter::And(all) => all.into_iter().flat_map(conjuncts).collect(),
        Filter::Is(all) => all.into_iter().map(|check| Filter::Is(vec![check])).collect(),
        other => vec![other],
    }
}

fn is_listed(filter: &Checks) -> bool {
    let mut listed = true;
    filter.each(&mut |all, _| listed &= all.iter().all(|c| matches!(c, Check::Listed(_))));
    listed
}

fn hold(look: &Look, message: &Listed, filters: &[Checks]) -> Result<bool, MethodError> {
    let mut all = |checks: &Vec<Check>| {
        for check in checks {
            let holds = match check {
                Check::Listed(is) => is(message),
                Check::Row(condition) => row_holds(look, message, condition)?,
            };
            if !holds {
                return Ok(false);
            }
        }
        Ok::<bool, MethodError>(true)
    };
    for filter in filters {
        if !filter.holds(&mut all)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn row_holds(look: &Look, message: &Listed, condition: &Condition) -> Result<bool, MethodError> {
    let Some(row) = look.account.email(message.id)? else { return Ok(false) };
    Ok(match condition {
        Condition::HasAttachment(wanted) => email::has_attachment(&row.summary.parts) == *wanted,
        Condition::Header(name, text) => {
            let range = 0..u64::from(row.summary.header_len);
            let raw = look.web.mail().read(&look.login, &row.body, range)?;
            let property = HeaderProperty::parse(&format!("header:{name}:asRaw:all"));
            let values = property.map(|p| p.value(&raw)).unwrap_or_default();
            let has = |v: &Value| {
                text.as_ref().is_none_or(|t| v.as_str().is_some_and(|v| contains(v, t)))
            };
            values.as_array().is_some_and(|all| all.iter().any(has))
        }
        _ => false,
    })
}

/// Makes a condition ready; `found` gives what each full text found, in the order of the filter.
fn check(
    listing: &Listing,
    condition: Condition,
    found: &mut dyn Iterator<Item = HashSet<EmailId>>,
) -> Check {
    let listed = |is: Box<dyn Fn(&Listed) -> bool>| Check::Listed(is);
    match condition {
        Condition::InMailbox(id) => listed(Box::new(move |m| Some(m.mailbox) == id)),
        Condition::InMailboxOtherThan(ids) => listed(Box::new(move |m| !ids.contains(&m.mailbox))),
        Condition::Before(at) => listed(Box::new(move |m| m.received < at)),
        Condition::After(at) => listed(Box::new(move |m| m.received >= at)),
        Condition::MinSize(n) => listed(Box::new(move |m| m.size >= n)),
        Condition::MaxSize(n) => listed(Box::new(move |m| m.size < n)),
        Condition::Has(flags) => listed(Box::new(move |m| has(m, &flags))),
        Condition::HasNot(flags) => listed(Box::new(move |m| !has(m, &flags))),
        Condition::SomeInThreadHave(flags) => {
            let some = threads(listing, |m| has(m, &flags));
            listed(Box::new(move |m| some.contains(&m.thread)))
        }
        Condition::NoneInThreadHave(flags) => {
            let some = threads(listing, |m| has(m, &flags));
            listed(Box::new(move |m| !some.contains(&m.thread)))
        }
        Condition::AllInThreadHave(flags) => {
            let without = threads(listing, |m| !has(m, &flags));
            listed(Box::new(move |m| !without.contains(&m.thread)))
        }
        Condition::Text(..) => {
            let these = found.next().unwrap_or_default();
            listed(Box::new(move |m| these.contains(&m.id)))
        }
        row @ (Condition::HasAttachment(_) | Condition::Header(..)) => Check::Row(row),
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
        let filter = Filter::parse(&filter, &mut parse_condition)?;
        // Not what must not be there.
        filter.each(&mut |all, wanted| {
            leaves.extend(all.iter().filter(|_| wanted).filter_map(leaf_of));
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_compared_without_what_answers_put_before_them() {
        assert_eq!(base_subject("Re: AW: Fwd : Plan: Haus"), "Plan: Haus");
    }
}

//! Mailbox (RFC 8621 2).

use super::arguments::{Arguments, Told, got, known};
use super::query::told_changes;
use super::set::{Outcome, one};
use super::{Answer, Asking, Look};
use crate::mail::Snapshot;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use understudy_proto::id::{MailboxId, ThreadId};
use understudy_proto::jmap::{self, MethodError, SetError, State};
use understudy_proto::mailbox::{Flags, INBOX, Mailbox, MailboxRefusal, Role};

const PROPERTIES: [&str; 11] = [
    "id",
    "name",
    "parentId",
    "role",
    "sortOrder",
    "totalEmails",
    "unreadEmails",
    "totalThreads",
    "unreadThreads",
    "myRights",
    "isSubscribed",
];

/// What a client knows of mailboxes.
pub(super) fn state(account: &Snapshot) -> State {
    let state = account.state();
    State { fork: account.fork(), modseq: state.modseq, counter: u64::from(state.mailbox.0) }
}

pub(super) fn get(look: &Look, mut arguments: Arguments) -> Result<Value, MethodError> {
    let asked = arguments.get()?;
    arguments.end()?;
    asked.only(&PROPERTIES)?;
    let all = look.account.mailboxes()?;
    let threads = if asked.wants("totalThreads") || asked.wants("unreadThreads") {
        threads(look)?
    } else {
        BTreeMap::new()
    };
    let by_name: BTreeMap<&str, MailboxId> = all.iter().map(|m| (m.name.as_str(), m.id)).collect();
    let object = |row: &Mailbox| {
        let (parent, name) = match row.name.rsplit_once('/') {
            Some((parent, name)) => (by_name.get(parent).copied(), name),
            None => (None, row.name.as_str()),
        };
        let count = threads.get(&row.id).copied().unwrap_or_default();
        let inbox = row.id == INBOX;
        asked.project(json!({
            "id": jmap::mailbox_id(row.id),
            "name": if inbox { "Inbox" } else { name },
            "parentId": parent.map(jmap::mailbox_id),
            "role": row.role.map(role_name),
            "sortOrder": sort_order(row.role),
            "totalEmails": row.exists,
            "unreadEmails": row.unseen,
            "totalThreads": count.0,
            "unreadThreads": count.1,
            "myRights": {
                "mayReadItems": true, "mayAddItems": true, "mayRemoveItems": true, "maySetSeen": true,
                "maySetKeywords": true, "mayCreateChild": true, "mayRename": !inbox,
                "mayDelete": !inbox, "maySubmit": true,
            },
            "isSubscribed": row.subscribed,
        }))
    };
    let (mut list, mut not_found) = (Vec::new(), Vec::new());
    match &asked.ids {
        None => list.extend(all.iter().map(object)),
        Some(ids) => {
            for id in ids {
                match jmap::parse_mailbox(id).and_then(|id| all.iter().find(|m| m.id == id)) {
                    Some(row) => list.push(object(row)),
                    None => not_found.push(id.clone()),
                }
            }
        }
    }
    Ok(got(look.account_id(), &state(&look.account).to_string(), list, not_found))
}

/// Conversations of each mailbox, and those of them with something unread that is not in the trash
/// (RFC 8621 2: what is in the trash makes only the trash unread, and the other way round).
fn threads(look: &Look) -> Result<BTreeMap<MailboxId, (usize, usize)>, MethodError> {
    let listing = look.account.listing()?;
    let trash =
        look.account.mailboxes()?.iter().find(|m| m.role == Some(Role::Trash)).map(|m| m.id);
    let mut unread: BTreeSet<(bool, ThreadId)> = BTreeSet::new();
    let mut inside: BTreeSet<(MailboxId, ThreadId)> = BTreeSet::new();
    for message in listing.messages() {
        inside.insert((message.mailbox, message.thread));
        if !message.flags.has(Flags::SEEN) && !message.flags.has(Flags::DRAFT) {
            unread.insert((Some(message.mailbox) == trash, message.thread));
        }
    }
    let mut counts: BTreeMap<MailboxId, (usize, usize)> = BTreeMap::new();
    for (mailbox, thread) in inside {
        let count = counts.entry(mailbox).or_default();
        count.0 = count.0.saturating_add(1);
        if unread.contains(&(Some(mailbox) == trash, thread)) {
            count.1 = count.1.saturating_add(1);
        }
    }
    Ok(counts)
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Inbox => "inbox",
        Role::Drafts => "drafts",
        Role::Sent => "sent",
        Role::Junk => "junk",
        Role::Trash => "trash",
        Role::Archive => "archive",
    }
}

fn role_of(name: &str) -> Option<Role> {
    let all = [Role::Inbox, Role::Drafts, Role::Sent, Role::Junk, Role::Trash, Role::Archive];
    all.into_iter().find(|role| role_name(*role) == name)
}

fn sort_order(role: Option<Role>) -> u32 {
    match role {
        Some(Role::Inbox) => 1,
        Some(Role::Drafts) => 2,
        Some(Role::Sent) => 3,
        Some(Role::Archive) => 4,
        Some(Role::Junk) => 5,
        Some(Role::Trash) => 6,
        None => 10,
    }
}

pub(super) fn changes(look: &Look, arguments: Arguments) -> Result<Value, MethodError> {
    let asked = arguments.changes()?;
    let now = state(&look.account);
    let since = known(&asked.since, now)?;
    let told = look.account.since(since.modseq)?.ok_or(MethodError::CannotCalculateChanges)?;
    let mut out = Told::default();
    let is_new = |id: MailboxId| u64::from(id.0) > since.counter;
    for row in look.account.mailboxes()? {
        if is_new(row.id) {
            out.created.push(jmap::mailbox_id(row.id));
        } else if row.modseq > since.modseq {
            out.updated.push(jmap::mailbox_id(row.id));
        }
    }
    let gone = told.gone.mailboxes.into_iter().filter(|id| !is_new(*id));
    out.destroyed.extend(gone.map(jmap::mailbox_id));
    let mut answer = out.answer(look.account_id(), &asked, &now.to_string())?;
    if let Some(all) = answer.as_object_mut() {
        all.insert("updatedProperties".into(), Value::Null);
    }
    Ok(answer)
}

/// RFC 8621 2.3: in the order of `sortOrder` and name; people have few, so all come at once.
pub(super) fn query(look: &Look, mut arguments: Arguments) -> Result<Value, MethodError> {
    let filter: Option<Map<String, Value>> = arguments.take("filter")?;
    let _sort: Option<Vec<Value>> = arguments.take("sort")?;
    let _as_tree: Option<bool> = arguments.take("sortAsTree")?;
    let _filter_as_tree: Option<bool> = arguments.take("filterAsTree")?;
    let position: Option<usize> = arguments.take("position")?;
    let limit: Option<usize> = arguments.take("limit")?;
    let _total: Option<bool> = arguments.take("calculateTotal")?;
    arguments.end()?;
    let rows = select(look, filter)?;
    let total = rows.len();
    let position = position.unwrap_or(0);
    let ids: Vec<String> = rows
        .iter()
        .skip(position)
        .take(limit.unwrap_or(usize::MAX))
        .map(|m| jmap::mailbox_id(m.id))
        .collect();
    Ok(json!({
        "accountId": look.account_id(),
        "queryState": state(&look.account).to_string(),
        "canCalculateChanges": true,
        "position": position,
        "ids": ids,
        "total": total,
    }))
}

/// RFC 8621 2.4: whatever changed is told as removed, and as added where it is now.
pub(super) fn query_changes(look: &Look, mut arguments: Arguments) -> Result<Value, MethodError> {
    let filter: Option<Map<String, Value>> = arguments.take("filter")?;
    let _sort: Option<Vec<Value>> = arguments.take("sort")?;
    let _as_tree: Option<bool> = arguments.take("sortAsTree")?;
    let _filter_as_tree: Option<bool> = arguments.take("filterAsTree")?;
    let since = arguments.text("sinceQueryState")?;
    let max: Option<usize> = arguments.take("maxChanges")?;
    let _up_to: Option<String> = arguments.take("upToId")?;
    let total = arguments.flag("calculateTotal")?;
    arguments.end()?;
    let now = state(&look.account);
    let known = known(&since, now)?;
    let told = look.account.since(known.modseq)?.ok_or(MethodError::CannotCalculateChanges)?;
    let changed = look.account.mailboxes()?.into_iter().filter(|m| m.modseq > known.modseq);
    let changed: BTreeSet<MailboxId> = changed.map(|m| m.id).collect();
    let rows = select(look, filter)?;
    let added: Vec<Value> = rows
        .iter()
        .enumerate()
        .filter(|(_, row)| changed.contains(&row.id))
        .map(|(index, row)| json!({ "id": jmap::mailbox_id(row.id), "index": index }))
        .collect();
    let old = |id: &MailboxId| u64::from(id.0) <= known.counter;
    let removed = changed.iter().chain(&told.gone.mailboxes).filter(|id| old(id));
    let removed = removed.map(|id| jmap::mailbox_id(*id)).collect();
    let total = total.then_some(rows.len());
    told_changes(look.account_id(), (since, now.to_string()), (removed, added), max, total)
}

/// The mailboxes that a filter leaves, in order.
fn select(look: &Look, filter: Option<Map<String, Value>>) -> Result<Vec<Mailbox>, MethodError> {
    let mut rows = look.account.mailboxes()?;
    let names: BTreeMap<String, MailboxId> = rows.iter().map(|m| (m.name.clone(), m.id)).collect();
    for (name, value) in filter.unwrap_or_default() {
        let text = value.as_str().map(str::to_lowercase);
        match name.as_str() {
            "role" => rows.retain(|m| m.role.map(role_name) == value.as_str()),
            "hasAnyRole" => rows.retain(|m| Some(m.role.is_some()) == value.as_bool()),
            "isSubscribed" => rows.retain(|m| Some(m.subscribed) == value.as_bool()),
            "name" => {
                rows.retain(|m| text.as_ref().is_some_and(|t| m.name.to_lowercase().contains(t)))
            }
            "parentId" => rows.retain(|m| {
                let parent = m.name.rsplit_once('/').and_then(|(p, _)| names.get(p)).copied();
                parent == value.as_str().and_then(jmap::parse_mailbox)
            }),
            other => {
                return Err(MethodError::UnsupportedFilter(format!("{other} is no condition")));
            }
        }
    }
    rows.sort_by(|a, b| (sort_order(a.role), &a.name).cmp(&(sort_order(b.role), &b.name)));
    Ok(rows)
}

/// What a creation or an update says.
#[derive(Default)]
struct Wish {
    name: Option<String>,
    /// `Some(None)`: to the top.
    parent: Option<Option<MailboxId>>,
    subscribed: Option<bool>,
    role: Option<Role>,
}

impl Wish {
    fn read(asking: &Asking, object: &Map<String, Value>) -> Result<Self, SetError> {
        let mut wish = Self::default();
        for (name, value) in object {
            let wrong = || SetError::invalid([name.clone()]);
            match name.as_str() {
                "name" => {
                    let text = value.as_str().filter(|t| !t.contains('/') && !t.trim().is_empty());
                    wish.name = Some(text.ok_or_else(wrong)?.to_owned());
                }
                "parentId" if value.is_null() => wish.parent = Some(None),
                "parentId" => {
                    let id =
                        value.as_str().and_then(|id| asking.id(id)).and_then(jmap::parse_mailbox);
                    wish.parent = Some(Some(id.ok_or_else(wrong)?));
                }
                "isSubscribed" => wish.subscribed = Some(value.as_bool().ok_or_else(wrong)?),
                "role" if value.is_null() => {}
                "role" => wish.role = Some(value.as_str().and_then(role_of).ok_or_else(wrong)?),
                // An order of one's own is not kept.
                "sortOrder" if value.is_null() || value == &json!(0) => {}
                _ => return Err(wrong()),
            }
        }
        Ok(wish)
    }
}

pub(super) async fn set(asking: &mut Asking, mut arguments: Arguments) -> Answer {
    let asked = arguments.set()?;
    let remove_emails = arguments.flag("onDestroyRemoveEmails")?;
    arguments.end()?;
    let old = state(&asking.web.mail().snapshot(&asking.login)?).to_string();
    if asked.if_in_state.as_ref().is_some_and(|wanted| *wanted != old) {
        return Err(MethodError::StateMismatch);
    }
    let mut out = Outcome::default();
    for (name, object) in asked.create {
        let done = create(asking, &object).await?;
        if let Ok(id) = &done {
            asking.created.insert(name.clone(), id.clone());
        }
        let object = done.map(|id| {
            json!({ "id": id, "sortOrder": 10, "totalEmails": 0, "unreadEmails": 0, "totalThreads": 0,
                "unreadThreads": 0, "isSubscribed": true })
        });
        out.create(name, object);
    }
    for (id, patch) in asked.update {
        let done = update(asking, &id, &patch).await?;
        out.update(id, done.map(|()| Value::Null));
    }
    for id in asked.destroy {
        let done = destroy(asking, &id, remove_emails).await?;
        out.destroy(id, done);
    }
    let new = state(&asking.web.mail().snapshot(&asking.login)?).to_string();
    let account = jmap::account_id(asking.login.account);
    Ok(vec![("Mailbox/set", out.answer(account, &old, &new))])
}

type Done<T> = Result<Result<T, SetError>, MethodError>;

/// The full name below a parent.
fn full_name(
    asking: &Asking,
    parent: Option<MailboxId>,
    name: &str,
) -> Result<Result<String, SetError>, MethodError> {
    let Some(parent) = parent else { return Ok(Ok(name.to_owned())) };
    let row = asking.web.mail().snapshot(&asking.login)?.mailbox(parent)?;
    Ok(row
        .map(|row| format!("{}/{name}", row.name))
        .ok_or_else(|| SetError::invalid(["parentId"]).because("there is no such mailbox")))
}

async fn create(asking: &Asking, object: &Value) -> Done<String> {
    let wish = match object.as_object().ok_or_else(|| SetError::invalid(["name"])) {
        Ok(object) => Wish::read(asking, object),
        Err(why) => Err(why),
    };
    let wish = match wish {
        Ok(wish) => wish,
        Err(why) => return Ok(Err(why)),
    };
    let Some(name) = &wish.name else { return Ok(Err(SetError::invalid(["name"]))) };
    let name = match full_name(asking, wish.parent.flatten(), name)? {
        Ok(name) => name,
        Err(why) => return Ok(Err(why)),
    };
    let mail = asking.web.mail();
    // RFC 8621 2: an account has one mailbox of each role.
    let taken = |m: &Mailbox| wish.role.is_some() && m.role == wish.role;
    if mail.mailboxes(&asking.login)?.iter().any(taken) {
        return Ok(Err(SetError::invalid(["role"]).because("another mailbox has it")));
    }
    let made = mail.create(&asking.lease, &asking.login, &name, wish.role).await;
    let id = match one(made.map_err(MethodError::from))? {
        Ok(id) => id,
        Err(why) => return Ok(Err(why)),
    };
    let subscribed = wish.subscribed.unwrap_or(true);
    mail.subscribe(&asking.lease, &asking.login, id, subscribed).await?;
    Ok(Ok(jmap::mailbox_id(id)))
}

async fn update(asking: &Asking, id: &str, patch: &Value) -> Done<()> {
    let row = match jmap::parse_mailbox(asking.id(id).unwrap_or_default()) {
        Some(id) => asking.web.mail().snapshot(&asking.login)?.mailbox(id)?,
        None => None,
    };
    let Some(row) = row else { return Ok(Err(SetError::not_found())) };
    let wish = match patch.as_object().map(|patch| Wish::read(asking, patch)) {
        // It was given when the mailbox was made.
        Some(Ok(wish)) if wish.role.is_some() && wish.role != row.role => {
            return Ok(Err(SetError::invalid(["role"])));
        }
        Some(Ok(wish)) => wish,
        Some(Err(why)) => return Ok(Err(why)),
        None => return Ok(Err(SetError::new("invalidPatch"))),
    };
    let mail = asking.web.mail();
    if wish.name.is_some() || wish.parent.is_some() {
        let (parent, name) = match row.name.rsplit_once('/') {
            Some((parent, name)) => (Some(parent), name),
            None => (None, row.name.as_str()),
        };
        let name = wish.name.as_deref().unwrap_or(name);
        let full = match (wish.parent, parent) {
            (Some(parent), _) => match full_name(asking, parent, name)? {
                Ok(full) => full,
                Err(why) => return Ok(Err(why)),
            },
            (None, Some(parent)) => format!("{parent}/{name}"),
            (None, None) => name.to_owned(),
        };
        if row.id == INBOX {
            return Ok(Err(SetError::new("forbidden").because("the inbox keeps its name")));
        }
        if full != row.name {
            let done = mail.rename(&asking.lease, &asking.login, row.id, &full).await;
            if let Err(why) = one(done.map_err(MethodError::from))? {
                return Ok(Err(why));
            }
        }
    }
    if let Some(subscribed) = wish.subscribed {
        mail.subscribe(&asking.lease, &asking.login, row.id, subscribed).await?;
    }
    Ok(Ok(()))
}

async fn destroy(asking: &Asking, id: &str, remove_emails: bool) -> Done<()> {
    let account = asking.web.mail().snapshot(&asking.login)?;
    let row = match jmap::parse_mailbox(asking.id(id).unwrap_or_default()) {
        Some(id) => account.mailbox(id)?,
        None => None,
    };
    let Some(row) = row else { return Ok(Err(SetError::not_found())) };
    let below = format!("{}/", row.name);
    if account.mailboxes()?.iter().any(|m| m.name.starts_with(&below)) {
        return Ok(Err(SetError::new("mailboxHasChild")));
    }
    if row.exists > 0 && !remove_emails {
        return Ok(Err(SetError::new("mailboxHasEmail")));
    }
    drop(account);
    match asking.web.mail().delete(&asking.lease, &asking.login, row.id).await {
        Ok(()) => Ok(Ok(())),
        Err(crate::mail::MailError::Refused(MailboxRefusal::IsInbox)) => {
            Ok(Err(SetError::new("forbidden").because("everybody has an inbox")))
        }
        Err(e) => one(Err(e.into())),
    }
}

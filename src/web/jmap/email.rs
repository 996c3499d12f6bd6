//! Email/get, changes, set and import (RFC 8621 4).

use super::arguments::{Arguments, Told, got, known};
use super::blob::{self, Lies, SCANNED_MAX};
use super::compose::compose;
use super::sanitise::sanitise;
use super::set::{Outcome, one};
use super::{Answer, Answers, Asking, Look};
use crate::mail::{Message, Snapshot};
use serde_json::{Map, Value, json};
use std::ops::Range;
use understudy_proto::id::{EmailId, MailboxId};
use understudy_proto::jmap::email::{
    BodyPart, DEFAULT_PART_PROPERTIES, DEFAULT_PROPERTIES, HeaderProperty, METADATA, keyword,
    keywords, part_value, parts,
};
use understudy_proto::jmap::pointer::steps;
use understudy_proto::jmap::{self, BlobId, MethodError, SetError, State};
use understudy_proto::keys::BodyAddress;
use understudy_proto::mailbox::{Flags, FlagsOp};
use understudy_proto::message::{Part, PartKind, Span, Summary};
use understudy_proto::time::{self, UnixMs};

/// Longest value of a text part that is given whole, in bytes, whatever the client asks for.
const VALUE_LEN_MAX: usize = 5 << 20;
/// Longest encoded text part that is read to show it, in bytes.
const TEXT_READ_MAX: u64 = 10 << 20;

/// What a client knows of messages.
pub(super) fn state(account: &Snapshot) -> State {
    let state = account.state();
    State { fork: account.fork(), modseq: state.modseq, counter: state.email.0 }
}

/// What is asked of bodies.
struct Wanted {
    properties: Vec<String>,
    part_properties: Vec<String>,
    text_values: bool,
    html_values: bool,
    all_values: bool,
    value_max: usize,
    sanitise: bool,
}

impl Wanted {
    fn take(properties: Vec<String>, arguments: &mut Arguments) -> Result<Self, MethodError> {
        let part_properties: Option<Vec<String>> = arguments.take("bodyProperties")?;
        let value_max: Option<usize> = arguments.take("maxBodyValueBytes")?;
        let value_max = value_max.filter(|max| *max > 0).unwrap_or(VALUE_LEN_MAX);
        Ok(Self {
            properties,
            part_properties: part_properties.unwrap_or_else(|| owned(&DEFAULT_PART_PROPERTIES)),
            text_values: arguments.flag("fetchTextBodyValues")?,
            html_values: arguments.flag("fetchHTMLBodyValues")?,
            all_values: arguments.flag("fetchAllBodyValues")?,
            value_max: value_max.min(VALUE_LEN_MAX),
            sanitise: arguments.flag("sanitizeHTML")?,
        })
    }
}

fn owned(all: &[&str]) -> Vec<String> {
    all.iter().map(|p| (*p).to_owned()).collect()
}

pub(super) fn get(look: &Look, mut arguments: Arguments) -> Result<Value, MethodError> {
    let asked = arguments.get()?;
    let mut properties = asked.properties.clone().unwrap_or_else(|| owned(&DEFAULT_PROPERTIES));
    if !properties.iter().any(|p| p == "id") {
        properties.push("id".into());
    }
    let wanted = Wanted::take(properties, &mut arguments)?;
    arguments.end()?;
    // RFC 8620 5.1: all messages of an account are more than one answer holds.
    let ids = asked.ids.as_ref().ok_or(MethodError::RequestTooLarge)?;
    let (mut list, mut not_found) = (Vec::new(), Vec::new());
    for id in ids {
        match jmap::parse_email(id).map(|id| look.account.message(id)).transpose()?.flatten() {
            Some(message) => {
                let Message { id, email, .. } = &message;
                let (body, summary, blob) = (&email.body, &email.summary, BlobId::Email(*id));
                let source = Source { body, base: 0, summary, blob, message: Some(&message) };
                list.push(object(look, &source, &wanted)?);
            }
            None => not_found.push(id.clone()),
        }
    }
    Ok(got(look.account_id(), &state(&look.account).to_string(), list, not_found))
}

/// RFC 8621 4.9: what it gives where the client names nothing, which is all that no mailbox gives.
fn parsed_properties() -> &'static [&'static str] {
    DEFAULT_PROPERTIES.get(METADATA..).unwrap_or_default()
}

/// RFC 8621 4.9: messages that are blobs, and nowhere else.
pub(super) fn parse(look: &Look, mut arguments: Arguments) -> Result<Value, MethodError> {
    let ids: Vec<String> = arguments.take("blobIds")?.unwrap_or_default();
    if ids.len() > SCANNED_MAX {
        return Err(MethodError::RequestTooLarge);
    }
    let properties = arguments.take("properties")?.unwrap_or_else(|| owned(parsed_properties()));
    let wanted = Wanted::take(properties, &mut arguments)?;
    arguments.end()?;
    let (mut parsed, mut not_parsable, mut not_found) = (Map::new(), Vec::new(), Vec::new());
    for id in ids {
        let Some(blob) = look.id(&id).and_then(BlobId::parse) else {
            not_found.push(id);
            continue;
        };
        match blob::message(look, &blob)? {
            Lies::Nowhere => not_found.push(id),
            Lies::NoMessage => not_parsable.push(id),
            Lies::At { body, base, summary } => {
                let (body, summary) = (&body, &summary);
                let source = Source { body, base, summary, blob, message: None };
                parsed.insert(id, object(look, &source, &wanted)?);
            }
        }
    }
    let some = |all: Vec<String>| if all.is_empty() { Value::Null } else { json!(all) };
    Ok(json!({
        "accountId": look.account_id(),
        "parsed": if parsed.is_empty() { Value::Null } else { Value::Object(parsed) },
        "notParsable": some(not_parsable),
        "notFound": some(not_found),
    }))
}

/// Where the octets of a message lie, and what was seen in them.
struct Source<'a> {
    body: &'a BodyAddress,
    base: u64,
    summary: &'a Summary,
    blob: BlobId,
    /// Of one that lies in a mailbox.
    message: Option<&'a Message>,
}

/// A message with what was read of it so far.
struct Reader<'a> {
    look: &'a Look,
    source: &'a Source<'a>,
    header: Option<Vec<u8>>,
    tree: Option<BodyPart>,
}

impl Reader<'_> {
    fn octets(&self, span: Span) -> Result<Vec<u8>, MethodError> {
        let (mail, base) = (self.look.web.mail(), self.source.base);
        let Range { start, end } = span.range();
        let range = base.saturating_add(start)..base.saturating_add(end);
        Ok(mail.read(&self.look.login, self.source.body, range)?)
    }

    fn header(&mut self) -> Result<&[u8], MethodError> {
        if self.header.is_none() {
            let len = u64::from(self.source.summary.header_len);
            self.header = Some(self.octets(Span { at: 0, len })?);
        }
        Ok(self.header.as_deref().unwrap_or_default())
    }

    fn tree(&mut self) -> Result<&BodyPart, MethodError> {
        if self.tree.is_none() {
            let found = parts(self.source.summary, &mut |span| self.octets(span))?;
            self.tree = found;
        }
        self.tree.as_ref().ok_or_else(|| MethodError::ServerFail("a message has no part".into()))
    }
}

fn object(look: &Look, source: &Source<'_>, wanted: &Wanted) -> Result<Value, MethodError> {
    let mut reader = Reader { look, source, header: None, tree: None };
    let mut all = Map::new();
    let (summary, message) = (source.summary, source.message);
    // RFC 8621 4.9: what only a mailbox gives a message is null without one.
    let lying = |f: &dyn Fn(&Message) -> Value| message.map_or(Value::Null, f);
    let ids = |all: &[String]| if all.is_empty() { Value::Null } else { json!(all) };
    for property in &wanted.properties {
        let value = match property.as_str() {
            "id" => lying(&|m| json!(jmap::email_id(m.id))),
            "blobId" => json!(source.blob.to_string()),
            "threadId" => lying(&|m| json!(jmap::thread_id(m.thread))),
            "mailboxIds" => lying(&|m| json!({ jmap::mailbox_id(m.email.mailbox): true })),
            "keywords" => lying(&|m| keywords(&m.entry.flags)),
            "size" => json!(message.map_or(summary.size, |m| m.entry.size)),
            "receivedAt" => lying(&|m| json!(time::utc_date(m.entry.internal_date))),
            "hasAttachment" => json!(has_attachment(&summary.parts)),
            "preview" => json!(summary.preview),
            "messageId" => ids(summary.message_id.as_slice()),
            "inReplyTo" => ids(&summary.in_reply_to),
            "references" => ids(&summary.references),
            "sentAt" => summary
                .date
                .map_or(Value::Null, |at| json!(time::zoned_date(at, summary.zone_minutes))),
            "bodyValues" => values(&mut reader, wanted)?,
            "bodyStructure" => {
                let mut properties = wanted.part_properties.clone();
                properties.push("subParts".into());
                part(&reader.tree()?.clone(), &mut reader, &properties)?
            }
            "textBody" | "htmlBody" | "attachments" => {
                let tree = reader.tree()?.clone();
                let bodies = tree.bodies();
                let places = match property.as_str() {
                    "textBody" => bodies.text,
                    "htmlBody" => bodies.html,
                    _ => bodies.attachments,
                };
                let found = places.into_iter().filter_map(|at| tree.find(at));
                let found = found.map(|p| part(p, &mut reader, &wanted.part_properties));
                Value::Array(found.collect::<Result<_, _>>()?)
            }
            "headers" => headers(reader.header()?),
            name => match HeaderProperty::parse(name) {
                Some(property) => property.value(reader.header()?),
                None => return Err(MethodError::argument(format!("there is no property {name}"))),
            },
        };
        all.insert(property.clone(), value);
    }
    Ok(Value::Object(all))
}

/// RFC 8621 4.1.3: raw, in order.
fn headers(raw: &[u8]) -> Value {
    understudy_proto::message::header::fields(raw)
        .map(|f| {
            let text = |b| String::from_utf8_lossy(b).into_owned();
            json!({ "name": text(f.name), "value": text(f.value) })
        })
        .collect()
}

fn part(
    part: &BodyPart,
    reader: &mut Reader<'_>,
    properties: &[String],
) -> Result<Value, MethodError> {
    let outer = &reader.source.blob;
    let blob = |at: usize| outer.clone().part(u16::try_from(at).unwrap_or(u16::MAX)).to_string();
    let mut value = part.to_json(properties, &blob);
    let of_header = |p: &&String| *p == "headers" || p.starts_with("header:");
    if properties.iter().any(|p| of_header(&p)) {
        let raw = reader.octets(part.header)?;
        for property in properties.iter().filter(of_header) {
            let found = match HeaderProperty::parse(property) {
                Some(parsed) => parsed.value(&raw),
                None => headers(&raw),
            };
            if let Some(all) = value.as_object_mut() {
                all.insert(property.clone(), found);
            }
        }
    }
    Ok(value)
}

fn values(reader: &mut Reader<'_>, wanted: &Wanted) -> Result<Value, MethodError> {
    let tree = reader.tree()?.clone();
    let bodies = tree.bodies();
    let mut places = Vec::new();
    if wanted.all_values {
        places.extend(tree.leaves().iter().map(|p| p.at));
    }
    if wanted.text_values {
        places.extend(&bodies.text);
    }
    if wanted.html_values {
        places.extend(&bodies.html);
    }
    places.sort_unstable();
    places.dedup();
    let mut all = Map::new();
    for part in places.into_iter().filter_map(|at| tree.find(at)) {
        if !part.media.starts_with("text/") {
            continue;
        }
        let len = part.body.len.min(TEXT_READ_MAX);
        let octets = reader.octets(Span { len, ..part.body })?;
        let mut value = part_value(part, &octets, wanted.value_max);
        if wanted.sanitise
            && part.media == "text/html"
            && let Some(html) = value.get("value").and_then(Value::as_str)
        {
            let clean = sanitise(html);
            if let Some(all) = value.as_object_mut() {
                all.insert("value".into(), json!(clean));
            }
        }
        if len < part.body.len
            && let Some(all) = value.as_object_mut()
        {
            all.insert("isTruncated".into(), json!(true));
        }
        all.insert(part.at.to_string(), value);
    }
    Ok(Value::Object(all))
}

/// Whether a person would say that something is attached: not what a page of HTML shows by itself.
pub(super) fn has_attachment(parts: &[Part]) -> bool {
    let mut inside = None::<&[u16]>;
    let related = |p: &&Part| p.media == "multipart/related";
    parts.iter().any(|part| {
        // What lies in a message that is attached counts as that message.
        if inside.is_some_and(|path| part.path.starts_with(path)) {
            return false;
        }
        inside = (part.kind == PartKind::Message).then_some(part.path.as_slice());
        match part.kind {
            PartKind::Multipart => false,
            PartKind::Message => true,
            PartKind::Text => part.attachment,
            PartKind::Other => {
                let shown = parts.iter().filter(related).any(|r| part.path.starts_with(&r.path));
                part.attachment || !shown
            }
        }
    })
}

pub(super) fn changes(look: &Look, arguments: Arguments) -> Result<Value, MethodError> {
    let asked = arguments.changes()?;
    let now = state(&look.account);
    let since = known(&asked.since, now)?;
    let told = look.account.since(since.modseq)?.ok_or(MethodError::CannotCalculateChanges)?;
    let mut out = Told::default();
    for id in told.emails {
        let list = if id.0 > since.counter { &mut out.created } else { &mut out.updated };
        list.push(jmap::email_id(id));
    }
    let gone = told.gone.emails.into_iter().filter(|(id, _)| id.0 <= since.counter);
    out.destroyed.extend(gone.map(|(id, _)| jmap::email_id(id)));
    out.answer(look.account_id(), &asked, &now.to_string())
}

pub(super) async fn set(asking: &mut Asking, mut arguments: Arguments) -> Answer {
    let asked = arguments.set()?;
    arguments.end()?;
    let old = state(&asking.web.mail().snapshot(&asking.login)?).to_string();
    if asked.if_in_state.as_ref().is_some_and(|wanted| *wanted != old) {
        return Err(MethodError::StateMismatch);
    }
    let mut out = Outcome::default();
    for (name, object) in asked.create {
        let done = create(asking, &object).await?;
        if let Ok(message) = &done {
            asking.created.insert(name.clone(), jmap::email_id(message.id));
        }
        out.create(name, done.as_ref().map(made).map_err(Clone::clone));
    }
    update_all(asking, asked.update, &mut out).await?;
    for id in asked.destroy {
        let done = destroy(asking, &id).await?;
        out.destroy(id, done);
    }
    let new = state(&asking.web.mail().snapshot(&asking.login)?).to_string();
    let account = jmap::account_id(asking.login.account);
    Ok(vec![("Email/set", out.answer(account, &old, &new))])
}

/// RFC 8620 5.3: what the server set.
fn made(message: &Message) -> Value {
    json!({
        "id": jmap::email_id(message.id),
        "blobId": BlobId::Email(message.id).to_string(),
        "threadId": jmap::thread_id(message.thread),
        "size": message.entry.size,
    })
}

type Done<T> = Result<Result<T, SetError>, MethodError>;

/// Where a message goes, with which flags, and since when.
struct Place {
    mailbox: MailboxId,
    flags: Flags,
    received: Option<UnixMs>,
}

impl Place {
    /// Reads `mailboxIds`, `keywords` and `receivedAt` out of an object.
    fn take(asking: &Asking, object: &mut Map<String, Value>) -> Result<Self, SetError> {
        let mailboxes = object.remove("mailboxIds").unwrap_or_default();
        let mailbox = mailbox_of(asking, &mailboxes)?;
        let flags = match object.remove("keywords") {
            None | Some(Value::Null) => Flags::default(),
            Some(value) => flags_of(&value).ok_or_else(|| SetError::invalid(["keywords"]))?,
        };
        let received = match object.remove("receivedAt") {
            None | Some(Value::Null) => None,
            Some(value) => {
                let at = value.as_str().and_then(time::parse_rfc3339);
                Some(at.ok_or_else(|| SetError::invalid(["receivedAt"]))?)
            }
        };
        Ok(Self { mailbox, flags, received })
    }
}

/// The one mailbox of `mailboxIds`.
fn mailbox_of(asking: &Asking, value: &Value) -> Result<MailboxId, SetError> {
    let wrong = || SetError::invalid(["mailboxIds"]).because("an Email lies in one mailbox");
    let all = value.as_object().ok_or_else(wrong)?;
    let mut ids = all.iter().filter(|(_, v)| v.as_bool() == Some(true)).map(|(id, _)| id);
    let (Some(id), None) = (ids.next(), ids.next()) else { return Err(wrong()) };
    asking.id(id).and_then(jmap::parse_mailbox).ok_or_else(wrong)
}

fn flags_of(value: &Value) -> Option<Flags> {
    let mut flags = Flags::default();
    for (name, value) in value.as_object()? {
        if value.as_bool()? {
            flags.add(&keyword(name)?);
        }
    }
    Some(flags)
}

async fn create(asking: &Asking, object: &Value) -> Done<Message> {
    let Some(object) = object.as_object() else {
        return Ok(Err(SetError::new("invalidProperties")));
    };
    let mut object = object.clone();
    let place = match Place::take(asking, &mut object) {
        Ok(place) => place,
        Err(why) => return Ok(Err(why)),
    };
    match compose(asking, &object).await? {
        Ok(bytes) => keep(asking, place, &bytes).await,
        Err(why) => Ok(Err(why)),
    }
}

/// A message comes into a mailbox.
async fn keep(asking: &Asking, place: Place, bytes: &[u8]) -> Done<Message> {
    let max = asking.web.facts().message_size_max;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > max) {
        return Ok(Err(SetError::new("tooLarge").with("maxSize", json!(max))));
    }
    let (mail, login) = (asking.web.mail(), &asking.login);
    let Some(row) = mail.snapshot(login)?.mailbox(place.mailbox)? else {
        return Ok(Err(SetError::invalid(["mailboxIds"]).because("there is no such mailbox")));
    };
    let mut ingest = mail.begin(&asking.lease, &[login.tenant]).await?;
    ingest.write(bytes).await?;
    let Place { flags, received, .. } = place;
    let uid = mail.append(&asking.lease, login, row.id, ingest.finish(), flags, received).await;
    let uid = match one(uid.map_err(MethodError::from))? {
        Ok(uid) => uid,
        Err(why) => return Ok(Err(why)),
    };
    let message = mail.message_at(login, row.id, uid)?;
    Ok(message.ok_or_else(|| SetError::new("willDestroy").because("it was removed meanwhile")))
}

/// What an update comes to.
#[derive(Default)]
struct Patch {
    mailbox: Option<MailboxId>,
    set: Option<Flags>,
    add: Flags,
    remove: Flags,
}

impl Patch {
    fn read(asking: &Asking, at: MailboxId, patch: &Value) -> Result<Self, SetError> {
        let mut out = Self::default();
        let all = patch.as_object().ok_or_else(|| SetError::new("invalidPatch"))?;
        let mut mailboxes: Option<Map<String, Value>> = None;
        for (path, value) in all {
            let steps = steps(path).ok_or_else(|| SetError::new("invalidPatch"))?;
            let wrong = || SetError::invalid([path.clone()]);
            let added = match value {
                Value::Bool(true) => Some(true),
                Value::Null => Some(false),
                _ => None,
            };
            match steps.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                ["keywords"] => out.set = Some(flags_of(value).ok_or_else(wrong)?),
                ["mailboxIds"] => mailboxes = value.as_object().cloned(),
                ["keywords", name] => {
                    let flags = keyword(name).ok_or_else(wrong)?;
                    let to = if added.ok_or_else(wrong)? { &mut out.add } else { &mut out.remove };
                    to.add(&flags);
                }
                ["mailboxIds", id] => {
                    let start = || Map::from_iter([(jmap::mailbox_id(at), json!(true))]);
                    let now = mailboxes.get_or_insert_with(start);
                    if added.ok_or_else(wrong)? {
                        now.insert((*id).to_owned(), json!(true));
                    } else {
                        now.remove(*id);
                    }
                }
                _ => {
                    let why = "only keywords and mailboxIds of a message can change";
                    return Err(wrong().because(why));
                }
            }
        }
        if let Some(all) = mailboxes {
            out.mailbox = Some(mailbox_of(asking, &Value::Object(all))?).filter(|to| *to != at);
        }
        Ok(out)
    }
}

/// A patch, the mailbox in which its messages lie, and these by the client's names for them.
type Group = (Value, MailboxId, Vec<(String, EmailId)>);

/// Updates, those of many messages that are alike in one change each.
async fn update_all(
    asking: &Asking,
    updates: Map<String, Value>,
    out: &mut Outcome,
) -> Result<(), MethodError> {
    let account = asking.web.mail().snapshot(&asking.login)?;
    // What is to be done, and for whom; patches that read the same are done together.
    let mut groups: Vec<Group> = Vec::new();
    for (id, patch) in updates {
        let found = asking.id(&id).and_then(jmap::parse_email).map(|id| account.email(id));
        let Some((email, row)) = found
            .transpose()?
            .flatten()
            .and_then(|row| asking.id(&id).and_then(jmap::parse_email).map(|id| (id, row)))
        else {
            out.update(id, Err(SetError::not_found()));
            continue;
        };
        let same = |g: &&mut Group| g.0 == patch && g.1 == row.mailbox;
        match groups.iter_mut().find(same) {
            Some((.., all)) => all.push((id, email)),
            None => groups.push((patch, row.mailbox, vec![(id, email)])),
        }
    }
    drop(account);
    for (patch, at, messages) in groups {
        let done = match Patch::read(asking, at, &patch) {
            Ok(patch) => update(asking, at, &patch, &messages).await?,
            Err(why) => Err(why),
        };
        for (id, _) in messages {
            out.update(id, done.clone().map(|()| Value::Null));
        }
    }
    Ok(())
}

async fn update(
    asking: &Asking,
    at: MailboxId,
    patch: &Patch,
    messages: &[(String, EmailId)],
) -> Done<()> {
    let (mail, lease, login) = (asking.web.mail(), &asking.lease, &asking.login);
    let mut uids = Vec::with_capacity(messages.len());
    {
        let account = mail.snapshot(login)?;
        for (_, id) in messages {
            // Who moved it meanwhile was faster.
            uids.extend(account.email(*id)?.filter(|e| e.mailbox == at).map(|e| e.uid));
        }
        if let Some(to) = patch.mailbox
            && account.mailbox(to)?.is_none()
        {
            return Ok(Err(SetError::invalid(["mailboxIds"]).because("there is no such mailbox")));
        }
    }
    uids.sort_unstable();
    let changes = [
        (FlagsOp::Set, patch.set.clone()),
        (FlagsOp::Add, Some(patch.add.clone()).filter(|f| *f != Flags::default())),
        (FlagsOp::Remove, Some(patch.remove.clone()).filter(|f| *f != Flags::default())),
    ];
    for (op, flags) in changes {
        if let Some(flags) = flags {
            let done = mail.flags(lease, login, at, &uids, op, flags).await;
            if let Err(why) = one(done.map_err(MethodError::from))? {
                return Ok(Err(why));
            }
        }
    }
    if let Some(to) = patch.mailbox {
        let done = mail.mv(lease, login, at, &uids, to).await;
        if let Err(why) = one(done.map_err(MethodError::from))? {
            return Ok(Err(why));
        }
    }
    Ok(Ok(()))
}

async fn destroy(asking: &Asking, id: &str) -> Done<()> {
    let (mail, lease, login) = (asking.web.mail(), &asking.lease, &asking.login);
    let found = match asking.id(id).and_then(jmap::parse_email) {
        Some(id) => mail.email(login, id)?,
        None => None,
    };
    let Some(row) = found else { return Ok(Err(SetError::not_found())) };
    let deleted = Flags::system(Flags::DELETED);
    mail.flags(lease, login, row.mailbox, &[row.uid], FlagsOp::Add, deleted).await?;
    mail.expunge(lease, login, row.mailbox, Some(&[row.uid])).await?;
    Ok(Ok(()))
}

/// RFC 8621 4.8.
pub(super) async fn import(asking: &mut Asking, mut arguments: Arguments) -> Answer {
    let if_in_state: Option<String> = arguments.take("ifInState")?;
    let emails: Map<String, Value> = arguments.take("emails")?.unwrap_or_default();
    arguments.end()?;
    if emails.len() > jmap::SET_MAX {
        return Err(MethodError::RequestTooLarge);
    }
    let old = state(&asking.web.mail().snapshot(&asking.login)?).to_string();
    if if_in_state.is_some_and(|wanted| wanted != old) {
        return Err(MethodError::StateMismatch);
    }
    let (mut created, mut not_created) = (Map::new(), Map::new());
    for (name, object) in emails {
        match import_one(asking, &object).await? {
            Ok(message) => {
                asking.created.insert(name.clone(), jmap::email_id(message.id));
                created.insert(name, made(&message));
            }
            Err(why) => {
                not_created.insert(name, why.to_json());
            }
        }
    }
    let new = state(&asking.web.mail().snapshot(&asking.login)?).to_string();
    let answer = json!({
        "accountId": jmap::account_id(asking.login.account),
        "oldState": old,
        "newState": new,
        "created": created,
        "notCreated": not_created,
    });
    Ok(Answers::from([("Email/import", answer)]))
}

async fn import_one(asking: &Asking, object: &Value) -> Done<Message> {
    let mut object = object.as_object().cloned().unwrap_or_default();
    let blob = object.remove("blobId").unwrap_or_default();
    let place = match Place::take(asking, &mut object) {
        Ok(place) => place,
        Err(why) => return Ok(Err(why)),
    };
    let id = blob.as_str().and_then(|id| asking.id(id)).and_then(BlobId::parse);
    match blob::whole(asking, id).await? {
        Some(bytes) => keep(asking, place, &bytes).await,
        None => Ok(Err(SetError::invalid(["blobId"]).because("there is no such blob"))),
    }
}

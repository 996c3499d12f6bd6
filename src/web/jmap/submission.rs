//! EmailSubmission (RFC 8621 7): sending, now or later, and taking it back until then.
//!
//! Invariants: a submission and its place in the queue are one change; only who may send as an address does;
//! what `onSuccess…` asks for is done after the submission is committed, and its answer follows (7.5).

use super::arguments::{Arguments, got};
use super::objects::parsed;
use super::set::Outcome;
use super::{Answer, Asking, Look, email};
use crate::base::clock;
use crate::mail::{ObjectError, Submission};
use serde_json::{Map, Value, json};
use understudy_proto::jmap::email::addresses;
use understudy_proto::jmap::{self, MethodError, SetError};
use understudy_proto::message::header;
use understudy_proto::objects::{HOLD_MAX, Object, ObjectId, ObjectRefusal, ObjectType};
use understudy_proto::time::{self, UnixMs};

/// Most recipients of one message.
const RECIPIENTS_MAX: usize = 1_000;
const TYPE: ObjectType = ObjectType::EmailSubmission;

type Done<T> = Result<Result<T, SetError>, MethodError>;

pub(super) async fn set(asking: &mut Asking, mut arguments: Arguments) -> Answer {
    let asked = arguments.set()?;
    let on_update: Map<String, Value> = arguments.take("onSuccessUpdateEmail")?.unwrap_or_default();
    let on_destroy: Vec<String> = arguments.take("onSuccessDestroyEmail")?.unwrap_or_default();
    arguments.end()?;
    let old = asking.web.mail().object_state(&asking.login, TYPE)?;
    if asked.if_in_state.as_ref().is_some_and(|wanted| *wanted != old.to_string()) {
        return Err(MethodError::StateMismatch);
    }
    let mut out = Outcome::default();
    // What succeeded: the name by which the client may mean it, and its message.
    let mut sent: Vec<(String, String)> = Vec::new();
    for (name, object) in asked.create {
        match create(asking, &object).await? {
            Ok((id, email, told)) => {
                asking.created.insert(name.clone(), id.clone());
                sent.push((format!("#{name}"), email.clone()));
                sent.push((id, email));
                out.create(name, Ok(told));
            }
            Err(why) => out.create(name, Err(why)),
        }
    }
    for (id, patch) in asked.update {
        let done = update(asking, &id, &patch).await?;
        if let Ok(email) = &done {
            sent.push((id.clone(), email.clone()));
        }
        out.update(id, done.map(|_| Value::Null));
    }
    for id in asked.destroy {
        let done = destroy(asking, &id).await?;
        out.destroy(id, done);
    }
    let new = asking.web.mail().object_state(&asking.login, TYPE)?;
    let account = jmap::account_id(asking.login.account);
    let answer = out.answer(account.clone(), &old.to_string(), &new.to_string());
    let mut answers = vec![("EmailSubmission/set", answer)];
    // RFC 8621 7.5: one Email/set with all of it.
    let of =
        |name: &str| sent.iter().find(|(known, _)| known == name).map(|(_, email)| email.clone());
    let update: Map<String, Value> =
        on_update.into_iter().filter_map(|(name, patch)| Some((of(&name)?, patch))).collect();
    let destroy: Vec<String> = on_destroy.iter().filter_map(|name| of(name)).collect();
    if !(update.is_empty() && destroy.is_empty()) {
        let implied = json!({ "update": update, "destroy": destroy });
        let implied = implied.as_object().cloned().unwrap_or_default();
        match email::set(asking, implied.into()).await {
            Ok(more) => answers.extend(more),
            Err(why) => answers.push(("error", why.to_json())),
        }
    }
    Ok(answers)
}

async fn create(asking: &Asking, object: &Value) -> Done<(String, String, Value)> {
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    let wrong = |name: &str| Ok(Err(SetError::invalid([name])));
    let known = ["identityId", "emailId", "envelope", "sendAt"];
    if let Some(other) =
        object.as_object().into_iter().flatten().find(|(n, _)| !known.contains(&n.as_str()))
    {
        return wrong(other.0);
    }
    let (mail, login) = (asking.web.mail(), &asking.login);
    let email_name = text("emailId").and_then(|id| asking.id(id)).map(str::to_owned);
    let row = match email_name.as_deref().and_then(jmap::parse_email) {
        Some(id) => mail.email(login, id)?.map(|row| (id, row)),
        None => None,
    };
    let (Some((email, row)), Some(email_name)) = (row, email_name) else {
        return Ok(Err(SetError::invalid(["emailId"]).because("there is no such message")));
    };
    let identity = text("identityId").and_then(|id| asking.id(id)).and_then(ObjectId::parse);
    let Some(identity) = identity else { return wrong("identityId") };
    let found = mail.objects(login, ObjectType::Identity, Some(std::slice::from_ref(&identity)))?;
    if found.objects.is_empty() {
        return wrong("identityId");
    }
    let raw = mail.read(login, &row.body, 0..u64::from(row.summary.header_len))?;
    let envelope = match envelope(object.get("envelope"), &raw) {
        Ok(envelope) => envelope,
        Err(why) => return Ok(Err(why)),
    };
    let may = |address: &str| asking.web.directory().may_send_as(login, address);
    let temporary = |e: crate::directory::DirectoryError| {
        log::debug!(err:% = e; "the directory gives no answer");
        MethodError::ServerUnavailable
    };
    // RFC 8621 7.5: the envelope's sender and From are both the account's own.
    if envelope.from.is_empty() || !may(&envelope.from).map_err(temporary)? {
        return Ok(Err(SetError::new("forbiddenMailFrom")));
    }
    for from in header::find(&raw, "From").map(addresses).unwrap_or_default() {
        let address = from.get("email").and_then(Value::as_str).unwrap_or_default();
        if !may(address).map_err(temporary)? {
            return Ok(Err(SetError::new("forbiddenFrom")));
        }
    }
    let now = clock::now_ms();
    let hold_until =
        match text("sendAt").map(time::parse_rfc3339).or_else(|| envelope.hold.map(Some)) {
            None => None,
            Some(None) => return wrong("sendAt"),
            Some(Some(at)) => Some(at).filter(|at| *at > now),
        };
    let furthest = u64::try_from(HOLD_MAX.as_millis()).unwrap_or(u64::MAX);
    if hold_until.is_some_and(|at| at.0 > now.0.saturating_add(furthest)) {
        return wrong("sendAt");
    }
    let send_at = hold_until.unwrap_or(now);
    let kept = json!({
        "identityId": identity.as_str(),
        "emailId": email_name,
        "threadId": jmap::thread_id(mail.snapshot(login)?.message(email)?.map(|m| m.thread).unwrap_or_default()),
        "envelope": {
            "mailFrom": { "email": envelope.from, "parameters": null },
            "rcptTo": envelope.to.iter().map(|to| json!({ "email": to, "parameters": null })).collect::<Vec<_>>(),
        },
        "sendAt": time::utc_date(send_at),
        "undoStatus": "pending",
    });
    let submission = Submission {
        email,
        from: envelope.from,
        to: envelope.to,
        hold_until,
        json: kept.to_string(),
    };
    let written = match mail.submit(&asking.lease, login, submission).await {
        Ok(written) => written,
        Err(ObjectError::Mail(e)) => return Err(e.into()),
        Err(ObjectError::Refused(why)) => {
            let kind = match why {
                ObjectRefusal::TooMuch | ObjectRefusal::TooLarge => "tooManyRecipients",
                ObjectRefusal::Full => "overQuota",
                _ => "forbiddenToSend",
            };
            return Ok(Err(SetError::new(kind).because(why.to_string())));
        }
    };
    let id = written.id.as_str().to_owned();
    let told = json!({
        "id": id,
        "threadId": kept.get("threadId"),
        "sendAt": kept.get("sendAt"),
        "undoStatus": if hold_until.is_some() { "pending" } else { "final" },
    });
    Ok(Ok((id, email_name, told)))
}

struct Envelope {
    from: String,
    to: Vec<String>,
    /// RFC 4865 HOLDFOR and HOLDUNTIL of MAIL.
    hold: Option<UnixMs>,
}

/// RFC 8621 7: as given, or as the message's header says.
fn envelope(given: Option<&Value>, raw: &[u8]) -> Result<Envelope, SetError> {
    let invalid = || SetError::invalid(["envelope"]);
    let text = |value: &Value| {
        let email = value.get("email").and_then(Value::as_str);
        email
            .filter(|e| !e.contains(['<', '>', ' ', '\r', '\n']))
            .map(str::to_owned)
            .ok_or_else(invalid)
    };
    let mut envelope = match given.filter(|g| !g.is_null()) {
        Some(given) => {
            let from = given.get("mailFrom").ok_or_else(invalid)?;
            let parameter = |name: &str| {
                let all = from.get("parameters").and_then(Value::as_object)?;
                let found = all.iter().find(|(n, _)| n.eq_ignore_ascii_case(name))?.1;
                found.as_str().map(str::to_owned)
            };
            let seconds = parameter("HOLDFOR").map(|s| s.parse::<u64>().map_err(|_no| invalid()));
            let hold = match (seconds.transpose()?, parameter("HOLDUNTIL")) {
                (Some(s), _) => {
                    Some(UnixMs(clock::now_ms().0.saturating_add(s.saturating_mul(1_000))))
                }
                (None, Some(at)) => Some(time::parse_rfc3339(&at).ok_or_else(invalid)?),
                (None, None) => None,
            };
            let to = given.get("rcptTo").and_then(Value::as_array).ok_or_else(invalid)?;
            let to = to.iter().map(text).collect::<Result<Vec<_>, _>>()?;
            Envelope { from: text(from)?, to, hold }
        }
        None => {
            let of = |name: &str| header::find(raw, name).map(addresses).unwrap_or_default();
            let from = of("Sender").into_iter().chain(of("From")).next().ok_or_else(invalid)?;
            let to = ["To", "Cc", "Bcc"].iter().flat_map(|name| of(name));
            let to = to.map(|a| text(&a)).collect::<Result<Vec<_>, _>>()?;
            Envelope { from: text(&from)?, to, hold: None }
        }
    };
    let mut seen = std::collections::BTreeSet::new();
    envelope.to.retain(|to| !to.is_empty() && seen.insert(to.to_lowercase()));
    if envelope.to.is_empty() {
        return Err(SetError::new("noRecipients"));
    }
    if envelope.to.len() > RECIPIENTS_MAX {
        return Err(SetError::new("tooManyRecipients").with("maxRecipients", json!(RECIPIENTS_MAX)));
    }
    if let Some(bad) = envelope.to.iter().find(|to| !to.contains('@')) {
        return Err(SetError::new("invalidRecipients").with("invalidRecipients", json!([bad])));
    }
    Ok(envelope)
}

fn find(asking: &Asking, id: &str) -> Result<Option<Object>, MethodError> {
    let Some(id) = asking.id(id).and_then(ObjectId::parse) else { return Ok(None) };
    let found = asking.web.mail().objects(&asking.login, TYPE, Some(std::slice::from_ref(&id)))?;
    Ok(found.objects.into_iter().next())
}

/// The only change: `undoStatus` becomes `canceled`. Gives the id of its message.
async fn update(asking: &Asking, id: &str, patch: &Value) -> Done<String> {
    let Some(object) = find(asking, id)? else { return Ok(Err(SetError::not_found())) };
    let mut kept = parsed(&object);
    let email = kept.get("emailId").and_then(Value::as_str).unwrap_or_default().to_owned();
    let patch = patch.as_object().cloned().unwrap_or_default();
    if let Some(other) = patch.keys().find(|name| *name != "undoStatus") {
        return Ok(Err(SetError::invalid([other.clone()])));
    }
    match patch.get("undoStatus").and_then(Value::as_str) {
        Some("canceled") if kept.get("undoStatus") == Some(&json!("canceled")) => {
            return Ok(Ok(email));
        }
        Some("canceled") => {}
        _ => return Ok(Err(SetError::invalid(["undoStatus"]))),
    }
    kept.insert("undoStatus".into(), json!("canceled"));
    let json = Value::Object(kept).to_string();
    match asking.web.mail().unsend(&asking.lease, &asking.login, &object.id, json).await {
        Ok(_) => Ok(Ok(email)),
        Err(ObjectError::Mail(e)) => Err(e.into()),
        Err(ObjectError::Refused(_)) => {
            Ok(Err(SetError::new("cannotUnsend").because("it has been sent")))
        }
    }
}

/// What is told of a submission goes; what is on its way does not come back.
async fn destroy(asking: &Asking, id: &str) -> Done<()> {
    let Some(object) = find(asking, id)? else { return Ok(Err(SetError::not_found())) };
    let (mail, login) = (asking.web.mail(), &asking.login);
    let done = mail.set_objects(&asking.lease, login, TYPE, None, vec![], vec![object.id]).await;
    match done {
        Ok(mut done) => Ok(match done.destroyed.pop() {
            Some(Err(why)) => Err(SetError::new("forbidden").because(why.to_string())),
            _ => Ok(()),
        }),
        Err(ObjectError::Mail(e)) => Err(e.into()),
        Err(ObjectError::Refused(why)) => {
            Ok(Err(SetError::new("forbidden").because(why.to_string())))
        }
    }
}

/// A submission as clients see it.
fn shown(look: &Look, object: &Object) -> Result<Value, MethodError> {
    let mut kept = parsed(object);
    let cancelled = kept.get("undoStatus") == Some(&json!("canceled"));
    let items = look.web.mail().submission_items(&look.login, &object.id)?;
    let now = clock::now_ms();
    let held = items.iter().any(|i| i.attempts == 0 && i.next > now);
    if !cancelled {
        kept.insert("undoStatus".into(), json!(if held { "pending" } else { "final" }));
    }
    let status: Map<String, Value> = items
        .iter()
        .flat_map(|item| item.to.iter().map(move |to| (to, item)))
        .map(|(to, item)| {
            let reply = if item.reason.is_empty() { "250 2.0.0 queued" } else { &item.reason };
            (
                to.clone(),
                json!({ "smtpReply": reply, "delivered": "queued", "displayed": "unknown" }),
            )
        })
        .collect();
    kept.insert("id".into(), json!(object.id.as_str()));
    kept.insert(
        "deliveryStatus".into(),
        if status.is_empty() { Value::Null } else { json!(status) },
    );
    kept.insert("dsnBlobIds".into(), json!([]));
    kept.insert("mdnBlobIds".into(), json!([]));
    Ok(Value::Object(kept))
}

pub(super) fn get(look: &Look, mut arguments: Arguments) -> Result<Value, MethodError> {
    let asked = arguments.get()?;
    arguments.end()?;
    asked.only(&[
        "id",
        "identityId",
        "emailId",
        "threadId",
        "envelope",
        "sendAt",
        "undoStatus",
        "deliveryStatus",
        "dsnBlobIds",
        "mdnBlobIds",
    ])?;
    let real = |id: &String| look.created.get(id.trim_start_matches('#')).unwrap_or(id).clone();
    let ids: Option<Vec<(String, Option<ObjectId>)>> = asked
        .ids
        .as_ref()
        .map(|all| all.iter().map(|id| (id.clone(), ObjectId::parse(&real(id)))).collect());
    let wanted: Option<Vec<ObjectId>> =
        ids.as_ref().map(|all| all.iter().filter_map(|(_, id)| id.clone()).collect());
    let found = look.web.mail().objects(&look.login, TYPE, wanted.as_deref())?;
    let mut list = Vec::new();
    for object in &found.objects {
        list.push(asked.project(shown(look, object)?));
    }
    let there = |id: &Option<ObjectId>| {
        id.as_ref().is_some_and(|id| found.objects.iter().any(|o| o.id == *id))
    };
    let missing =
        ids.into_iter().flatten().filter(|(_, id)| !there(id)).map(|(name, _)| name).collect();
    Ok(got(look.account_id(), &found.state.to_string(), list, missing))
}

/// RFC 8621 7.3: few are kept, so they are looked through one by one.
pub(super) fn query(look: &Look, mut arguments: Arguments) -> Result<Value, MethodError> {
    let filter: Map<String, Value> = arguments.take("filter")?.unwrap_or_default();
    let sort: Vec<Value> = arguments.take("sort")?.unwrap_or_default();
    let position: usize = arguments.take("position")?.unwrap_or(0);
    let limit: Option<usize> = arguments.take("limit")?;
    let total = arguments.flag("calculateTotal")?;
    arguments.end()?;
    let found = look.web.mail().objects(&look.login, TYPE, None)?;
    let mut all = Vec::new();
    for object in &found.objects {
        all.push(shown(look, object)?);
    }
    for (name, wanted) in filter {
        let property = match name.as_str() {
            "identityIds" => "identityId",
            "emailIds" => "emailId",
            "threadIds" => "threadId",
            "undoStatus" => "undoStatus",
            "before" | "after" => "sendAt",
            other => {
                return Err(MethodError::UnsupportedFilter(format!("{other} is no condition")));
            }
        };
        all.retain(|o| {
            let has = o.get(property).unwrap_or(&Value::Null);
            match (name.as_str(), &wanted) {
                ("before", Value::String(at)) => has.as_str().is_some_and(|h| h < at.as_str()),
                ("after", Value::String(at)) => has.as_str().is_some_and(|h| h >= at.as_str()),
                (_, Value::Array(any)) => any.contains(has),
                (_, one) => one == has,
            }
        });
    }
    let by =
        sort.first().and_then(|s| s.get("property")).and_then(Value::as_str).unwrap_or("sentAt");
    let property = match by {
        "sentAt" | "sendAt" => "sendAt",
        "emailId" => "emailId",
        "threadId" => "threadId",
        other => return Err(MethodError::UnsupportedSort(format!("nothing is sorted by {other}"))),
    };
    all.sort_by_key(|o| o.get(property).and_then(Value::as_str).unwrap_or_default().to_owned());
    if sort.first().and_then(|s| s.get("isAscending")) == Some(&json!(false)) {
        all.reverse();
    }
    let ids: Vec<&Value> = all
        .iter()
        .filter_map(|o| o.get("id"))
        .skip(position)
        .take(limit.unwrap_or(usize::MAX))
        .collect();
    let mut answer = json!({
        "accountId": look.account_id(),
        "queryState": found.state.to_string(),
        "canCalculateChanges": false,
        "position": position,
        "ids": ids,
    });
    if let (true, Some(map)) = (total, answer.as_object_mut()) {
        map.insert("total".into(), json!(all.len()));
    }
    Ok(answer)
}

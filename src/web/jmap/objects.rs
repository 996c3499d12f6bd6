//! Identity, VacationResponse, AddressBook, ContactCard, Preferences (RFC 8621 6 and 8, RFC 9610): what is
//! kept as JSON. What each may say is `understudy_proto::jmap::objects`.
//!
//! Invariant: everybody has an identity and an address book: the first look makes them. Deliberately absent:
//! sharing.

use super::super::Web;
use super::arguments::Arguments;
use super::set::Outcome;
use super::{Answer, Asking, blocking};
use crate::base::{clock, secret};
use crate::directory::Login;
use crate::mail::{MailError, ObjectError};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use understudy_proto::id::ModSeq;
use understudy_proto::jmap::objects::{self as rules, Comparator, Context, Kept};
use understudy_proto::jmap::{self, MethodError, SetError};
use understudy_proto::objects::{NewObject, Object, ObjectId, ObjectRefusal, ObjectType};

/// Types whose states are told to those who follow the account.
const FOLLOWED: [ObjectType; 6] = [
    ObjectType::Identity,
    ObjectType::VacationResponse,
    ObjectType::AddressBook,
    ObjectType::ContactCard,
    ObjectType::EmailSubmission,
    ObjectType::Preferences,
];
/// Most changes in one answer of `/changes`.
const CHANGES_MAX: usize = 1_000;

/// The state of each type.
pub(super) fn states(web: &Web, login: &Login) -> Result<Vec<(&'static str, String)>, MailError> {
    let state = |t: ObjectType| Ok((t.name(), web.mail().object_state(login, t)?.to_string()));
    FOLLOWED.into_iter().map(state).collect()
}

pub(super) async fn call(asking: &mut Asking, name: &str, arguments: Arguments) -> Answer {
    let (object_type, method) = name.split_once('/').unwrap_or((name, ""));
    let unknown = MethodError::UnknownMethod;
    let Some(
        object_type @ (ObjectType::Identity
        | ObjectType::VacationResponse
        | ObjectType::AddressBook
        | ObjectType::ContactCard
        | ObjectType::Preferences),
    ) = ObjectType::by_name(object_type)
    else {
        return Err(unknown);
    };
    match (object_type, method) {
        (_, "get") => get(asking, object_type, arguments).await,
        (_, "set") => set(asking, object_type, arguments).await,
        (ObjectType::VacationResponse, _) => Err(unknown),
        (_, "changes") => changes(asking, object_type, arguments),
        (ObjectType::ContactCard, "query") => query(asking, arguments).await,
        _ => Err(unknown),
    }
}

fn answer_name(object_type: ObjectType, method: &'static str) -> &'static str {
    match (object_type, method) {
        (ObjectType::Identity, "get") => "Identity/get",
        (ObjectType::Identity, "set") => "Identity/set",
        (ObjectType::Identity, _) => "Identity/changes",
        (ObjectType::VacationResponse, "get") => "VacationResponse/get",
        (ObjectType::VacationResponse, _) => "VacationResponse/set",
        (ObjectType::AddressBook, "get") => "AddressBook/get",
        (ObjectType::AddressBook, "set") => "AddressBook/set",
        (ObjectType::AddressBook, _) => "AddressBook/changes",
        (ObjectType::ContactCard, "get") => "ContactCard/get",
        (ObjectType::ContactCard, "set") => "ContactCard/set",
        (ObjectType::ContactCard, _) => "ContactCard/changes",
        (ObjectType::EmailSubmission, _) => "EmailSubmission/changes",
        (_, "get") => "Preferences/get",
        (_, "set") => "Preferences/set",
        (_, _) => "Preferences/changes",
    }
}

pub(super) fn parsed(object: &Object) -> Map<String, Value> {
    // It was checked before it was kept; what cannot be read shows its defaults.
    serde_json::from_str(&object.json).unwrap_or_default()
}

async fn get(asking: &Asking, object_type: ObjectType, mut arguments: Arguments) -> Answer {
    let asked = arguments.get()?;
    arguments.end()?;
    begin(asking, object_type).await?;
    let ids: Option<Vec<ObjectId>> = asked
        .ids
        .as_ref()
        .map(|ids| ids.iter().filter_map(|id| asking.id(id)).filter_map(ObjectId::parse).collect());
    let found = asking.web.mail().objects(&asking.login, object_type, ids.as_deref())?;
    let mut by_id: BTreeMap<String, Map<String, Value>> =
        found.objects.iter().map(|o| (o.id.as_str().to_owned(), parsed(o))).collect();
    let single = ObjectId::singleton();
    let wants_single =
        asked.ids.as_ref().is_none_or(|ids| ids.iter().any(|i| i == single.as_str()));
    if rules::is_singleton(object_type) && wants_single {
        by_id.entry(single.as_str().to_owned()).or_insert_with(|| rules::defaults(object_type));
    }
    let mut list = Vec::with_capacity(by_id.len());
    for (id, kept) in &by_id {
        let shown = rules::show(object_type, id, kept, asked.properties.as_deref());
        let unknown = |names: Vec<String>| {
            MethodError::argument(format!("there is no property {}", names.join(", ")))
        };
        list.push(Value::Object(shown.map_err(unknown)?));
    }
    let missing: Vec<&String> = asked
        .ids
        .iter()
        .flatten()
        .filter(|id| !asking.id(id).is_some_and(|id| by_id.contains_key(id)))
        .collect();
    let answer = json!({
        "accountId": jmap::account_id(asking.login.account),
        "state": found.state.to_string(),
        "list": list,
        "notFound": missing,
    });
    Ok(vec![(answer_name(object_type, "get"), answer)])
}

/// The first look at a type of which everybody has one makes it.
async fn begin(asking: &Asking, object_type: ObjectType) -> Result<(), MethodError> {
    let (mail, login) = (asking.web.mail(), &asking.login);
    let first = match object_type {
        ObjectType::Identity => json!({ "name": "", "email": login.address }),
        // RFC 9610 2: its name is the client's to show; people rename it.
        ObjectType::AddressBook | ObjectType::ContactCard => json!({ "name": "Kontakte" }),
        _ => return Ok(()),
    };
    let object_type =
        if object_type == ObjectType::ContactCard { ObjectType::AddressBook } else { object_type };
    let state = mail.object_state(login, object_type)?;
    if state != ModSeq(0) {
        return Ok(());
    }
    let given = first.as_object().cloned().unwrap_or_default();
    let books = BTreeSet::new();
    let kept = with_context(asking, &books, |context| rules::create(object_type, &given, context));
    let Ok(mut kept) = kept else { return Ok(()) };
    if object_type == ObjectType::AddressBook {
        kept.json.insert("isDefault".into(), json!(true));
    }
    let json = Value::Object(kept.json).to_string();
    let new = NewObject { id: None, json, if_modseq: None };
    // Somebody else may have been first: then there is one.
    match mail.set_objects(&asking.lease, login, object_type, Some(state), vec![new], vec![]).await
    {
        Ok(_) | Err(ObjectError::Refused(_)) => Ok(()),
        Err(ObjectError::Mail(e)) => Err(e.into()),
    }
}

fn with_context<T>(
    asking: &Asking,
    books: &BTreeSet<String>,
    check: impl FnOnce(&Context<'_>) -> T,
) -> T {
    let directory = asking.web.directory();
    let context = Context {
        now: clock::now_ms(),
        random: secret::random(),
        may_send_as: &|address| directory.may_send_as(&asking.login, address).unwrap_or(false),
        is_address_book: &|id| books.contains(id),
    };
    check(&context)
}

pub(super) fn changes(asking: &Asking, object_type: ObjectType, arguments: Arguments) -> Answer {
    let asked = arguments.changes()?;
    let mail = asking.web.mail();
    let since: u64 = asked.since.parse().map_err(|_no| MethodError::CannotCalculateChanges)?;
    let most = asked.max.unwrap_or(CHANGES_MAX).min(CHANGES_MAX);
    let told = mail.object_changes(&asking.login, object_type, ModSeq(since), most)?;
    let told = told.ok_or(MethodError::CannotCalculateChanges)?;
    let ids = |all: Vec<ObjectId>| all.iter().map(|id| id.as_str().to_owned()).collect::<Vec<_>>();
    let answer = json!({
        "accountId": jmap::account_id(asking.login.account),
        "oldState": asked.since,
        "newState": told.to.to_string(),
        "hasMoreChanges": told.more,
        "created": ids(told.created),
        "updated": ids(told.updated),
        "destroyed": ids(told.destroyed),
    });
    Ok(vec![(answer_name(object_type, "changes"), answer)])
}

/// One object that is to be written.
struct Wish {
    /// What the client calls it: a creation's name, or an id.
    name: String,
    is_new: bool,
    told: Map<String, Value>,
    object: NewObject,
}

async fn set(asking: &mut Asking, object_type: ObjectType, mut arguments: Arguments) -> Answer {
    let asked = arguments.set()?;
    // RFC 9610 2.3; cards go with their book only where the client says so.
    let with_cards = arguments.flag("onDestroyRemoveContents")?;
    let default: Option<String> = arguments.take("onSuccessSetIsDefault")?;
    arguments.end()?;
    begin(asking, object_type).await?;
    let (mail, login) = (asking.web.mail().clone(), asking.login.clone());
    let old = mail.object_state(&login, object_type)?;
    if asked.if_in_state.as_ref().is_some_and(|wanted| *wanted != old.to_string()) {
        return Err(MethodError::StateMismatch);
    }
    let books: BTreeSet<String> = match object_type {
        ObjectType::ContactCard => mail
            .objects(&login, ObjectType::AddressBook, None)?
            .objects
            .iter()
            .map(|o| o.id.as_str().to_owned())
            .collect(),
        _ => BTreeSet::new(),
    };
    let mut out = Outcome::default();
    let mut wishes = Vec::new();
    for (name, mut given) in asked.create {
        name_books(asking, object_type, &mut given);
        let given = given.as_object().cloned().unwrap_or_default();
        let kept = with_context(asking, &books, |c| rules::create(object_type, &given, c));
        match kept {
            Ok(Kept { json, told }) => {
                let json = Value::Object(json).to_string();
                let object = NewObject { id: None, json, if_modseq: None };
                wishes.push(Wish { name, is_new: true, told, object });
            }
            Err(why) => out.create(name, Err(rule(&why))),
        }
    }
    for (name, mut patch) in asked.update {
        name_books(asking, object_type, &mut patch);
        match changed(asking, object_type, (&name, &patch), &books)? {
            Ok((object, told)) => wishes.push(Wish { name, is_new: false, told, object }),
            Err(why) => out.update(name, Err(why)),
        }
    }
    let mut destroy = Vec::new();
    for name in asked.destroy {
        let id = asking.id(&name).and_then(ObjectId::parse);
        let allowed = id.ok_or_else(SetError::not_found).and_then(|id| {
            rules::destroy(object_type, id.as_str()).map_err(|why| rule(&why)).map(|()| id)
        });
        let allowed = match allowed {
            Ok(id) if object_type == ObjectType::AddressBook => {
                emptied(asking, &id, with_cards).await?.map(|()| id)
            }
            other => other,
        };
        match allowed {
            Ok(id) => destroy.push((name, id)),
            Err(why) => out.destroy(name, Err(why)),
        }
    }
    let put: Vec<NewObject> = wishes.iter().map(|w| w.object.clone()).collect();
    let ids: Vec<ObjectId> = destroy.iter().map(|(_, id)| id.clone()).collect();
    let mut new = old;
    if !(put.is_empty() && ids.is_empty()) {
        let done = mail.set_objects(&asking.lease, &login, object_type, None, put, ids).await;
        let done = match done {
            Ok(done) => done,
            Err(ObjectError::Mail(e)) => return Err(e.into()),
            Err(ObjectError::Refused(why)) => return Err(MethodError::argument(why.to_string())),
        };
        new = done.new;
        for (wish, done) in wishes.into_iter().zip(done.put) {
            let Wish { name, is_new, told, .. } = wish;
            match done {
                Ok(written) if is_new => {
                    let id = written.id.as_str().to_owned();
                    let mut object = told;
                    object.insert("id".into(), json!(id));
                    asking.created.insert(name.clone(), id);
                    out.create(name, Ok(Value::Object(object)));
                }
                Ok(_) if told.is_empty() => out.update(name, Ok(Value::Null)),
                Ok(_) => out.update(name, Ok(Value::Object(told))),
                Err(why) if is_new => out.create(name, Err(refusal(&why))),
                Err(why) => out.update(name, Err(refusal(&why))),
            }
        }
        for ((name, _), done) in destroy.into_iter().zip(done.destroyed) {
            out.destroy(name, done.map_err(|why| refusal(&why)));
        }
    }
    if let Some(id) = default.as_deref().and_then(|id| asking.id(id)).and_then(ObjectId::parse) {
        new = make_default(asking, &id).await?.unwrap_or(new);
    }
    let account = jmap::account_id(login.account);
    let answer = out.answer(account, &old.to_string(), &new.to_string());
    Ok(vec![(answer_name(object_type, "set"), answer)])
}

/// A card may name a book that this request made by the client's name for it.
fn name_books(asking: &Asking, object_type: ObjectType, object: &mut Value) {
    if object_type != ObjectType::ContactCard {
        return;
    }
    if let Some(Value::Object(books)) = object.get_mut("addressBookIds") {
        let named = std::mem::take(books);
        *books = named
            .into_iter()
            .map(|(id, v)| (asking.id(&id).map(str::to_owned).unwrap_or(id), v))
            .collect();
    }
}

/// An object after a patch, and what the client does not know of it.
type Changed = (NewObject, Map<String, Value>);

fn changed(
    asking: &Asking,
    object_type: ObjectType,
    (name, patch): (&str, &Value),
    books: &BTreeSet<String>,
) -> Result<Result<Changed, SetError>, MethodError> {
    let Some(id) = asking.id(name).and_then(ObjectId::parse) else {
        return Ok(Err(SetError::not_found()));
    };
    let found =
        asking.web.mail().objects(&asking.login, object_type, Some(std::slice::from_ref(&id)))?;
    let (before, modseq) = match found.objects.first() {
        Some(object) => (parsed(object), object.modseq),
        None if rules::is_singleton(object_type) && id == ObjectId::singleton() => {
            (rules::defaults(object_type), ModSeq(0))
        }
        None => return Ok(Err(SetError::not_found())),
    };
    let Some(patch) = patch.as_object() else { return Ok(Err(SetError::new("invalidPatch"))) };
    let kept = with_context(asking, books, |context| {
        rules::update(object_type, &before, (id.as_str(), patch), context)
    });
    Ok(kept.map_err(|why| rule(&why)).map(|Kept { json, told }| {
        let json = Value::Object(json).to_string();
        (NewObject { id: Some(id), json, if_modseq: Some(modseq) }, told)
    }))
}

/// RFC 9610 2.3: a book with cards stays, unless they are to go with it.
async fn emptied(
    asking: &Asking,
    book: &ObjectId,
    with_cards: bool,
) -> Result<Result<(), SetError>, MethodError> {
    let (mail, login) = (asking.web.mail(), &asking.login);
    let cards = mail.objects(login, ObjectType::ContactCard, None)?.objects;
    let inside = |card: &&Object| {
        parsed(card).get("addressBookIds").is_some_and(|all| all.get(book.as_str()).is_some())
    };
    let ids: Vec<ObjectId> = cards.iter().filter(inside).map(|c| c.id.clone()).collect();
    if ids.is_empty() {
        return Ok(Ok(()));
    }
    if !with_cards {
        return Ok(Err(SetError::new("addressBookHasContents")));
    }
    let done = mail.set_objects(&asking.lease, login, ObjectType::ContactCard, None, vec![], ids);
    match done.await {
        Ok(_) => Ok(Ok(())),
        Err(ObjectError::Mail(e)) => Err(e.into()),
        Err(ObjectError::Refused(why)) => Ok(Err(refusal(&why))),
    }
}

/// RFC 9610 2.3 `onSuccessSetIsDefault`.
async fn make_default(asking: &Asking, id: &ObjectId) -> Result<Option<ModSeq>, MethodError> {
    let (mail, login) = (asking.web.mail(), &asking.login);
    let found = mail.objects(login, ObjectType::AddressBook, None)?.objects;
    if !found.iter().any(|o| o.id == *id) {
        return Ok(None);
    }
    let mut put = Vec::new();
    for object in found {
        let mut json = parsed(&object);
        let is = json.get("isDefault") == Some(&json!(true));
        if is != (object.id == *id) {
            json.insert("isDefault".into(), json!(!is));
            let json = Value::Object(json).to_string();
            put.push(NewObject { id: Some(object.id), json, if_modseq: Some(object.modseq) });
        }
    }
    if put.is_empty() {
        return Ok(None);
    }
    match mail.set_objects(&asking.lease, login, ObjectType::AddressBook, None, put, vec![]).await {
        Ok(done) => Ok(Some(done.new)),
        Err(ObjectError::Mail(e)) => Err(e.into()),
        Err(ObjectError::Refused(_)) => Ok(None),
    }
}

fn rule(why: &rules::SetError) -> SetError {
    match why {
        rules::SetError::InvalidProperties(names) => SetError::invalid(names.iter().cloned()),
        rules::SetError::InvalidPatch(why) => {
            SetError::new("invalidPatch").because(why.to_string())
        }
        rules::SetError::Singleton => SetError::new("singleton"),
        rules::SetError::ForbiddenFrom => SetError::new("forbiddenFrom"),
        rules::SetError::Forbidden => SetError::new("forbidden"),
    }
}

fn refusal(why: &ObjectRefusal) -> SetError {
    let kind = match why {
        ObjectRefusal::NotFound => "notFound",
        ObjectRefusal::TooLarge | ObjectRefusal::TooMuch => "tooLarge",
        ObjectRefusal::Full => "overQuota",
        ObjectRefusal::Changed => "stateMismatch",
        _ => "forbidden",
    };
    SetError::new(kind).because(why.to_string())
}

/// RFC 9610 3.3.
async fn query(asking: &Asking, mut arguments: Arguments) -> Answer {
    let filter: Value = arguments.take("filter")?.unwrap_or_default();
    let sort: Value = arguments.take("sort")?.unwrap_or_default();
    let position: usize = arguments.take("position")?.unwrap_or(0);
    let limit: Option<usize> = arguments.take("limit")?;
    let total = arguments.flag("calculateTotal")?;
    arguments.end()?;
    let filter = rules::filter(&filter)?;
    let sort = Comparator::parse(&sort)?;
    let (web, login) = (asking.web.clone(), asking.login.clone());
    let account = jmap::account_id(login.account);
    let answer = blocking(move || {
        let found = web.mail().objects(&login, ObjectType::ContactCard, None)?;
        let mut cards: Vec<(Map<String, Value>, Object)> =
            found.objects.into_iter().map(|o| (parsed(&o), o)).collect();
        cards.retain(|(card, object)| rules::holds(&filter, card, object));
        cards.sort_by(|a, b| Comparator::compare(&sort, (&a.0, &a.1), (&b.0, &b.1)));
        let ids: Vec<&str> = cards
            .iter()
            .skip(position)
            .take(limit.unwrap_or(usize::MAX))
            .map(|(_, object)| object.id.as_str())
            .collect();
        let mut answer = json!({
            "accountId": account,
            "queryState": found.state.to_string(),
            "canCalculateChanges": false,
            "position": position,
            "ids": ids,
        });
        if let (true, Some(all)) = (total, answer.as_object_mut()) {
            all.insert("total".into(), json!(cards.len()));
        }
        Ok(answer)
    })
    .await?;
    Ok(vec![("ContactCard/query", answer)])
}

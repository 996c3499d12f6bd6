//! Thread/get and Thread/changes (RFC 8621 3).

use super::arguments::{Arguments, Told, got, known};
use super::{Look, email};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use understudy_proto::jmap::{self, MethodError};

pub(super) fn get(look: &Look, mut arguments: Arguments) -> Result<Value, MethodError> {
    let asked = arguments.get()?;
    arguments.end()?;
    asked.only(&["id", "emailIds"])?;
    // RFC 8620 5.1: all threads of an account are more than one answer holds.
    let ids = asked.ids.as_ref().ok_or(MethodError::RequestTooLarge)?;
    let (mut list, mut not_found) = (Vec::new(), Vec::new());
    let listing = look.account.listing()?;
    for id in ids {
        let emails = match jmap::parse_thread(id) {
            Some(thread) => look.account.thread(thread)?,
            None => Vec::new(),
        };
        if emails.is_empty() {
            not_found.push(id.clone());
            continue;
        }
        // RFC 8621 3: oldest first by when they came.
        let mut emails: Vec<_> = emails
            .into_iter()
            .map(|email| (listing.get(email).map(|m| m.received), email))
            .collect();
        emails.sort_unstable();
        let ids: Vec<String> = emails.into_iter().map(|(_, email)| jmap::email_id(email)).collect();
        list.push(asked.project(json!({ "id": id, "emailIds": ids })));
    }
    let state = email::state(&look.account).to_string();
    Ok(got(look.account_id(), &state, list, not_found))
}

pub(super) fn changes(look: &Look, arguments: Arguments) -> Result<Value, MethodError> {
    let asked = arguments.changes()?;
    let now = email::state(&look.account);
    let since = known(&asked.since, now)?;
    let told = look.account.since(since.modseq)?.ok_or(MethodError::CannotCalculateChanges)?;
    let listing = look.account.listing()?;
    let mut threads = BTreeSet::new();
    threads.extend(told.emails.iter().filter_map(|id| listing.get(*id)).map(|m| m.thread));
    threads.extend(told.gone.emails.iter().map(|(_, thread)| *thread));
    let mut out = Told::default();
    for thread in threads {
        let (id, new) = (jmap::thread_id(thread), thread.0 > since.counter);
        match (look.account.thread(thread)?.is_empty(), new) {
            (false, true) => out.created.push(id),
            (false, false) => out.updated.push(id),
            (true, false) => out.destroyed.push(id),
            // It came and went since.
            (true, true) => {}
        }
    }
    out.answer(look.account_id(), &asked, &now.to_string())
}

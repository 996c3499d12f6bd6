//! Events (RFC 8620 7.3): which types have changed, as soon as it is visible.
//!
//! Invariants: the present states come first, so that whoever comes back misses nothing; a stream ends with
//! its credential, with the lease and at notice, and the client comes back (to the other appliance, if that is
//! where the address is). Changes that come in a burst are told together.

use super::super::Web;
use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::stream::Chunks;
use super::{email, mailbox, objects, quota};
use crate::base::task;
use crate::directory::Login;
use crate::mail::MailError;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio::sync::mpsc;
use understudy_proto::jmap;

/// A client is spoken to at least this often, whatever it asks for,
const PING_MAX: Duration = Duration::from_secs(30);
/// and at most so often.
const PING_MIN: Duration = Duration::from_secs(1);
/// Changes that come within it are told together.
pub(super) const BURST: Duration = Duration::from_millis(50);

#[derive(Deserialize)]
pub(super) struct Wanted {
    types: Option<String>,
    closeafter: Option<String>,
    ping: Option<u64>,
}

pub(super) async fn events(
    State(web): State<Web>,
    Query(wanted): Query<Wanted>,
    caller: Caller,
) -> Response {
    let types = match wanted.types.as_deref() {
        None | Some("*" | "") => None,
        Some(types) => Some(types.split(',').map(str::to_owned).collect::<Vec<_>>()),
    };
    let once = wanted.closeafter.as_deref() == Some("state");
    let ping = wanted.ping.filter(|s| *s > 0).map_or(PING_MAX, Duration::from_secs);
    let ping = ping.clamp(PING_MIN, PING_MAX);
    let over = caller.over();
    let stream = Stream { ping, ..Stream::new(web, caller.login, types) };
    // Before anything is told: a stream that cannot begin says so.
    if let Err(e) = stream.states() {
        log::debug!(err:% = e; "events cannot be told now");
        return Failure::NotHere.into_response();
    }
    let (out, chunks) = mpsc::channel(4);
    drop(task::spawn("jmap-events", async move {
        tokio::select! {
            () = over => {}
            () = out.closed() => {}
            () = stream.run(&out, once) => {}
        }
    }));
    let mut response = Body::new(Chunks(chunks)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Somebody who follows an account.
pub(super) struct Stream {
    web: Web,
    login: Login,
    types: Option<Vec<String>>,
    ping: Duration,
}

impl Stream {
    pub(super) fn new(web: Web, login: Login, types: Option<Vec<String>>) -> Self {
        Self { web, login, types, ping: PING_MAX }
    }

    /// The states that are not as they were told; `None`: all are.
    pub(super) fn changed(
        told: &Map<String, Value>,
        now: &Map<String, Value>,
    ) -> Option<Map<String, Value>> {
        let new = now.iter().filter(|(name, state)| told.get(*name) != Some(state));
        let changed: Map<String, Value> = new.map(|(n, s)| (n.clone(), s.clone())).collect();
        (!changed.is_empty()).then_some(changed)
    }

    async fn run(&self, out: &mpsc::Sender<Result<Vec<u8>, MailError>>, once: bool) {
        let mut changes = self.web.mail().watch(&self.login);
        let mut told = Map::new();
        loop {
            // Before the look: what comes after it is looked at again.
            changes.mark_unchanged();
            let now = match self.states() {
                Ok(now) => now,
                // The client comes back.
                Err(_unreadable) => return,
            };
            if let Some(changed) = Self::changed(&told, &now) {
                let account = jmap::account_id(self.login.account);
                let event = json!({ "@type": "StateChange", "changed": { account: changed } });
                let text = format!("event: state\ndata: {event}\n\n");
                if out.send(Ok(text.into_bytes())).await.is_err() || once {
                    return;
                }
                told = now;
            }
            loop {
                match tokio::time::timeout(self.ping, changes.changed()).await {
                    Ok(Ok(())) => break,
                    // The store is gone, and the process with it.
                    Ok(Err(_)) => return,
                    Err(_quiet) => {
                        let ping = format!(
                            "event: ping\ndata: {{\"interval\":{}}}\n\n",
                            self.ping.as_secs()
                        );
                        if out.send(Ok(ping.into_bytes())).await.is_err() {
                            return;
                        }
                    }
                }
            }
            tokio::time::sleep(BURST).await;
        }
    }

    pub(super) fn states(&self) -> Result<Map<String, Value>, MailError> {
        let account = self.web.mail().snapshot(&self.login)?;
        let mail = email::state(&account).to_string();
        let mut all = Map::from_iter([
            ("Email".to_owned(), json!(mail)),
            ("Thread".to_owned(), json!(mail)),
            ("Mailbox".to_owned(), json!(mailbox::state(&account).to_string())),
            ("Quota".to_owned(), json!(quota::state(&account)?)),
        ]);
        for (name, state) in objects::states(&self.web, &self.login)? {
            all.insert(name.to_owned(), json!(state));
        }
        if let Some(types) = &self.types {
            all.retain(|name, _| types.contains(name));
        }
        Ok(all)
    }
}

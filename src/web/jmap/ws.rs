//! JMAP over a WebSocket (RFC 8887): requests, one after the other, and what has changed between them.
//!
//! Invariants: a page of another origin can open one and has the person's cookie sent, but says its origin: it
//! must be ours wherever there is one, and there must be one with a cookie. Nothing queues here: a request is
//! read when the one before is answered, changes are told as the states are then. It ends like a stream of
//! events ([`Caller::over`]). Deliberately absent: RFC 8441 (over HTTP/2), compression.

use super::super::Web;
use super::super::caller::Caller;
use super::super::failure::Failure;
use super::push::{BURST, Stream};
use super::{Asking, answer};
use crate::base::clock;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use std::pin::pin;
use std::time::Duration;
use tokio::time::timeout;
use understudy_proto::jmap::{self, REQUEST_LEN_MAX, Request, RequestError};

/// RFC 8887 4.1.
const PROTOCOL: &str = "jmap";
/// A client is asked so often whether it is still there,
const PING_EVERY: Duration = Duration::from_secs(30);
/// and is gone when it has said nothing for so long, or takes nothing.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// Bytes of answers that wait for a client.
const WRITE_LEN_MAX: usize = 64 << 20;

pub(super) async fn open(
    State(web): State<Web>,
    headers: HeaderMap,
    caller: Caller,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !may_open(&headers, caller.session.is_some()) {
        return Failure::NotAllowed.into_response();
    }
    let upgrade = upgrade
        .protocols([PROTOCOL])
        .max_message_size(REQUEST_LEN_MAX)
        .max_frame_size(REQUEST_LEN_MAX)
        .max_write_buffer_size(WRITE_LEN_MAX);
    if upgrade.selected_protocol().is_none() {
        return (StatusCode::BAD_REQUEST, "The subprotocol is jmap").into_response();
    }
    upgrade.on_upgrade(move |socket| run(socket, web, caller))
}

/// RFC 6455 10.2. Browsers always say the origin; programs, which show a password, seldom do.
fn may_open(headers: &HeaderMap, by_cookie: bool) -> bool {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
    let mut origins = headers.get_all(ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => !by_cookie,
        (Some(origin), None) => {
            let ours = origin.to_str().ok().and_then(|origin| origin.strip_prefix("https://"));
            ours.zip(text(HOST)).is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host))
        }
        _ => false,
    }
}

async fn run(mut socket: WebSocket, web: Web, caller: Caller) {
    let over = caller.over();
    let mut talk = Talk { web, caller, told: None };
    // What a client is told at the end: it connects again, to the other appliance if the address is there.
    let code = tokio::select! {
        biased;
        () = over => close_code::AWAY,
        code = talk.go_on(&mut socket) => match code {
            Some(code) => code,
            None => return,
        },
    };
    let close = Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::default() }));
    if timeout(BYE, socket.send(close)).await.is_err() {
        log::trace!("a client did not take the end of a WebSocket");
    }
}

/// How long a client has to take the last frame.
const BYE: Duration = Duration::from_secs(1);

struct Talk {
    web: Web,
    caller: Caller,
    /// What the client follows, and what it knows of that.
    told: Option<(Stream, Map<String, Value>)>,
}

impl Talk {
    /// Until the client is gone (`None`), or for this reason.
    async fn go_on(&mut self, socket: &mut WebSocket) -> Option<u16> {
        let mut changes = self.web.mail().watch(&self.caller.login);
        let mut heard = clock::mono();
        let mut ping = pin!(tokio::time::sleep(PING_EVERY));
        loop {
            tokio::select! {
                said = socket.recv() => {
                    heard = clock::mono();
                    let out = match said {
                        None | Some(Err(_)) => return None,
                        Some(Ok(Message::Text(text))) => self.said(text.as_bytes()).await,
                        // RFC 8887 4.1: everything is text.
                        Some(Ok(Message::Binary(_))) => return Some(close_code::UNSUPPORTED),
                        Some(Ok(Message::Close(_))) => return None,
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    };
                    self.send(socket, out).await?;
                }
                changed = changes.changed(), if self.told.is_some() => {
                    // The store is gone, and the process with it.
                    changed.ok()?;
                    tokio::time::sleep(BURST).await;
                    changes.mark_unchanged();
                    let event = self.news();
                    self.send(socket, event).await?;
                }
                () = &mut ping => {
                    if clock::mono().since(heard) > SILENCE_MAX {
                        return None;
                    }
                    let frame = Message::Ping(axum::body::Bytes::new());
                    timeout(SILENCE_MAX, socket.send(frame)).await.ok()?.ok()?;
                    ping.set(tokio::time::sleep(PING_EVERY));
                }
            }
        }
    }

    async fn send(&self, socket: &mut WebSocket, out: Option<Value>) -> Option<()> {
        let Some(out) = out else { return Some(()) };
        timeout(SILENCE_MAX, socket.send(Message::Text(out.to_string().into()))).await.ok()?.ok()
    }

    /// RFC 8887 4.3: what is answered to a message.
    async fn said(&mut self, text: &[u8]) -> Option<Value> {
        let said = match serde_json::from_slice::<Value>(text) {
            Ok(said) => said,
            Err(e) => return Some(refused(&RequestError::NotJson(e.to_string()), None)),
        };
        let id = said.get("id").and_then(Value::as_str).map(str::to_owned);
        match said.get("@type").and_then(Value::as_str) {
            Some("Request") => {
                let request = match Request::read(said) {
                    Ok(request) => request,
                    Err(why) => return Some(refused(&why, id.as_deref())),
                };
                let asking = Asking::new(self.web.clone(), &self.caller);
                let mut response = answer(asking, request).await;
                tag(&mut response, "Response", id.as_deref());
                Some(response)
            }
            Some("WebSocketPushEnable") => {
                let types: Option<Vec<String>> =
                    said.get("dataTypes").and_then(|t| serde_json::from_value(t.clone()).ok());
                let stream = Stream::new(self.web.clone(), self.caller.login.clone(), types);
                let known = said.get("pushState").and_then(Value::as_str);
                // Whoever knows the states as they are is told what comes; others are told them first.
                let now = stream.states().ok()?;
                let told = if known == Some(&push_state(&now)) { now } else { Map::new() };
                self.told = Some((stream, told));
                self.news()
            }
            Some("WebSocketPushDisable") => {
                self.told = None;
                None
            }
            _ => {
                let why = RequestError::NotRequest(
                    "a message is a Request, WebSocketPushEnable or WebSocketPushDisable",
                );
                Some(refused(&why, id.as_deref()))
            }
        }
    }

    /// RFC 8887 4.3.5.2: what is new to the client, if something is.
    fn news(&mut self) -> Option<Value> {
        let (stream, told) = self.told.as_mut()?;
        // What cannot be read now is told with the next change.
        let now = stream.states().ok()?;
        let changed = Stream::changed(told, &now)?;
        let account = jmap::account_id(self.caller.login.account);
        let event = json!({
            "@type": "StateChange",
            "changed": { account: changed },
            "pushState": push_state(&now),
        });
        *told = now;
        Some(event)
    }
}

fn push_state(states: &Map<String, Value>) -> String {
    let hash = blake3::hash(Value::Object(states.clone()).to_string().as_bytes());
    let bytes = hash.as_bytes().first_chunk::<8>().copied().unwrap_or_default();
    bytes.map(|b| format!("{b:02x}")).concat()
}

fn tag(message: &mut Value, kind: &str, id: Option<&str>) {
    if let Some(all) = message.as_object_mut() {
        all.insert("@type".into(), json!(kind));
        if let Some(id) = id {
            all.insert("requestId".into(), json!(id));
        }
    }
}

/// RFC 8887 4.3.4.
fn refused(why: &RequestError, id: Option<&str>) -> Value {
    let mut problem = why.to_json();
    tag(&mut problem, "RequestError", id);
    problem
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_page_of_another_origin_opens_none() {
        let with = |origins: &[&'static str]| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("mail.acme.example:8443"));
            for origin in origins {
                headers.append(ORIGIN, HeaderValue::from_static(origin));
            }
            headers
        };
        let ours = "https://mail.acme.example:8443";
        for by_cookie in [true, false] {
            assert!(may_open(&with(&[ours]), by_cookie));
            for wrong in [
                "null",
                "https://mail.acme.example",
                "http://mail.acme.example:8443",
                "https://mail.acme.example:8443.evil.example",
                "https://evil.example",
                "",
            ] {
                assert!(!may_open(&with(&[wrong]), by_cookie), "{wrong}");
            }
            assert!(!may_open(&with(&[ours, ours]), by_cookie));
        }
        assert!(may_open(&with(&[]), false));
        assert!(!may_open(&with(&[]), true), "a browser says where it is");
    }
}

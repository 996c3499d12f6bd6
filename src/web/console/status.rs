//! The state of the appliance as it changes, as events.
//!
//! A stream is no use of its session, and ends with it.

use super::super::failure::Failure;
use super::super::stream::Chunks;
use super::{Console, SignedIn};
use crate::base::task;
use crate::ops::request::{Answer, Reply, Request};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::mpsc;

/// How often is looked, and the least time between two events.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After so many looks that found nothing new the client is told that there is somebody.
const PING_LOOKS: u32 = 10;

type Out = mpsc::Sender<Result<Vec<u8>, Infallible>>;

pub(super) async fn events(
    State(console): State<Console>,
    who: SignedIn,
) -> Result<Response, Failure> {
    let (out, chunks) = mpsc::channel(4);
    drop(task::spawn("console-status", async move {
        tokio::select! {
            () = out.closed() => {}
            () = run(&console, &who, &out) => {}
        }
    }));
    let mut response = Body::new(Chunks(chunks)).into_response();
    let event_stream = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, event_stream);
    Ok(response)
}

async fn run(console: &Console, who: &SignedIn, out: &Out) {
    let (mut told, mut quiet) = (Value::Null, 0);
    while console.stands(&who.token, &who.login).is_some() {
        let reply = console.ask(Request::Status, &who.login.name).await;
        let Reply::Ok(Answer::Status(report)) = reply else { return };
        let Ok(report) = serde_json::to_value(&report) else { return };
        let lasting = lasting(report.clone());
        let event = if lasting != told {
            (told, quiet) = (lasting, 0);
            format!("event: status\ndata: {report}\n\n")
        } else if quiet >= PING_LOOKS {
            quiet = 0;
            "event: ping\ndata: {}\n\n".to_owned()
        } else {
            quiet += 1;
            String::new()
        };
        if !event.is_empty() && out.send(Ok(event.into_bytes())).await.is_err() {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What is left of a report when nothing has changed but the time.
fn lasting(mut report: Value) -> Value {
    let mut forget = |pointer: &str, names: &[&str]| {
        if let Some(Value::Object(object)) = report.pointer_mut(pointer) {
            names.iter().for_each(|name| drop(object.remove(*name)));
        }
    };
    forget("", &["at", "uptime_s"]);
    forget("/witness", &["round_trip_us"]);
    if let Some(Value::Array(paths)) = report.pointer_mut("/paths") {
        for path in paths.iter_mut().filter_map(Value::as_object_mut) {
            drop(path.remove("heard_ms_ago"));
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn time_alone_is_no_change() {
        let report = |at: u64, reachable: bool| {
            json!({"at": at, "uptime_s": at, "role": "primary", "witness": {"round_trip_us": at},
                "paths": [{"peer": "x", "reachable": reachable, "heard_ms_ago": at}]})
        };
        assert_eq!(lasting(report(1, true)), lasting(report(2, true)));
        assert_ne!(lasting(report(1, true)), lasting(report(1, false)));
    }
}

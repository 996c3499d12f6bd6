//! The session object (RFC 8620 2).

use super::super::Web;
use super::super::caller::Caller;
use super::blobs;
use crate::directory::Login;
use axum::Json;
use axum::extract::State;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};
use serde_json::{Map, Value, json};
use understudy_proto::jmap::{
    self, BLOB, CALLS_MAX, CONTACTS, CORE, GET_MAX, MAIL, PREFERENCES, QUOTA, REQUEST_LEN_MAX,
    REQUESTS_AT_ONCE_MAX, SET_MAX, SUBMISSION, UPLOAD_LEN_MAX, VACATION, WEBSOCKET,
};
use understudy_proto::mailbox::NAME_LEN_MAX;
use understudy_proto::objects::HOLD_MAX;

pub(super) async fn get(
    State(web): State<Web>,
    uri: Uri,
    headers: HeaderMap,
    caller: Caller,
) -> Json<Value> {
    // As the client named us, with its port (`http` has read it): programs want whole addresses.
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let root = match uri.authority().map(Authority::as_str).or(host) {
        Some(host) => format!("https://{host}"),
        None => String::new(),
    };
    Json(object(&web, &caller.login, &root))
}

/// Changes where the session object does.
pub(super) fn state(web: &Web, login: &Login) -> String {
    let hash = blake3::hash(capabilities(web).to_string().as_bytes());
    let bytes = hash.as_bytes().first_chunk::<6>().copied().unwrap_or_default();
    format!("{}-{}", jmap::account_id(login.account), bytes.map(|b| format!("{b:02x}")).concat())
}

fn object(web: &Web, login: &Login, root: &str) -> Value {
    let id = jmap::account_id(login.account);
    let all = capabilities(web);
    let account = json!({
        "name": login.address,
        "isPersonal": true,
        "isReadOnly": false,
        "accountCapabilities": all,
    });
    let primary: Map<String, Value> = jmap::CAPABILITIES
        .iter()
        .filter(|c| ![CORE, WEBSOCKET].contains(*c))
        .map(|c| ((*c).to_owned(), json!(id)))
        .collect();
    let server: Map<String, Value> = jmap::CAPABILITIES
        .iter()
        .map(|c| {
            let what = match *c {
                CORE => core(),
                // RFC 8887 3.
                WEBSOCKET => {
                    let socket = root.replacen("https://", "wss://", 1);
                    json!({ "url": format!("{socket}/jmap/ws"), "supportsPush": true })
                }
                _ => json!({}),
            };
            ((*c).to_owned(), what)
        })
        .collect();
    json!({
        "capabilities": server,
        "accounts": { id: account },
        "primaryAccounts": primary,
        "username": login.address,
        "apiUrl": format!("{root}/jmap/api"),
        "downloadUrl": format!("{root}/jmap/download/{{accountId}}/{{blobId}}/{{name}}?type={{type}}"),
        "uploadUrl": format!("{root}/jmap/upload/{{accountId}}"),
        "eventSourceUrl":
            format!("{root}/jmap/events?types={{types}}&closeafter={{closeafter}}&ping={{ping}}"),
        "state": state(web, login),
    })
}

fn core() -> Value {
    json!({
        "maxSizeUpload": UPLOAD_LEN_MAX,
        "maxConcurrentUpload": REQUESTS_AT_ONCE_MAX,
        "maxSizeRequest": REQUEST_LEN_MAX,
        "maxConcurrentRequests": REQUESTS_AT_ONCE_MAX,
        "maxCallsInRequest": CALLS_MAX,
        "maxObjectsInGet": GET_MAX,
        "maxObjectsInSet": SET_MAX,
        "collationAlgorithms": ["i;unicode-casemap"],
    })
}

/// Of the account.
fn capabilities(web: &Web) -> Value {
    json!({
        MAIL: {
            "maxMailboxesPerEmail": 1,
            "maxMailboxDepth": null,
            "maxSizeMailboxName": NAME_LEN_MAX,
            "maxSizeAttachmentsPerEmail": web.facts().message_size_max,
            "emailQuerySortOptions": [
                "receivedAt", "sentAt", "size", "from", "to", "subject", "hasKeyword",
                "allInThreadHaveKeyword", "someInThreadHaveKeyword",
            ],
            "mayCreateTopLevelMailbox": true,
        },
        SUBMISSION: { "maxDelayedSend": HOLD_MAX.as_secs(), "submissionExtensions": {} },
        VACATION: {},
        QUOTA: {},
        BLOB: {
            "maxSizeBlobSet": blobs::BLOB_LEN_MAX,
            "maxDataSources": blobs::SOURCES_MAX,
            "supportedTypeNames": blobs::TYPES,
            "supportedDigestAlgorithms": blobs::DIGESTS,
        },
        CONTACTS: { "maxAddressBooksPerCard": 1, "mayCreateAddressBook": true },
        PREFERENCES: {},
    })
}

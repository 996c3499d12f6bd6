//! The web over a real socket: JMAP as a program asks for it, with an address, a password, and curl; the
//! console and administrators of tenants as browsers do.

mod browser;
mod console;
mod tenants;

use crate::smtp::appliance::{ALICE, Appliance, BOB, PASSWORD};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

const USING: [&str; 8] = [
    "urn:ietf:params:jmap:core",
    "urn:ietf:params:jmap:mail",
    "urn:ietf:params:jmap:submission",
    "urn:ietf:params:jmap:vacationresponse",
    "urn:ietf:params:jmap:contacts",
    "urn:ietf:params:jmap:quota",
    "urn:ietf:params:jmap:blob",
    "urn:understudy:params:jmap:preferences",
];

/// Somebody who asks.
struct Client<'a> {
    appliance: &'a Appliance,
    who: &'a str,
}

impl Client<'_> {
    /// Status and body.
    fn ask(&self, path: &str, body: Option<(&str, &[u8])>) -> (u16, Vec<u8>) {
        let mut curl = Command::new("curl");
        curl.args(["-sk", "--max-time", "60", "-w", "%{http_code}"]);
        curl.args(["-u", &format!("{}:{PASSWORD}", self.who)]);
        if let Some((media, _)) = body {
            curl.args(["-H", &format!("Content-Type: {media}"), "--data-binary", "@-"]);
        }
        curl.arg(format!("https://127.0.0.1:{}{path}", self.appliance.https));
        let mut child =
            curl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("curl is installed");
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(body.map_or(b"", |(_, bytes)| bytes)).unwrap();
        drop(stdin);
        let mut out = child.wait_with_output().unwrap().stdout;
        let code = out.split_off(out.len() - 3);
        (String::from_utf8(code).unwrap().parse().unwrap(), out)
    }

    /// The answers to calls of the account `account`.
    fn calls(&self, account: &str, calls: &[(&str, Value)]) -> Vec<(String, Value)> {
        let calls: Vec<Value> = calls
            .iter()
            .enumerate()
            .map(|(i, (name, arguments))| {
                let mut arguments = arguments.clone();
                arguments["accountId"] = json!(account);
                json!([name, arguments, i.to_string()])
            })
            .collect();
        let request = json!({ "using": USING, "methodCalls": calls }).to_string();
        let (code, body) = self.ask("/jmap/api", Some(("application/json", request.as_bytes())));
        assert_eq!(code, 200, "{}", String::from_utf8_lossy(&body));
        let answer: Value = serde_json::from_slice(&body).unwrap();
        let responses = answer["methodResponses"].as_array().unwrap();
        responses.iter().map(|r| (r[0].as_str().unwrap().to_owned(), r[1].clone())).collect()
    }

    fn call(&self, name: &str, arguments: Value) -> Value {
        let mut all = self.calls("u1", &[(name, arguments)]);
        let (said, value) = all.remove(0);
        assert_eq!(said, name, "{value}");
        value
    }
}

#[test]
fn a_message_is_written_sent_found_and_moved() {
    let appliance = Appliance::start();
    let bob = Client { appliance: &appliance, who: BOB };
    let (code, session) = bob.ask("/.well-known/jmap", None);
    let session: Value = serde_json::from_slice(&session).unwrap();
    assert_eq!((code, &session["username"]), (200, &json!(BOB)));
    let api = format!("https://127.0.0.1:{}/jmap/api", appliance.https);
    assert_eq!(session["apiUrl"], json!(api), "as the client named it");
    let file = b"\x89PNG and more".repeat(30_000);
    let (code, kept) = bob.ask("/jmap/upload/u1", Some(("image/png", &file)));
    let kept: Value = serde_json::from_slice(&kept).unwrap();
    assert_eq!((code, &kept["size"]), (201, &json!(file.len())));
    let identity = bob.call("Identity/get", json!({}))["list"][0]["id"].clone();
    let draft = json!({
        "mailboxIds": { "b2": true }, "keywords": { "$draft": true }, "subject": "Grüße",
        "from": [{ "name": "Bob Müller", "email": BOB }],
        "to": [{ "name": null, "email": ALICE }, { "name": null, "email": BOB }],
        "bcc": [{ "name": null, "email": ALICE }],
        "textBody": [{ "partId": "t", "type": "text/plain" }],
        "bodyValues": { "t": { "value": "Die Rechnungsnummer folgt." } },
        "attachments": [{ "blobId": kept["blobId"], "type": "image/png", "name": "Bild ü.png" }],
    });
    let sent = bob.calls("u1", &[
        ("Email/set", json!({ "create": { "d": draft } })),
        ("EmailSubmission/set", json!({
            "create": { "s": { "identityId": identity, "emailId": "#d" } },
            "onSuccessUpdateEmail": { "#s": { "mailboxIds": { "b3": true }, "keywords/$draft": null } },
        })),
    ]);
    let names: Vec<&str> = sent.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Email/set", "EmailSubmission/set", "Email/set"], "{sent:?}");
    let id = sent[0].1["created"]["d"]["id"].as_str().unwrap().to_owned();
    assert_eq!(sent[2].1["updated"][&id], Value::Null, "{sent:?}");
    // It arrives at both, without its Bcc.
    let alice = Client { appliance: &appliance, who: ALICE };
    let arrived = |who: &Client<'_>, account: &str| {
        let query = json!({ "filter": { "inMailbox": "b1" } });
        let get = json!({
            "#ids": { "resultOf": "0", "name": "Email/query", "path": "/ids" },
            "properties": ["subject", "bcc", "threadId", "attachments", "hasAttachment", "preview"],
        });
        let answers = who.calls(account, &[("Email/query", query), ("Email/get", get)]);
        answers[1].1["list"].as_array().cloned().unwrap_or_default()
    };
    let mut mail = Vec::new();
    for _ in 0..300 {
        mail = arrived(&alice, "u2");
        if !mail.is_empty() && !arrived(&bob, "u1").is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!((&mail[0]["subject"], &mail[0]["bcc"]), (&json!("Grüße"), &Value::Null));
    assert_eq!(mail[0]["attachments"][0]["name"], "Bild ü.png");
    let blob = mail[0]["attachments"][0]["blobId"].as_str().unwrap();
    assert_eq!(alice.ask(&format!("/jmap/download/u2/{blob}/x?type=image/png"), None).1, file);
    // At Bob's what he sent and what he got are one conversation; a move keeps its id.
    let own = arrived(&bob, "u1");
    let thread = own[0]["threadId"].clone();
    let threads = bob.call("Thread/get", json!({ "ids": [thread] }));
    assert_eq!(threads["list"][0]["emailIds"].as_array().unwrap().len(), 2);
    let before = bob.call("Email/get", json!({ "ids": [] }))["state"].clone();
    bob.call("Email/set", json!({ "update": { (id.clone()): { "mailboxIds": { "b6": true } } } }));
    let told = bob.call("Email/changes", json!({ "sinceState": before }));
    assert_eq!(told["updated"], json!([id]), "{told}");
    let found = bob.call("Email/query", json!({ "filter": { "text": "rechnung müller" } }));
    assert_eq!(found["ids"].as_array().unwrap().len(), 2, "{found}");
    bob.call("Email/set", json!({ "destroy": [id] }));
    let told = bob.call("Email/changes", json!({ "sinceState": before }));
    assert_eq!((&told["destroyed"], &told["updated"]), (&json!([id]), &json!([])));
}

/// Nothing of another account can be named, whatever method asks: neither of the same tenant nor of another.
#[test]
fn nobody_sees_what_is_anothers() {
    let appliance = Appliance::start();
    appliance.tell(&["tenant", "create", "other"], "");
    appliance.tell(&["domain", "add", "other", "there.example"], "");
    let eve = "eve@there.example";
    appliance.tell(&["account", "create", eve], "");
    appliance.tell(&["credential", "password", eve], PASSWORD);
    let bob = Client { appliance: &appliance, who: BOB };
    let secret = json!({
        "mailboxIds": { "b1": true }, "subject": "the secret", "from": [{ "name": null, "email": BOB }],
        "textBody": [{ "partId": "t", "type": "text/plain" }], "bodyValues": { "t": { "value": "a secret word" } },
    });
    bob.call("Email/set", json!({ "create": { "m": secret } }));
    let card = json!({ "@type": "Card", "version": "1.0", "name": { "full": "the secret" },
        "addressBookIds": { (bob.call("AddressBook/get", json!({}))["list"][0]["id"].as_str().unwrap()): true } });
    let card = bob.call("ContactCard/set", json!({ "create": { "c": card } }));
    let card = card["created"]["c"]["id"].clone();
    let (_, file) = bob.ask("/jmap/upload/u1", Some(("text/plain", b"the secret")));
    let file =
        serde_json::from_slice::<Value>(&file).unwrap()["blobId"].as_str().unwrap().to_owned();
    let identity = bob.call("Identity/get", json!({}))["list"][0]["id"].clone();

    let methods = [
        ("Mailbox/get", json!({})),
        ("Mailbox/changes", json!({ "sinceState": "0-1-1" })),
        ("Mailbox/query", json!({})),
        ("Mailbox/set", json!({ "destroy": ["b6"] })),
        ("Thread/get", json!({ "ids": ["t1"] })),
        ("Thread/changes", json!({ "sinceState": "0-1-0" })),
        ("Email/get", json!({ "ids": ["m1"] })),
        ("Email/changes", json!({ "sinceState": "0-1-0" })),
        ("Email/query", json!({ "filter": { "text": "secret" } })),
        ("Email/set", json!({ "destroy": ["m1"] })),
        ("Email/import", json!({ "emails": {} })),
        ("Email/queryChanges", json!({ "sinceQueryState": "0-1-0" })),
        ("Email/parse", json!({ "blobIds": ["e1", file] })),
        ("Email/copy", json!({ "fromAccountId": "u9", "create": {} })),
        ("Mailbox/queryChanges", json!({ "sinceQueryState": "0-1-0" })),
        ("Blob/get", json!({ "ids": ["e1", "e1-0", file] })),
        ("Blob/lookup", json!({ "typeNames": ["Email"], "ids": ["e1", file] })),
        ("Blob/upload", json!({ "create": { "b": { "data": [{ "blobId": file }] } } })),
        ("Blob/copy", json!({ "fromAccountId": "u9", "blobIds": [file] })),
        ("SearchSnippet/get", json!({ "filter": { "text": "secret" }, "emailIds": ["m1"] })),
        ("EmailSubmission/get", json!({})),
        ("EmailSubmission/changes", json!({ "sinceState": "0" })),
        ("EmailSubmission/query", json!({})),
        ("EmailSubmission/set", json!({})),
        ("Identity/get", json!({})),
        ("Identity/changes", json!({ "sinceState": "0" })),
        ("Identity/set", json!({ "destroy": [identity] })),
        ("VacationResponse/get", json!({})),
        ("VacationResponse/set", json!({ "update": { "singleton": { "isEnabled": true } } })),
        ("AddressBook/get", json!({})),
        ("AddressBook/changes", json!({ "sinceState": "0" })),
        ("AddressBook/set", json!({})),
        ("ContactCard/get", json!({ "ids": [card] })),
        ("ContactCard/changes", json!({ "sinceState": "0" })),
        ("ContactCard/query", json!({})),
        ("ContactCard/set", json!({ "destroy": [card] })),
        ("Preferences/get", json!({})),
        ("Preferences/changes", json!({ "sinceState": "0" })),
        ("Preferences/set", json!({})),
        ("Quota/get", json!({})),
        ("Quota/changes", json!({ "sinceState": "none" })),
        ("Quota/query", json!({})),
        ("Quota/queryChanges", json!({ "sinceQueryState": "none" })),
    ];
    // Alice, of the same tenant, names Bob's account; Eve's own account bears the number of Bob's.
    let alice = Client { appliance: &appliance, who: ALICE };
    for (said, why) in alice.calls("u1", &methods) {
        assert_eq!((said.as_str(), &why["type"]), ("error", &json!("accountNotFound")));
    }
    for (who, account) in [(&alice, "u2"), (&Client { appliance: &appliance, who: eve }, "u1")] {
        for (said, answer) in who.calls(account, &methods) {
            let text = answer.to_string();
            assert!(!text.contains("secret"), "{said}: {text}");
            for list in ["list", "ids", "destroyed"] {
                let named = answer[list].as_array().into_iter().flatten();
                let shown =
                    named.filter(|v| [&json!("m1"), &card, &json!("t1")].contains(v)).count();
                assert_eq!(shown, 0, "{said}: {text}");
            }
        }
        for blob in ["e1", "e1-0", &file] {
            let (code, _) = who.ask(&format!("/jmap/download/{account}/{blob}/x"), None);
            assert_eq!(code, 404, "{blob}");
            let (code, _) = who.ask(&format!("/jmap/download/u9/{blob}/x"), None);
            assert_eq!(code, 404, "{blob}");
        }
    }
    // And Bob still has all of it.
    assert_eq!(bob.call("Email/get", json!({ "ids": ["m1"] }))["list"][0]["subject"], "the secret");
    assert_eq!(bob.call("ContactCard/get", json!({ "ids": [card] }))["notFound"], json!([]));
}

#[test]
fn without_a_password_nothing_is_told() {
    let appliance = Appliance::start();
    let stranger = Client { appliance: &appliance, who: "mallory@here.example" };
    for path in [
        "/jmap/session",
        "/jmap/events",
        "/jmap/ws",
        "/jmap/download/u1/e1/x",
        "/api/session",
        "/api/people?q=b",
        "/api/passkeys",
    ] {
        assert_eq!(stranger.ask(path, None).0, 401, "{path}");
    }
    let json = Some(("application/json", &b"{}"[..]));
    for (path, wanted) in [
        ("/api/passkeys", 401),
        ("/api/passkeys/options", 401),
        // The header is missing.
        ("/api/session/passkey", 403),
        ("/api/session/passkey/options", 403),
    ] {
        assert_eq!(stranger.ask(path, json).0, wanted, "{path}");
    }
    let request = json!({ "using": USING, "methodCalls": [] }).to_string();
    assert_eq!(stranger.ask("/jmap/api", Some(("application/json", request.as_bytes()))).0, 401);
    let bob = Client { appliance: &appliance, who: BOB };
    assert_eq!(bob.ask("/jmap/api", Some(("application/json", b"{"))).0, 400);
}

#[test]
fn a_list_is_followed_and_a_message_is_parsed() {
    let appliance = Appliance::start();
    let bob = Client { appliance: &appliance, who: BOB };
    let list = || json!({ "filter": { "inMailbox": "b1" }, "collapseThreads": true });
    let before = bob.call("Email/query", list());
    assert_eq!(before["canCalculateChanges"], true);
    let inner = "Subject: inner\r\nContent-Type: text/plain\r\n\r\nI am inside\r\n";
    let outer = format!(
        "Subject: outer\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nhi\r\n\
         --x\r\nContent-Type: message/rfc822\r\n\r\n{inner}\r\n--x--\r\n"
    );
    let make = json!({ "create": { "b": { "data": [{ "data:asText": outer }], "type": "message/rfc822" } } });
    let import = json!({ "emails": { "m": { "blobId": "#b", "mailboxIds": { "b1": true } } } });
    let made = bob.calls("u1", &[("Blob/upload", make), ("Email/import", import)]);
    let id = made[1].1["created"]["m"]["id"].clone();
    assert!(id.is_string(), "{made:?}");
    let mut since = list();
    since["sinceQueryState"] = before["queryState"].clone();
    let told = bob.call("Email/queryChanges", since);
    assert_eq!(
        (&told["added"], &told["removed"]),
        (&json!([{ "id": id, "index": 0 }]), &json!([]))
    );
    // The message in the message, and its text.
    let get = json!({ "ids": [id], "properties": ["attachments"] });
    let got = bob.call("Email/get", get);
    let blob = got["list"][0]["attachments"][0]["blobId"].as_str().unwrap().to_owned();
    let parse = json!({ "blobIds": [blob, "e9", made[0].1["created"]["b"]["id"]], "fetchTextBodyValues": true });
    let parsed = bob.call("Email/parse", parse);
    let inside = &parsed["parsed"][&blob];
    assert_eq!(inside["subject"], "inner", "{parsed}");
    assert_eq!(inside["bodyValues"]["0"]["value"], "I am inside\n");
    assert_eq!(parsed["notFound"], json!(["e9"]));
    let text = inside["textBody"][0]["blobId"].as_str().unwrap();
    let lookup = json!({ "ids": [text], "typeNames": ["Email", "Mailbox"] });
    let answers = bob.calls(
        "u1",
        &[
            (
                "Blob/get",
                json!({ "ids": [text], "offset": 5, "length": 6, "properties": ["data", "size"] }),
            ),
            ("Blob/lookup", lookup),
        ],
    );
    assert_eq!(answers[0].1["list"][0]["data:asText"], "inside", "{answers:?}");
    assert_eq!(answers[1].1["list"][0]["matchedIds"], json!({ "Email": [id], "Mailbox": ["b1"] }));
    let before = bob.call("Mailbox/get", json!({ "ids": [] }))["state"].clone();
    bob.call("Mailbox/set", json!({ "update": { "b5": { "isSubscribed": false } } }));
    let told = bob.call("Mailbox/changes", json!({ "sinceState": before }));
    assert_eq!(told["updated"], json!(["b5"]), "{told}");
}

#[test]
fn a_full_account_takes_nothing_more_until_it_has_room() {
    let appliance = Appliance::start();
    let bob = Client { appliance: &appliance, who: BOB };
    assert_eq!(bob.call("Quota/get", json!({}))["list"], json!([]));
    appliance.tell(&["account", "quota", BOB, "--limit", "1KiB"], "");
    let quota = bob.call("Quota/get", json!({}));
    assert_eq!(
        (&quota["list"][0]["used"], &quota["list"][0]["hardLimit"]),
        (&json!(0), &json!(1024))
    );
    let draft = |text: &str| {
        json!({ "create": { "d": { "mailboxIds": { "b2": true }, "subject": "x",
            "textBody": [{ "partId": "t", "type": "text/plain" }], "bodyValues": { "t": { "value": text } } } } })
    };
    let small = bob.call("Email/set", draft("small"));
    let id = small["created"]["d"]["id"].as_str().unwrap().to_owned();
    let refused = bob.call("Email/set", draft(&"large ".repeat(200)));
    assert_eq!(refused["notCreated"]["d"]["type"], "overQuota", "{refused}");
    let told = bob.call("Quota/changes", json!({ "sinceState": quota["state"] }));
    assert_eq!(
        (&told["updated"], &told["updatedProperties"]),
        (&json!(["octets"]), &json!(["used"]))
    );
    bob.call("Email/set", json!({ "destroy": [id] }));
    assert_eq!(bob.call("Quota/get", json!({}))["list"][0]["used"], 0);
    appliance.tell(&["account", "quota", BOB, "--limit", "none"], "");
    assert!(bob.call("Email/set", draft(&"large ".repeat(200)))["created"]["d"].is_object());
}

/// RFC 8887: requests and changes over one connection, for programs and for pages of our own.
#[test]
fn a_web_socket_answers_and_tells_what_changes() {
    let appliance = Appliance::start();
    let bob = Client { appliance: &appliance, who: BOB };
    let open = |extra: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["-sk", "--http1.1", "--max-time", "3", "-o", "/dev/null", "-w", "%{http_code}"]);
        curl.args(["-u", &format!("{BOB}:{PASSWORD}"), "-H", "Connection: Upgrade"]);
        curl.args(["-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13"]);
        curl.args(["-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]).args(extra);
        let out = curl.arg(format!("https://127.0.0.1:{}/jmap/ws", appliance.https)).output();
        String::from_utf8(out.unwrap().stdout).unwrap()
    };
    let jmap = "Sec-WebSocket-Protocol: jmap";
    assert_eq!(open(&["-H", jmap]), "101");
    assert_eq!(open(&["-H", jmap, "-H", "Origin: https://evil.example"]), "403");
    assert_eq!(open(&[]), "400", "the subprotocol is missing");
    let (_, session) = bob.ask("/jmap/session", None);
    let session: Value = serde_json::from_slice(&session).unwrap();
    let socket = &session["capabilities"]["urn:ietf:params:jmap:websocket"];
    assert_eq!(socket["url"], json!(format!("wss://127.0.0.1:{}/jmap/ws", appliance.https)));
}

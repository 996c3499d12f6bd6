//! Requests through the whole router.

use crate::base::clock;
use crate::base::secret::Secret;
use crate::directory::{Assertion, Authenticator, Directory, Registration, Relying};
use crate::http::{Client, Host, Kept};
use crate::mail::Mail;
use crate::net::Notice as Word;
use crate::store::disk::RealDisk;
use crate::store::{LeaseControl, PrimaryLease, Store, StoreOptions};
use crate::web::{Facts, Notice, Providers, Web, Words};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, SET_COOKIE, USER_AGENT};
use axum::http::{HeaderMap, Request};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt;
use understudy_proto::directory::{DirectoryRules, PasskeyAlgorithm};
use understudy_proto::id::{Epoch, NodeId};
use understudy_proto::mailbox::MailboxRules;
use understudy_proto::queue::QueueRules;
use understudy_proto::rule::Registry;
use understudy_proto::time::UnixMs;

const ADA: &str = "ada@acme.example";
const EVE: &str = "eve@beta.example";
const PASSWORD: &str = "correct horse";
const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

struct Server {
    web: Router,
    directory: Directory,
    store: Closing,
    lease: PrimaryLease,
    control: LeaseControl,
    _dir: tempfile::TempDir,
}

struct Closing(Store);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A browser; what it was given it shows again.
#[derive(Clone, Default)]
struct Browser {
    cookie: Option<String>,
}

struct Said {
    code: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Status and the failure's code.
    fn error(&self) -> (u16, String) {
        (self.code, self.json()["error"].as_str().unwrap_or_default().to_owned())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn failed(code: u16, error: &str) -> (u16, String) {
    (code, error.to_owned())
}

impl Server {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = StoreOptions::new(dir.path(), NodeId(0));
        options.segment_len = 1 << 20;
        options.fatal = Arc::new(|_why| ());
        let registry = Registry::default().with(DirectoryRules).with(MailboxRules).with(QueueRules);
        let store = Store::open(Arc::new(RealDisk), options, registry).unwrap();
        store.log().begin_epoch(Epoch(1)).await.unwrap();
        store.log().commit_alone(true);
        store.keyring().mark_replicated(u64::MAX);
        let (lease, control) = PrimaryLease::mint(Epoch(1));
        let directory = Directory::new(store.clone());
        for (tenant, domain, address, name) in
            [("acme", "acme.example", ADA, "Ada Lovelace"), ("beta", "beta.example", EVE, "Eve")]
        {
            let tenant = directory.create_tenant(&lease, tenant).await.unwrap();
            directory.add_domain(&lease, tenant, domain).await.unwrap();
            directory.create_account(&lease, address, name).await.unwrap();
            let password = Secret::new(PASSWORD.to_owned());
            directory.set_password(&lease, address, password).await.unwrap();
        }
        directory.create_account(&lease, "bob@acme.example", "Bob <b> Builder").await.unwrap();
        directory.add_alias(&lease, "post@acme.example", ADA).await.unwrap();
        let facts = Facts {
            hostname: "mx.example.net".into(),
            names: vec!["mail.example.org".into()],
            https: Some(443),
            imap: Some(143),
            imaps: Some(993),
            submission: Some(587),
            submissions: Some(465),
            message_size_max: 1 << 20,
        };
        let providers = Providers {
            notices: Some(Arc::new(|tenant| {
                let text = Words { de: format!("{tenant}"), en: "Outage".into() };
                (tenant.0 % 4 == 0).then(|| Notice { stage: "out".into(), since: UnixMs(0), text })
            })),
            signer: Some(Arc::new(|content| Some([b"signed:", content].concat()))),
            ..Providers::default()
        };
        let web = Web::new(directory.clone(), Mail::new(store.clone()), facts);
        let web = web.with(providers).router();
        Self { web, directory, store: Closing(store), lease, control, _dir: dir }
    }

    async fn send(&self, mut request: Request<Body>) -> Said {
        let client = Client {
            peer: "192.0.2.7:1234".parse().unwrap(),
            local: "192.0.2.1:443".parse().unwrap(),
            lease: Some(self.lease.clone()),
            notice: Word::default(),
            session: 1,
            secure: true,
            kept: Kept::default(),
        };
        request.extensions_mut().insert(client);
        if request.extensions().get::<Host>().is_none() {
            request.extensions_mut().insert(Host::Name("mx.example.net".into()));
        }
        let (parts, body) = self.web.clone().oneshot(request).await.unwrap().into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap().to_vec();
        Said { code: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// As the app asks.
    async fn ask(&self, browser: &mut Browser, method: &str, path: &str, body: Value) -> Said {
        let mut request = Request::builder().method(method).uri(path).header(USER_AGENT, FIREFOX);
        if method != "GET" {
            request = request.header("x-understudy", "1");
        }
        if let Some(cookie) = &browser.cookie {
            request = request.header(COOKIE, cookie);
        }
        let body = if body.is_null() {
            Body::empty()
        } else {
            request = request.header(CONTENT_TYPE, "application/json");
            Body::from(body.to_string())
        };
        let said = self.send(request.body(body).unwrap()).await;
        if let Some(set) = said.headers.get(SET_COOKIE) {
            let set = set.to_str().unwrap();
            assert!(set.contains("; Path=/; Secure; HttpOnly; SameSite=Strict"), "{set}");
            let gone = set.ends_with("Max-Age=0");
            let pair = set.split(';').next().unwrap_or_default().to_owned();
            browser.cookie = (!gone).then_some(pair);
        }
        said
    }

    async fn get(&self, browser: &mut Browser, path: &str) -> Said {
        self.ask(browser, "GET", path, Value::Null).await
    }

    async fn sign_in(&self, name: &str) -> Browser {
        let mut browser = Browser::default();
        let body = json!({"name": name, "password": PASSWORD});
        let said = self.ask(&mut browser, "POST", "/api/session", body).await;
        assert_eq!(said.code, 200, "{}", said.text());
        assert!(browser.cookie.is_some());
        browser
    }

    fn code(&self) -> String {
        self.directory.code_now(ADA)
    }
}

#[tokio::test]
async fn a_person_signs_in_looks_around_and_out() {
    let server = Server::new().await;
    let mut nobody = Browser::default();
    for path in [
        "session",
        "sessions",
        "devices",
        "passkeys",
        "people?q=a",
        "connect",
        "connect/zone",
        "notice",
    ] {
        let said = server.get(&mut nobody, &format!("/api/{path}")).await;
        assert_eq!(said.error(), failed(401, "signed-out"), "{path}");
        assert!(!said.headers.contains_key("www-authenticate"));
    }
    let wrong = json!({"name": ADA, "password": "wrong horse"});
    let said = server.ask(&mut nobody, "POST", "/api/session", wrong).await;
    assert_eq!(said.error(), failed(401, "wrong"));

    let mut ada = server.sign_in("Ada@acme.example").await;
    let person = server.get(&mut ada, "/api/session").await.json();
    assert_eq!(person["address"], ADA);
    assert_eq!(person["tenant"], json!({"name": "acme"}));
    assert_eq!((&person["administrator"], &person["totp"]), (&json!(false), &json!(false)));
    assert!(person["account"].as_str().unwrap().starts_with('u'));
    let sessions = server.get(&mut ada, "/api/sessions").await.json();
    assert_eq!(sessions[0]["id"], person["session"]);
    assert_eq!(sessions[0]["label"], "Firefox, Linux");
    assert_eq!((&sessions[0]["current"], sessions.as_array().unwrap().len()), (&json!(true), 1));
    let created = sessions[0]["created"].as_str().unwrap();
    assert!(created.starts_with("20") && created.ends_with('Z'));

    // Signing in again replaces the session of the browser.
    let before = ada.clone();
    let again = json!({"name": ADA, "password": PASSWORD, "own_device": true});
    assert_eq!(server.ask(&mut ada, "POST", "/api/session", again).await.code, 200);
    assert_eq!(server.get(&mut before.clone(), "/api/session").await.code, 401);
    let sessions = server.get(&mut ada, "/api/sessions").await.json();
    assert_eq!((&sessions[0]["own_device"], sessions.as_array().unwrap().len()), (&json!(true), 1));

    let kept = ada.clone();
    let said = server.ask(&mut ada, "DELETE", "/api/session", Value::Null).await;
    assert_eq!((said.code, &ada.cookie), (204, &None));
    let said = server.get(&mut kept.clone(), "/api/session").await;
    assert_eq!(said.error(), failed(401, "signed-out"));
}

#[tokio::test]
async fn what_changes_something_needs_our_header() {
    let server = Server::new().await;
    let ada = server.sign_in(ADA).await;
    let cookie = ada.cookie.clone().unwrap();
    for (method, path) in [
        ("DELETE", "/api/session"),
        ("POST", "/api/devices"),
        ("PUT", "/api/totp"),
        ("POST", "/api/session"),
        ("POST", "/api/connect/apple"),
    ] {
        for value in [None, Some("0")] {
            let mut request = Request::builder()
                .method(method)
                .uri(path)
                .header(COOKIE, &cookie)
                .header(CONTENT_TYPE, "application/json");
            if let Some(value) = value {
                request = request.header("x-understudy", value);
            }
            let body = json!({"name": ADA, "password": PASSWORD, "label": "x", "code": "1"});
            let said = server.send(request.body(Body::from(body.to_string())).unwrap()).await;
            assert_eq!(said.error(), failed(403, "not-allowed"), "{method} {path}");
        }
    }
    assert_eq!(server.get(&mut ada.clone(), "/api/session").await.code, 200, "it goes on");
}

#[tokio::test]
async fn anothers_sessions_and_devices_are_not_there() {
    let server = Server::new().await;
    let (mut ada, mut eve) = (server.sign_in(ADA).await, server.sign_in(EVE).await);
    let device = json!({"label": "phone", "days": 30});
    let made = server.ask(&mut ada, "POST", "/api/devices", device.clone()).await.json();
    server.ask(&mut eve, "POST", "/api/devices", device).await;
    let (device, session) = (
        made["id"].as_str().unwrap().to_owned(),
        server.get(&mut ada, "/api/session").await.json()["session"].as_str().unwrap().to_owned(),
    );
    let numbers = ["0", "1", "2", "4294967295", "..", "%00"];
    for id in [device.as_str(), session.as_str()].into_iter().chain(numbers) {
        for kind in ["sessions", "devices"] {
            let path = format!("/api/{kind}/{id}");
            let said = server.ask(&mut eve, "DELETE", &path, Value::Null).await;
            assert_eq!(said.code, 404, "{path}");
        }
    }
    // Nor one as the other.
    for path in [format!("/api/sessions/{device}"), format!("/api/devices/{session}")] {
        assert_eq!(server.ask(&mut ada, "DELETE", &path, Value::Null).await.code, 404);
    }
    assert_eq!(server.get(&mut ada, "/api/devices").await.json().as_array().unwrap().len(), 1);
    let found = server.get(&mut eve, "/api/people?q=ada").await.json();
    assert_eq!(found, json!([]), "another tenant's people are nobody's");
    let said = server.get(&mut eve, "/api/connect/zone?domain=acme.example").await;
    assert_eq!(said.error(), failed(404, "not-found"));
    let path = format!("/api/devices/{device}");
    assert_eq!(server.ask(&mut ada, "DELETE", &path, Value::Null).await.code, 204);
    assert_eq!(server.ask(&mut ada, "DELETE", &path, Value::Null).await.code, 404);
}

#[tokio::test]
async fn devices_have_passwords_that_end() {
    let server = Server::new().await;
    let mut ada = server.sign_in(ADA).await;
    for (body, field) in [
        (json!({"label": "", "days": 1}), "label"),
        (json!({"label": "a\u{7}b"}), "label"),
        (json!({"label": "x", "days": 0}), "days"),
        (json!({"label": "x", "days": 100_000}), "days"),
        (json!({"label": 7}), "body"),
    ] {
        let said = server.ask(&mut ada, "POST", "/api/devices", body).await;
        assert_eq!((said.error(), &said.json()["field"]), (failed(422, "invalid"), &json!(field)));
    }
    let long = json!({"label": "x".repeat(80_000)});
    let said = server.ask(&mut ada, "POST", "/api/devices", long).await;
    assert_eq!(said.error(), failed(413, "too-large"));
    let body = json!({"label": "phone", "days": 7});
    let made = server.ask(&mut ada, "POST", "/api/devices", body).await.json();
    let plain = Secret::new(made["password"].as_str().unwrap().to_owned());
    let source = crate::base::source::Source::of([192, 0, 2, 9].into());
    assert!(server.directory.authenticate(ADA, &plain, source).await.unwrap().is_some());
    let listed = server.get(&mut ada, "/api/devices").await.json();
    assert_eq!((&listed[0]["id"], &listed[0]["label"]), (&made["id"], &json!("phone")));
    assert!(listed[0]["expires"].as_str().unwrap() > clock::rfc3339(clock::now_ms()).as_str());
    assert!(!server.get(&mut ada, "/api/devices").await.text().contains(plain.expose()));
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let server = Server::new().await;
    let (mut ada, mut other) = (server.sign_in(ADA).await, server.sign_in(ADA).await);
    let body = |old: &str, new: &str| json!({"old": old, "new": new});
    let said = server.ask(&mut ada, "POST", "/api/password", body("no", "battery staple")).await;
    assert_eq!(said.error(), failed(401, "wrong"));
    let said = server.ask(&mut ada, "POST", "/api/password", body(PASSWORD, "short")).await;
    assert_eq!((said.error(), &said.json()["field"]), (failed(422, "invalid"), &json!("new")));
    let said =
        server.ask(&mut ada, "POST", "/api/password", body(PASSWORD, "battery staple")).await;
    assert_eq!(said.code, 204);
    assert_eq!(server.get(&mut ada, "/api/session").await.code, 200);
    assert_eq!(server.get(&mut other, "/api/session").await.code, 401);
}

#[tokio::test]
async fn a_second_factor_is_set_up_used_and_removed() {
    let server = Server::new().await;
    let mut ada = server.sign_in(ADA).await;
    let confirm = json!({"code": "000000"});
    let said = server.ask(&mut ada, "PUT", "/api/totp", confirm).await;
    assert_eq!(said.error(), failed(404, "not-found"));
    let said = server.ask(&mut ada, "POST", "/api/totp", json!({"password": "no"})).await;
    assert_eq!(said.error(), failed(401, "wrong"));
    let fresh =
        server.ask(&mut ada, "POST", "/api/totp", json!({"password": PASSWORD})).await.json();
    assert_eq!(fresh["secret"].as_str().unwrap().len(), 32);
    assert!(fresh["uri"].as_str().unwrap().starts_with("otpauth://totp/"));
    let code = server.code();
    let said = server.ask(&mut ada, "PUT", "/api/totp", json!({"code": code})).await;
    assert_eq!(said.code, 204, "{}", said.text());
    assert_eq!(server.get(&mut ada, "/api/session").await.json()["totp"], true);
    let said = server.ask(&mut ada, "POST", "/api/totp", json!({"password": PASSWORD})).await;
    assert_eq!(said.error(), failed(409, "exists"));

    let mut phone = Browser::default();
    let sign_in = json!({"name": ADA, "password": PASSWORD});
    let said = server.ask(&mut phone, "POST", "/api/session", sign_in).await;
    assert_eq!(said.error(), failed(401, "code-needed"));
    let wrong = json!({"name": ADA, "password": PASSWORD, "code": "12345x"});
    for _ in 0..5 {
        let said = server.ask(&mut phone, "POST", "/api/session", wrong.clone()).await;
        assert_eq!(said.error(), failed(401, "wrong"));
    }
    let said = server.ask(&mut phone, "POST", "/api/session", wrong).await;
    assert_eq!(said.error(), failed(429, "busy"));
    let wait = said.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap();
    assert!((60..=900).contains(&wait));
    let off = json!({"password": PASSWORD, "code": server.code()});
    let said = server.ask(&mut ada, "DELETE", "/api/totp", off).await;
    assert_eq!(said.error(), failed(429, "busy"), "they are the account's attempts");
}

#[tokio::test]
async fn people_are_those_of_the_tenant() {
    let server = Server::new().await;
    let mut ada = server.sign_in(ADA).await;
    let found = server.get(&mut ada, "/api/people?q=LOVE").await.json();
    assert_eq!(
        found,
        json!([
            {"name": "Ada Lovelace", "address": ADA},
            {"name": "Ada Lovelace", "address": "post@acme.example"},
        ])
    );
    let found = server.get(&mut ada, "/api/people?q=bo+acme").await.json();
    assert_eq!(found, json!([{"name": "Bob <b> Builder", "address": "bob@acme.example"}]));
    assert_eq!(server.get(&mut ada, "/api/people").await.json().as_array().unwrap().len(), 3);
    for n in 0..25 {
        let address = format!("x{n}@acme.example");
        server.directory.create_account(&server.lease, &address, "X").await.unwrap();
    }
    assert_eq!(server.get(&mut ada, "/api/people").await.json().as_array().unwrap().len(), 20);
    server.directory.close_account(&server.lease, "bob@acme.example").await.unwrap();
    assert_eq!(server.get(&mut ada, "/api/people?q=bob").await.json(), json!([]));
}

#[tokio::test]
async fn devices_are_told_what_they_need() {
    let server = Server::new().await;
    let mut ada = server.sign_in(ADA).await;
    let connect = server.get(&mut ada, "/api/connect").await.json();
    let host = "mx.example.net";
    assert_eq!(
        connect,
        json!({
            "username": ADA,
            "imap": {"host": host, "port": 993, "security": "tls"},
            "smtp": {"host": host, "port": 465, "security": "tls"},
            "names": true,
        })
    );
    let zone = server.get(&mut ada, "/api/connect/zone").await.text();
    assert!(zone.contains("_imaps._tcp.acme.example. 300 IN SRV 0 1 993 mx.example.net."));
    let notices = [server.get(&mut ada, "/api/notice").await.json(), {
        let mut eve = server.sign_in(EVE).await;
        server.get(&mut eve, "/api/notice").await.json()
    }];
    assert_eq!(notices.iter().filter(|notice| notice.is_null()).count(), 1, "{notices:?}");
    let told = notices.iter().find(|notice| !notice.is_null()).unwrap();
    assert_eq!(
        (&told["since"], &told["text"]["en"]),
        (&json!("1970-01-01T00:00:00.000Z"), &json!("Outage"))
    );
}

#[tokio::test]
async fn a_profile_needs_a_ticket_of_the_same_session() {
    let server = Server::new().await;
    let (mut ada, mut other) = (server.sign_in(ADA).await, server.sign_in(ADA).await);
    let path = "/api/connect/apple.mobileconfig";
    let bare = format!("{path}?label=iPhone&until=99999999999999&ticket={}", "0".repeat(64));
    assert_eq!(server.get(&mut ada, &bare).await.code, 404);
    assert_eq!(server.get(&mut ada, path).await.code, 422);
    let asked = json!({"label": "Adas iPhone & Co", "days": 30});
    let ticket = server.ask(&mut ada, "POST", "/api/connect/apple", asked).await.json();
    let url = ticket["url"].as_str().unwrap();
    assert_eq!(server.get(&mut other, url).await.code, 404, "another session's");
    assert_eq!(server.get(&mut ada, &url.replace("days=30", "days=31")).await.code, 404);
    assert_eq!(server.get(&mut ada, "/api/devices").await.json(), json!([]));
    let said = server.get(&mut ada, url).await;
    assert_eq!(said.code, 200);
    assert_eq!(said.headers[CONTENT_TYPE], "application/x-apple-aspen-config");
    let text = said.text();
    let text = text.strip_prefix("signed:").unwrap();
    let (_, rest) = text.split_once("<key>IncomingPassword</key><string>").unwrap();
    let plain = Secret::new(rest.split('<').next().unwrap().to_owned());
    let source = crate::base::source::Source::of([192, 0, 2, 9].into());
    assert!(server.directory.authenticate(ADA, &plain, source).await.unwrap().is_some());
    let devices = server.get(&mut ada, "/api/devices").await.json();
    assert_eq!(devices[0]["label"], "Adas iPhone & Co");
    assert!(devices[0]["expires"].is_string());
}

#[tokio::test]
async fn programs_find_their_settings() {
    let server = Server::new().await;
    let get = async |path: &str, host: Option<&str>| {
        let mut request = Request::get(path).body(Body::empty()).unwrap();
        if let Some(host) = host {
            request.extensions_mut().insert(Host::Name(host.to_owned()));
        }
        server.send(request).await
    };
    let known = get("/mail/config-v1.1.xml?emailaddress=ada%40ACME.example", None).await;
    assert!(known.text().contains("<domain>acme.example</domain>"), "{}", known.text());
    assert!(known.text().contains("<username>%EMAILADDRESS%</username>"));
    let path = "/.well-known/autoconfig/mail/config-v1.1.xml";
    let by_host = get(path, Some("autoconfig.acme.example")).await;
    assert_eq!(by_host.body, known.body);
    let nobody = get("/mail/config-v1.1.xml?emailaddress=nobody@acme.example", None).await;
    assert_eq!(nobody.body, known.body, "whoever it is");
    for path in [
        path,
        "/mail/config-v1.1.xml?emailaddress=a@other.example",
        "/mail/config-v1.1.xml?emailaddress=@",
    ] {
        assert_eq!(get(path, None).await.error(), failed(404, "not-found"), "{path}");
    }
    let post = async |path: &str, question: &str| {
        let request = Request::post(path).header(CONTENT_TYPE, "text/xml");
        server.send(request.body(Body::from(question.to_owned())).unwrap()).await
    };
    let question = |address: &str| {
        format!(
            "<Autodiscover><Request><EMailAddress>{address}</EMailAddress></Request></Autodiscover>"
        )
    };
    let said = post("/Autodiscover/AutoDiscover.XML", &question(ADA)).await;
    assert_eq!(said.code, 200);
    for piece in
        ["<Type>IMAP</Type>", "<Port>993</Port>", "<LoginName>ada@acme.example</LoginName>"]
    {
        assert!(said.text().contains(piece), "{}", said.text());
    }
    for (question, code) in
        [(question("a@other.example"), 500), (question("nobody"), 600), (String::new(), 600)]
    {
        let said = post("/autodiscover/autodiscover.xml", &question).await;
        assert!(said.text().contains(&format!("<ErrorCode>{code}</ErrorCode>")));
    }
    let long = post("/autodiscover/autodiscover.xml", &"x".repeat(70_000)).await;
    assert_eq!(long.code, 413);
    let said = get("/autodiscover/autodiscover.xml", None).await;
    assert_eq!((said.code, &said.headers["allow"]), (405, &"POST".parse().unwrap()));
    for path in
        ["/autodiscover/autodiscover.json?Protocol=x", "/Autodiscover/Autodiscover.json/v1.0/a"]
    {
        let said = get(path, None).await;
        assert_eq!(
            (said.code, said.json()["ErrorCode"].as_str()),
            (404, Some("ProtocolNotSupported"))
        );
    }
}

#[tokio::test]
async fn without_the_lease_nobody_is_answered() {
    let server = Server::new().await;
    let mut ada = server.sign_in(ADA).await;
    server.control.revoke();
    for path in ["/api/session", "/mail/config-v1.1.xml?emailaddress=ada@acme.example"] {
        let said = server.get(&mut ada, path).await;
        assert_eq!(said.error(), failed(503, "not-here"), "{path}");
        assert_eq!(said.headers["retry-after"], "1");
    }
}

/// As JMAP's handlers will take it.
#[tokio::test]
async fn programs_show_a_password_below_jmap_only_and_no_browser_asks_for_one() {
    use crate::web::caller::Caller;
    let server = Server::new().await;
    let web =
        Web::new(server.directory.clone(), Mail::new(server.store.0.clone()), Facts::default());
    let who = axum::routing::get(async |caller: Caller| {
        format!("{} {}", caller.login.address, caller.session.is_some())
    });
    let router = Router::new().route("/jmap/session", who.clone()).route("/other", who);
    let server = Server { web: router.with_state(web), ..server };
    let basic = |password: &str| format!("Basic {}", STANDARD.encode(format!("{ADA}:{password}")));
    let get = async |path: &str, fields: &[(&str, &str)]| {
        let mut request = Request::get(path);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        server.send(request.body(Body::empty()).unwrap()).await
    };
    let right = basic(PASSWORD);
    let said = get("/jmap/session", &[(AUTHORIZATION.as_str(), &right)]).await;
    assert_eq!((said.code, said.text()), (200, format!("{ADA} false")));
    let wrong = basic("wrong horse");
    for (path, fields, asks) in [
        ("/jmap/session", vec![], true),
        ("/jmap/session", vec![("authorization", wrong.as_str())], true),
        ("/jmap/session", vec![("x-understudy", "1")], false),
        ("/jmap/session", vec![("cookie", "__Host-understudy=x")], false),
        ("/other", vec![("authorization", right.as_str())], false),
    ] {
        let said = get(path, &fields).await;
        assert_eq!(said.error(), failed(401, "signed-out"), "{path} {fields:?}");
        assert_eq!(said.headers.contains_key("www-authenticate"), asks, "{path} {fields:?}");
    }
    let phone = server.directory.add_app_password(&server.lease, ADA, "phone", None).await.unwrap();
    let phone = basic(phone.plain.expose());
    assert_eq!(get("/jmap/session", &[("authorization", &phone)]).await.code, 200);
}

const ORIGIN: &str = "https://mx.example.net";

fn relying(origin: &str) -> Relying {
    Relying { id: "mx.example.net".into(), origin: origin.into() }
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// As the app says it.
fn registration(label: &str, said: &Registration) -> Value {
    json!({ "label": label, "client_data": text(&said.client_data), "key": text(&said.key),
        "authenticator_data": text(&said.authenticator_data), "algorithm": said.algorithm })
}

fn assertion(said: &Assertion) -> Value {
    json!({ "id": text(&said.id), "user": text(&said.user), "signature": text(&said.signature),
        "client_data": text(&said.client_data), "own_device": true,
        "authenticator_data": text(&said.authenticator_data) })
}

/// A person's new passkey, and its name.
async fn passkey(server: &Server, browser: &mut Browser) -> (Authenticator, String) {
    let password = json!({ "password": PASSWORD });
    let said = server.ask(browser, "POST", "/api/passkeys/options", password).await;
    assert_eq!(said.code, 200, "{}", said.text());
    let options = said.json();
    assert_eq!(options["rp"], "mx.example.net");
    assert_eq!(options["algorithms"], json!([-7, -8, -257]));
    let user = URL_SAFE_NO_PAD.decode(options["user"].as_str().unwrap()).unwrap();
    let device = Authenticator::new(PasskeyAlgorithm::Es256, &user);
    let said = device.register(&relying(ORIGIN), options["challenge"].as_str().unwrap());
    let said = server.ask(browser, "POST", "/api/passkeys", registration("Laptop", &said)).await;
    assert_eq!(said.code, 200, "{}", said.text());
    (device, said.json()["id"].as_str().unwrap().to_owned())
}

async fn challenge(server: &Server) -> String {
    let path = "/api/session/passkey/options";
    let said = server.ask(&mut Browser::default(), "POST", path, Value::Null).await;
    assert_eq!((said.code, &said.json()["rp"]), (200, &json!("mx.example.net")));
    // Two challenges of one millisecond are one.
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    said.json()["challenge"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_person_adds_a_passkey_signs_in_with_it_and_removes_it() {
    let server = Server::new().await;
    let mut ada = server.sign_in(ADA).await;
    let options = "/api/passkeys/options";
    let wrong = json!({ "password": "wrong horse" });
    assert_eq!(server.ask(&mut ada, "POST", options, wrong).await.error(), failed(401, "wrong"));
    let (device, id) = passkey(&server, &mut ada).await;
    let listed = server.get(&mut ada, "/api/passkeys").await.json();
    assert_eq!(listed[0]["id"], json!(id));
    assert_eq!(
        (&listed[0]["label"], &listed[0]["host"]),
        (&json!("Laptop"), &json!("mx.example.net"))
    );
    assert_eq!(listed[0]["used"], Value::Null);
    let mut fresh = Browser::default();
    let sign_in = "/api/session/passkey";
    let shown = assertion(&device.assert(&relying(ORIGIN), &challenge(&server).await));
    let said = server.ask(&mut fresh, "POST", sign_in, shown.clone()).await;
    assert_eq!((said.code, &said.json()["address"]), (200, &json!(ADA)), "{}", said.text());
    assert!(said.headers[SET_COOKIE].to_str().unwrap().contains("Max-Age="), "its own device");
    assert_ne!(server.get(&mut fresh, "/api/passkeys").await.json()[0]["used"], Value::Null);
    let again = server.ask(&mut Browser::default(), "POST", sign_in, shown).await;
    assert_eq!(again.error(), failed(401, "wrong"), "a challenge opens once");
    let elsewhere = device.assert(&relying("https://evil.example"), &challenge(&server).await);
    let said = server.ask(&mut Browser::default(), "POST", sign_in, assertion(&elsewhere)).await;
    assert_eq!(said.error(), failed(401, "wrong"));
    let path = format!("/api/passkeys/{id}");
    assert_eq!(server.ask(&mut ada, "DELETE", &path, Value::Null).await.code, 204);
    assert_eq!(
        server.ask(&mut ada, "DELETE", &path, Value::Null).await.error(),
        failed(404, "not-found")
    );
    assert_eq!(server.get(&mut fresh, "/api/session").await.error(), failed(401, "signed-out"));
    assert_eq!(server.get(&mut ada, "/api/session").await.code, 200, "by password");
    let shown = assertion(&device.assert(&relying(ORIGIN), &challenge(&server).await));
    let said = server.ask(&mut Browser::default(), "POST", sign_in, shown).await;
    assert_eq!(said.error(), failed(401, "wrong"));
}

#[tokio::test]
async fn passkeys_are_each_persons_own() {
    let server = Server::new().await;
    let (mut ada, mut eve) = (server.sign_in(ADA).await, server.sign_in(EVE).await);
    let (_, id) = passkey(&server, &mut ada).await;
    let (mut hers, _) = passkey(&server, &mut eve).await;
    assert_eq!(server.get(&mut eve, "/api/passkeys").await.json().as_array().unwrap().len(), 1);
    let path = format!("/api/passkeys/{id}");
    let said = server.ask(&mut eve, "DELETE", &path, Value::Null).await;
    assert_eq!(said.error(), failed(404, "not-found"));
    // Registering with the challenge that another person asked for.
    let password = json!({ "password": PASSWORD });
    let said = server.ask(&mut ada, "POST", "/api/passkeys/options", password).await.json();
    let said = hers.register(&relying(ORIGIN), said["challenge"].as_str().unwrap());
    let said = server.ask(&mut eve, "POST", "/api/passkeys", registration("x", &said)).await;
    assert_eq!(said.error(), failed(401, "wrong"));
    // Her passkey for Ada's account.
    let said =
        server.ask(&mut ada, "POST", "/api/passkeys/options", json!({ "password": PASSWORD }));
    let user = said.await.json()["user"].as_str().map(|user| URL_SAFE_NO_PAD.decode(user));
    hers.user = user.unwrap().unwrap();
    let shown = assertion(&hers.assert(&relying(ORIGIN), &challenge(&server).await));
    let said = server.ask(&mut Browser::default(), "POST", "/api/session/passkey", shown).await;
    assert_eq!(said.error(), failed(401, "wrong"));
    assert_eq!(server.get(&mut ada, "/api/passkeys").await.json()[0]["id"], json!(id));
}

#[tokio::test]
async fn passkeys_need_a_name_of_ours_and_the_header() {
    let server = Server::new().await;
    let ada = server.sign_in(ADA).await;
    let post = |path: &str, body: Value, host: Host| {
        let request = Request::builder().method("POST").uri(path).header("x-understudy", "1");
        let request = request.header(CONTENT_TYPE, "application/json");
        let request = request.header(COOKIE, ada.cookie.clone().unwrap()).extension(host);
        server.send(request.body(Body::from(body.to_string())).unwrap())
    };
    let device = Authenticator::new(PasskeyAlgorithm::EdDsa, b"");
    let shown = assertion(&device.assert(&relying(ORIGIN), ""));
    let made = registration("x", &device.register(&relying(ORIGIN), ""));
    let all = [
        ("/api/passkeys/options", json!({ "password": PASSWORD })),
        ("/api/passkeys", made),
        ("/api/session/passkey/options", json!({})),
        ("/api/session/passkey", shown),
    ];
    for (path, body) in &all {
        for host in [
            Host::Address("192.0.2.1".parse().unwrap()),
            Host::Address("2001:db8::1".parse().unwrap()),
            Host::Name("evil.example".into()),
        ] {
            let said = post(path, body.clone(), host).await;
            assert_eq!(said.error(), failed(404, "not-found"), "{path}");
        }
        let request = Request::builder().method("POST").uri(*path);
        let request = request.header(CONTENT_TYPE, "application/json");
        let request = request.header(COOKIE, ada.cookie.clone().unwrap());
        let said = server.send(request.body(Body::from(body.to_string())).unwrap()).await;
        assert_eq!(said.error(), failed(403, "not-allowed"), "{path}");
    }
    // Another name of ours is another relying party.
    let (path, body) = &all[2];
    let said = post(path, body.clone(), Host::Name("mail.example.org".into())).await;
    assert_eq!((said.code, &said.json()["rp"]), (200, &json!("mail.example.org")));
    for body in [
        json!({}),
        json!({ "id": "!", "user": "", "client_data": "", "authenticator_data": "", "signature": "" }),
    ] {
        let said = post("/api/session/passkey", body, Host::Name("mx.example.net".into())).await;
        assert_eq!(said.error(), failed(422, "invalid"));
    }
}

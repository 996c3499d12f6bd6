//! What the web app's requests cost: one account with many messages in conversations of five, asked over
//! HTTPS by one client, as the app asks.
//!
//! The appliance is alone (its standby is stopped), so that nobody else takes part in the machine; disks
//! are synced as always. Nothing is asked before all is indexed. Times end when an answer has been read.

use crate::appliance::{Pair, Setup};
use crate::imap;
use crate::mime::Rng;
use crate::net::{self, FLOATING, Host};
use crate::smtp::{Outcome, Sender};
use crate::spread::{millis, percentile};
use crate::timeline::{Timeline, Tone, print};
use crate::workdir::Workdir;
use crate::{Context, LabError, Options, Result, fail, metrics, now, pause, stage, wait_for};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Messages, when nobody says.
const MESSAGES: u32 = 100_000;
/// Messages of a conversation.
const THREAD: u32 = 5;
/// Connections that fill.
const FILLERS: u32 = 8;
/// How often each is asked.
const ROUNDS: u64 = 200;
const STABILITY_MS: u32 = 500;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a thousand messages may take to be delivered and indexed.
const PER_THOUSAND: Duration = Duration::from_secs(20);
/// After the last message: commits, merges, checkpoints.
const CALM: Duration = Duration::from_secs(15);
/// Most bytes of an answer.
const ANSWER_LEN_MAX: usize = 64 << 20;
const USER: &str = "web@customer.example";
const PASSWORD: &str = "a long enough password";
const HEAD: &str = "id blobId threadId mailboxIds keywords size receivedAt from to cc subject preview \
    hasAttachment";
const BODY: &str = "id bcc replyTo sentAt messageId inReplyTo references bodyStructure textBody htmlBody \
    attachments bodyValues";
const PART: &str = "partId blobId size name type charset disposition cid";
const TOPICS: [&str; 16] = [
    "Rechnung",
    "Angebot",
    "Vertrag",
    "Besprechung",
    "Protokoll",
    "Lieferung",
    "Urlaub",
    "Projekt",
    "invoice",
    "meeting",
    "delivery",
    "appointment",
    "budget",
    "review",
    "release",
    "deployment",
];
const SYLLABLES: [&str; 16] = [
    "ka", "len", "dor", "mi", "tra", "gen", "ves", "ton", "schu", "ber", "fin", "gar", "ent", "zu",
    "ro", "wal",
];

/// Measures.
///
/// # Errors
/// The world or the pair cannot be made, or a request is refused.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    net::build()?;
    let tale = Timeline::start(options.json);
    let mut work = Workdir::new(options.keep.as_deref())?;
    let messages = options.messages.unwrap_or(MESSAGES).max(2 * THREAD);
    let calm = Setup::calm(STABILITY_MS);
    let rows = stage::with_pair(options, &mut work, "pair", &calm, &tale, |pair| {
        measure(pair, messages, &tale)
    })?;
    if options.json {
        let row = |(name, first, times): &Row| {
            let (p50, p95) = (millis(percentile(times, 50)), millis(percentile(times, 95)));
            (name.to_string(), json!({ "first_ms": millis(*first), "p50_ms": p50, "p95_ms": p95 }))
        };
        let all: serde_json::Map<String, Value> = rows.iter().map(row).collect();
        print(&json!({ "messages": messages, "requests": all }).to_string());
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!(
        "\n  {:<44}{:>10}{:>10}{:>10}",
        format!("{messages} messages, ms"),
        "first",
        "p50",
        "p95"
    ));
    for (name, first, times) in &rows {
        let (p50, p95) = (millis(percentile(times, 50)), millis(percentile(times, 95)));
        print(&format!("  {name:<44}{:>10.1}{p50:>10.1}{p95:>10.1}", millis(*first)));
    }
    Ok(ExitCode::SUCCESS)
}

/// What was asked, the first time and all times after it.
type Row = (&'static str, Duration, Vec<Duration>);

fn measure(pair: &mut Pair, messages: u32, tale: &Timeline) -> Result<Vec<Row>> {
    let primary = pair.primary().ok_or_else(|| LabError("nobody is primary".into()))?;
    pair.of(primary).cli(&["account", "create", USER])?;
    pair.of(primary).cli_with_input(&["credential", "password", USER], PASSWORD)?;
    pair.of_mut(primary.peer()).stop()?;
    let tls = imap::trust(&pair.of(primary).authority())?;
    let limit = PER_THOUSAND * messages.div_ceil(1_000) + CALM;
    let begun = now();
    fill(messages)?;
    let rate = f64::from(messages) / begun.elapsed().as_secs_f64();
    tale.say(
        Tone::Plain,
        format!("{messages} messages delivered, {rate:.0} a second, the indexer beside it"),
    );
    wait_for("all is indexed", limit, || {
        pause(Duration::from_millis(200))?;
        Ok(metrics::read(primary, "understudy_search_indexed_total")? >= u64::from(messages))
    })?;
    let rate = f64::from(messages) / begun.elapsed().as_secs_f64();
    tale.say(Tone::Plain, format!("all is indexed, {rate:.0} a second since the first came"));
    pause(CALM)?;
    pair.of_mut(primary).stop()?;
    pair.of_mut(primary).start()?;
    pair.wait_primary(primary)?;
    tale.say(Tone::Plain, "started again; now the app asks");
    net::join(net::thread(Host::Client, "app", move || ask(&tls, messages))?)?
}

fn ask(tls: &Arc<ClientConfig>, messages: u32) -> Result<Vec<Row>> {
    let mut app = App::sign_in(tls)?;
    let (mut rng, mut rows) = (Rng::new(1), Vec::new());
    let at = now();
    let inbox = app.inbox()?;
    rows.push(("mailboxes: the very first request", at.elapsed(), Vec::new()));
    let mut ids = Vec::new();
    rows.push(timed("list: the newest 50 conversations", |_| {
        let list = app.list(&json!({ "inMailbox": inbox }), 0, false)?;
        ids = texts(&list, "/methodResponses/1/1/list", "/id");
        if ids.len() == 50 { Ok(()) } else { fail(format!("a list of {}", ids.len())) }
    })?);
    let pages = u64::from(messages / THREAD / 50);
    rows.push(timed("list: 50 somewhere", |_| {
        let position = rng.below(pages.max(1)) * 50;
        let list = app.list(&json!({ "inMailbox": inbox }), position, false)?;
        ids.extend(texts(&list, "/methodResponses/1/1/list", "/id"));
        Ok(())
    })?);
    rows.push(timed("open a message: parts, HTML sanitised", |_| {
        let at = usize::try_from(rng.below(ids.len() as u64)).unwrap_or_default();
        app.open(ids.get(at).map_or("", String::as_str))
    })?);
    rows.push(timed("search: a word in every fourth message", |n| app.search(topic(n)))?);
    rows.push(timed("search: two words", |n| {
        app.search(&format!("{} {}", topic(n), topic(n + 5)))
    })?);
    rows.push(timed("search: a rare word", |n| app.search(&word(&mut Rng::new(n))))?);
    rows.push(timed("a flag set, synced", |n| {
        let at = usize::try_from(n).unwrap_or_default() % ids.len().max(1);
        app.flag(ids.get(at).map_or("", String::as_str), n.is_multiple_of(2))
    })?);
    Ok(rows)
}

fn timed(name: &'static str, mut ask: impl FnMut(u64) -> Result<()>) -> Result<Row> {
    let mut once = |n| -> Result<Duration> {
        let at: Instant = now();
        ask(n)?;
        Ok(at.elapsed())
    };
    let first = once(0)?;
    let times = (1..=ROUNDS).map(once).collect::<Result<Vec<Duration>>>()?;
    Ok((name, first, times))
}

/// The app: a session of HTTP/1.1 with its cookie.
struct App {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
    cookie: String,
    account: String,
}

impl App {
    fn sign_in(tls: &Arc<ClientConfig>) -> Result<Self> {
        let stream = TcpStream::connect(format!("{FLOATING}:443")).context("connect")?;
        stream.set_read_timeout(Some(PATIENCE)).context("timeout")?;
        stream.set_nodelay(true).context("nodelay")?;
        let server = ServerName::try_from(FLOATING).context("server name")?;
        let session = ClientConnection::new(Arc::clone(tls), server).context("TLS")?;
        let stream = BufReader::new(StreamOwned::new(session, stream));
        let mut app = Self { stream, cookie: String::new(), account: String::new() };
        app.request("POST", "/api/session", &json!({ "name": USER, "password": PASSWORD }))?;
        let session = app.request("GET", "/jmap/session", &Value::Null)?;
        let account =
            session.pointer("/primaryAccounts/urn:ietf:params:jmap:mail").and_then(Value::as_str);
        app.account = account.or_fail("the session names no account")?.to_owned();
        Ok(app)
    }

    fn call(&mut self, calls: Value) -> Result<Value> {
        let using =
            ["core", "mail", "submission"].map(|name| format!("urn:ietf:params:jmap:{name}"));
        let answer =
            self.request("POST", "/jmap/api", &json!({ "using": using, "methodCalls": calls }))?;
        let errors = answer.get("methodResponses").and_then(Value::as_array).into_iter().flatten();
        match errors.into_iter().find(|one| one.pointer("/0") == Some(&json!("error"))) {
            Some(error) => fail(format!("JMAP: {error}")),
            None => Ok(answer),
        }
    }

    fn inbox(&mut self) -> Result<String> {
        let all =
            self.call(json!([["Mailbox/get", { "accountId": self.account, "ids": null }, "0"]]))?;
        let list = all.pointer("/methodResponses/0/1/list").and_then(Value::as_array);
        let inbox = list.into_iter().flatten().find(|one| one.get("role") == Some(&json!("inbox")));
        let id = inbox.and_then(|one| one.get("id")).and_then(Value::as_str);
        Ok(id.or_fail("there is no inbox")?.to_owned())
    }

    /// As `ui/src/lib/state/mail.svelte.ts` fetches a page.
    fn list(&mut self, filter: &Value, position: u64, snippets: bool) -> Result<Value> {
        let account = self.account.clone();
        let of = |call: &str, name: &str, path: &str| json!({ "resultOf": call, "name": name, "path": path });
        let mut calls = vec![
            json!(["Email/query", { "accountId": account, "filter": filter, "position": position, "limit": 50,
                "sort": [{ "property": "receivedAt", "isAscending": false }],
                "collapseThreads": true, "calculateTotal": true }, "0"]),
            json!(["Email/get", { "accountId": account, "#ids": of("0", "Email/query", "/ids"),
                "properties": words(HEAD) }, "1"]),
            json!(["Thread/get", { "accountId": account,
                "#ids": of("1", "Email/get", "/list/*/threadId") }, "2"]),
        ];
        if snippets {
            calls.push(json!(["SearchSnippet/get", { "accountId": account, "filter": filter,
                "#emailIds": of("0", "Email/query", "/ids") }, "3"]));
        }
        self.call(Value::Array(calls))
    }

    fn search(&mut self, text: &str) -> Result<()> {
        self.list(&json!({ "text": text }), 0, true).map(drop)
    }

    fn open(&mut self, id: &str) -> Result<()> {
        let body = self.call(json!([["Email/get", { "accountId": self.account, "ids": [id],
            "properties": words(BODY), "bodyProperties": words(PART), "fetchTextBodyValues": true,
            "fetchHTMLBodyValues": true, "sanitizeHTML": true, "maxBodyValueBytes": 2_000_000 }, "0"]]))?;
        match body.pointer("/methodResponses/0/1/list/0/bodyValues") {
            Some(Value::Object(values)) if !values.is_empty() => Ok(()),
            _ => fail(format!("no body: {body}")),
        }
    }

    fn flag(&mut self, id: &str, set: bool) -> Result<()> {
        let value = if set { json!(true) } else { Value::Null };
        let update = json!({ id: { "keywords/$flagged": value } });
        self.call(json!([["Email/set", { "accountId": self.account, "update": update }, "0"]]))
            .map(drop)
    }

    fn request(&mut self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {FLOATING}\r\nX-Understudy: 1\r\n\
             Content-Type: application/json\r\nCookie: {}\r\nContent-Length: {}\r\n\r\n{body}",
            self.cookie,
            body.len()
        );
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes()).context(path)?;
        stream.flush().context(path)?;
        let status = self.line()?;
        let (mut len, mut chunked) = (0, false);
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => len = value.parse().context("length")?,
                "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
                "set-cookie" => {
                    self.cookie = value.split(';').next().unwrap_or_default().to_owned()
                }
                _ => {}
            }
        }
        let body = if chunked { self.chunks()? } else { self.exactly(len)? };
        if !status.contains(" 20") {
            return fail(format!("{path}: {status}: {}", String::from_utf8_lossy(&body)));
        }
        if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body).context(path) }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stream.by_ref().take(16 << 10).read_line(&mut line).context("answer")?;
        if line.ends_with('\n') {
            Ok(line.trim_end().to_owned())
        } else {
            fail("connection closed")
        }
    }

    fn exactly(&mut self, len: usize) -> Result<Vec<u8>> {
        if len > ANSWER_LEN_MAX {
            return fail(format!("an answer of {len} bytes"));
        }
        let mut body = vec![0; len];
        self.stream.read_exact(&mut body).context("answer")?;
        Ok(body)
    }

    /// RFC 9112 7.1
    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while body.len() <= ANSWER_LEN_MAX {
            let len = usize::from_str_radix(&self.line()?, 16).context("chunk")?;
            body.extend(self.exactly(len)?);
            self.line()?;
            if len == 0 {
                return Ok(body);
            }
        }
        fail("an answer without an end")
    }
}

/// `Option` as an error in words.
trait OrFail<T> {
    fn or_fail(self, what: &str) -> Result<T>;
}

impl<T> OrFail<T> for Option<T> {
    fn or_fail(self, what: &str) -> Result<T> {
        self.ok_or_else(|| LabError(what.to_owned()))
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn texts(answer: &Value, list: &str, pointer: &str) -> Vec<String> {
    let all = answer.pointer(list).and_then(Value::as_array).into_iter().flatten();
    all.filter_map(|one| one.pointer(pointer)?.as_str().map(str::to_owned)).collect()
}

fn topic(n: u64) -> &'static str {
    let at = usize::try_from(n).unwrap_or_default() % TOPICS.len();
    TOPICS.get(at).copied().unwrap_or_default()
}

/// One of 65,536.
fn word(rng: &mut Rng) -> String {
    (0..4)
        .map(|_| {
            usize::try_from(rng.below(16))
                .ok()
                .and_then(|at| SYLLABLES.get(at))
                .copied()
                .unwrap_or("")
        })
        .collect()
}

/// Text and HTML, in a conversation of [`THREAD`].
fn message(n: u32) -> String {
    let mut rng = Rng::new(u64::from(n));
    let first = n - n % THREAD;
    let answers = if n == first {
        String::new()
    } else {
        format!("In-Reply-To: <{first}@web.example>\r\nReferences: <{first}@web.example>\r\n")
    };
    let re = if n == first { "" } else { "Re: " };
    let mut text = String::new();
    for i in 0..80 + rng.below(160) {
        match rng.below(12) {
            0 => text.push_str(topic(rng.below(64))),
            _ => text.push_str(&word(&mut rng)),
        }
        text.push_str(if i % 12 == 11 { ".\r\n" } else { " " });
    }
    format!(
        "From: Person {0} <person{0}@firma{1}.example>\r\nTo: <{USER}>\r\n\
         Message-ID: <{n}@web.example>\r\n{answers}Subject: {re}{2} {3} {first}\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/alternative; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n\
         --b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<html><body><p style=\"color:#333\">{text}</p>\
         <a href=\"https://firma.example/\">link</a><script>no()</script></body></html>\r\n--b--\r\n",
        rng.below(2_000),
        rng.below(300),
        topic(u64::from(first)),
        topic(u64::from(first / 16)),
    )
}

fn fill(messages: u32) -> Result<()> {
    let mut threads = Vec::new();
    for filler in 0..FILLERS {
        threads.push(net::thread(Host::Sender, "filler", move || fill_part(filler, messages))?);
    }
    for thread in threads {
        net::join(thread)??;
    }
    Ok(())
}

/// Whole conversations, so that their first message comes first.
fn fill_part(filler: u32, messages: u32) -> Result<()> {
    let mut sender: Option<Sender> = None;
    for n in (0..messages).filter(|n| n / THREAD % FILLERS == filler) {
        let message = message(n);
        let end = now() + PATIENCE;
        loop {
            let mut connected = match sender.take() {
                Some(sender) => sender,
                None => match Sender::connect() {
                    Ok(sender) => sender,
                    Err(e) if now() > end => return Err(e),
                    Err(_) => continue,
                },
            };
            match connected.send(USER, &message) {
                Outcome::Accepted => {
                    sender = Some(connected);
                    break;
                }
                Outcome::Later if now() < end => {}
                other => return fail(format!("message {n}: {other:?}")),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_mail_in_conversations() {
        assert_eq!(message(7), message(7));
        let lines = message(7);
        assert!(
            lines.contains("In-Reply-To: <5@web.example>") && !message(5).contains("In-Reply-To")
        );
        assert!(lines.split("\r\n").all(|l| l.len() <= 998 && !l.contains(['\r', '\n'])));
    }
}

//! The app: files that were embedded when the program was built (`build.rs`).
//!
//! Invariants: a file is served as it was built, compressed if the client takes that; what the app's own
//! router shows (`/mail/3`) is answered with the app's first page, and only to who navigates there.

use axum::extract::Request;
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};

/// One file.
struct Asset {
    /// Path below the root, without its first slash.
    name: &'static str,
    /// Weak: the same for all codings.
    etag: &'static str,
    plain: &'static [u8],
    brotli: Option<&'static [u8]>,
    gzip: Option<&'static [u8]>,
}

/// The app; empty in a build without it. Sorted by name.
static ASSETS: &[Asset] = &include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// Whose app is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum App {
    /// Everybody's.
    People,
    /// The operators'.
    Console,
}

impl App {
    /// Its first page.
    const fn page(self) -> &'static str {
        match self {
            Self::People => INDEX,
            Self::Console => CONSOLE,
        }
    }

    /// Whether a file is part of it. Icons are of both.
    fn has(self, name: &str) -> bool {
        let is_console = name == CONSOLE || name.starts_with(CONSOLE_HASHED);
        match self {
            Self::People => !is_console,
            Self::Console => is_console || name.starts_with(ICONS),
        }
    }

    /// For people who come to a build without it.
    const fn missing(self) -> &'static str {
        match self {
            Self::People => NO_APP,
            Self::Console => NO_CONSOLE,
        }
    }
}

const INDEX: &str = "index.html";
const CONSOLE: &str = "console.html";
/// The start of the names of icons.
const ICONS: &str = "icon";
/// Where names carry a hash of the content.
const HASHED: &str = "assets/";
/// The same of the console, which is built by itself.
const CONSOLE_HASHED: &str = "assets/console/";
/// Paths that are no pages of the app, whoever asks.
const NO_PAGES: &[&str] =
    &["api", "jmap", ".well-known", "assets", "mail/config-v1.1.xml", "autodiscover"];

/// What the app's own pages may do. Workers take theirs from their own file, so that it goes with all.
const APP_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data: blob:; connect-src 'self'; font-src 'self'; frame-src 'self' blob:; \
    manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; \
    trusted-types default dompurify understudy svelte-trusted-html";

/// What a message may do: be looked at. No scripts by three locks (`sandbox`, `default-src`, and the
/// sandbox of the app's `iframe`); the origin is the app's, so that the app can fill and measure the
/// frame, and nobody in it can use that.
const FRAME_POLICY: &str = "sandbox allow-same-origin allow-popups allow-popups-to-escape-sandbox; \
    default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'self'";
/// The same once the reader has agreed to images of others.
const FRAME_POLICY_IMAGES: &str = "sandbox allow-same-origin allow-popups allow-popups-to-escape-sandbox; \
    default-src 'none'; style-src 'unsafe-inline'; img-src data: blob: https:; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'self'";
/// The app's pages that messages are shown in.
const FRAME: &str = "message.html";
/// The one that is asked for after consent.
const FRAME_IMAGES: &str = "message-images.html";

/// For people who come to a build without the app.
const NO_APP: &str = r#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Understudy</title></head>
<body>
<h1>Understudy</h1>
<p lang="de">Diese Fassung des Programms enthält die Web-App nicht. Ihre Post erreichen Sie mit einem
Mailprogramm (IMAP).</p>
<p lang="en">This build of the program does not contain the web app. Your mail is within reach of a mail
program (IMAP).</p>
</body>
</html>
"#;

const NO_CONSOLE: &str = r#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Understudy</title></head>
<body>
<h1>Understudy</h1>
<p lang="de">Diese Fassung des Programms enthält die Verwaltungsoberfläche nicht. Verwaltet wird das Gerät mit
dem Befehl understudy (SSH).</p>
<p lang="en">This build of the program does not contain the console's app. The appliance is administered with
the command understudy (SSH).</p>
</body>
</html>
"#;

/// Answers every path that is no route.
pub(super) async fn serve(app: App, request: Request) -> Response {
    answer(ASSETS, app, request.uri().path(), request.headers())
}

fn answer(assets: &'static [Asset], app: App, path: &str, headers: &HeaderMap) -> Response {
    let name = path.trim_start_matches('/');
    if let Some(asset) = find(assets, name).filter(|asset| app.has(asset.name)) {
        return file(asset, headers);
    }
    let page = ![INDEX, CONSOLE].contains(&name)
        && !NO_PAGES.iter().any(|no| {
            name.strip_prefix(no).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
    if !page || !takes_html(headers) {
        return (StatusCode::NOT_FOUND, "There is nothing here.\n").into_response();
    }
    match find(assets, app.page()) {
        Some(page) => file(page, headers),
        None => ([(CONTENT_SECURITY_POLICY, APP_POLICY)], Html(app.missing())).into_response(),
    }
}

fn find(assets: &'static [Asset], name: &str) -> Option<&'static Asset> {
    assets.iter().find(|asset| asset.name == name)
}

fn file(asset: &'static Asset, headers: &HeaderMap) -> Response {
    let keep = if asset.name.starts_with(HASHED) {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let policy = match asset.name {
        FRAME => FRAME_POLICY,
        FRAME_IMAGES => FRAME_POLICY_IMAGES,
        _ => APP_POLICY,
    };
    let known = headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    let fields = [
        (CACHE_CONTROL, keep),
        (CONTENT_SECURITY_POLICY, policy),
        (ETAG, asset.etag),
        (VARY, "accept-encoding"),
        // A page does not tell resolvers which links a message has.
        (HeaderName::from_static("x-dns-prefetch-control"), "off"),
    ];
    // RFC 9110 13.1.2.
    if known.is_some_and(|known| known.split(',').any(|tag| tag.trim() == asset.etag)) {
        return (StatusCode::NOT_MODIFIED, fields).into_response();
    }
    let (coding, bytes) = match (asset.brotli, asset.gzip) {
        (Some(bytes), _) if takes(headers, "br") => (Some("br"), bytes),
        (_, Some(bytes)) if takes(headers, "gzip") => (Some("gzip"), bytes),
        _ => (None, asset.plain),
    };
    let mut response = (fields, [(CONTENT_TYPE, kind(asset.name))], bytes).into_response();
    if let Some(coding) = coding {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    response
}

/// Whether the client takes `coding` (RFC 9110 12.5.3). Only who names it does: `*` says too little.
fn takes(headers: &HeaderMap, coding: &str) -> bool {
    items(headers, &ACCEPT_ENCODING).any(|(name, weight)| name == coding && weight)
}

/// Whether it navigates: programs that ask for anything (`*/*`) get no page.
fn takes_html(headers: &HeaderMap) -> bool {
    items(headers, &ACCEPT).any(|(name, weight)| name == "text/html" && weight)
}

/// The names in a list, in lower case, and whether their weight is above zero.
fn items<'h>(
    headers: &'h HeaderMap,
    field: &HeaderName,
) -> impl Iterator<Item = (String, bool)> + 'h {
    let texts = headers.get_all(field).into_iter().filter_map(|value| value.to_str().ok());
    let texts = texts.map(str::to_ascii_lowercase);
    let items = texts.flat_map(|text| text.split(',').map(str::to_owned).collect::<Vec<_>>());
    items.map(|item| {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_owned();
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        (name, !weight.is_some_and(|q| q.trim_start_matches(['0', '.']).is_empty()))
    })
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, end)| end) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        "xml" => "application/xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static APP: &[Asset] = &[
        Asset {
            name: "assets/a-1.js",
            etag: "W/\"1\"",
            plain: b"plain",
            brotli: Some(b"br"),
            gzip: Some(b"gz"),
        },
        Asset { name: "console.html", etag: "W/\"3\"", plain: b"<c>", brotli: None, gzip: None },
        Asset { name: "index.html", etag: "W/\"2\"", plain: b"<p>", brotli: None, gzip: None },
    ];

    fn ask(path: &str, fields: &[(HeaderName, &'static str)]) -> (u16, String, HeaderMap) {
        ask_of(App::People, path, fields)
    }

    fn ask_of(
        app: App,
        path: &str,
        fields: &[(HeaderName, &'static str)],
    ) -> (u16, String, HeaderMap) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        let response = answer(APP, app, path, &headers);
        let (parts, body) = response.into_parts();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bytes = runtime.block_on(axum::body::to_bytes(body, 1 << 20)).unwrap();
        (parts.status.as_u16(), String::from_utf8(bytes.into()).unwrap(), parts.headers)
    }

    #[test]
    fn a_file_comes_in_the_best_coding_that_the_client_takes() {
        for (accept, body) in [
            ("gzip, deflate, br", "br"),
            ("gzip;q=1.0, br;q=0", "gz"),
            ("GZIP", "gz"),
            ("br;q=0.0, gzip;q=0.000", "plain"),
            ("*", "plain"),
        ] {
            let (code, said, headers) = ask("/assets/a-1.js", &[(ACCEPT_ENCODING, accept)]);
            assert_eq!((code, said.as_str()), (200, body), "{accept}");
            assert_eq!(headers[CACHE_CONTROL], "public, max-age=31536000, immutable");
            assert_eq!(headers[CONTENT_TYPE], "text/javascript; charset=utf-8");
            assert_eq!(headers.contains_key(CONTENT_ENCODING), body != "plain");
            assert_eq!(headers[VARY], "accept-encoding");
        }
    }

    #[test]
    fn an_app_that_is_embedded_is_whole() {
        assert!(ASSETS.is_empty() || find(ASSETS, INDEX).is_some());
        for asset in ASSETS {
            let smaller =
                |packed: Option<&[u8]>| packed.is_none_or(|p| p.len() < asset.plain.len());
            assert!(smaller(asset.brotli) && smaller(asset.gzip), "{}", asset.name);
            assert_ne!(kind(asset.name), "application/octet-stream", "{}", asset.name);
        }
    }

    #[test]
    fn who_has_a_file_is_told_so() {
        let (code, said, headers) = ask("/index.html", &[(IF_NONE_MATCH, "W/\"9\", W/\"2\"")]);
        assert_eq!((code, said.as_str()), (304, ""));
        assert_eq!(headers[CACHE_CONTROL], "no-cache");
        assert_eq!(ask("/index.html", &[(IF_NONE_MATCH, "W/\"1\"")]).0, 200);
    }

    #[test]
    fn paths_of_the_app_are_its_first_page_and_no_others() {
        let browser = [(ACCEPT, "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")];
        for path in ["/", "/mail/3", "/settings", "/apiary"] {
            let (code, said, headers) = ask(path, &browser);
            assert_eq!((code, said.as_str()), (200, "<p>"), "{path}");
            assert!(headers[CONTENT_SECURITY_POLICY].to_str().unwrap().contains("trusted-types"));
        }
        for path in ["/api", "/api/x", "/jmap/x", "/.well-known/x", "/assets/gone.js"] {
            assert_eq!(ask(path, &browser).0, 404, "{path}");
        }
        assert_eq!(ask("/mail/3", &[(ACCEPT, "*/*")]).0, 404);
        assert_eq!(ask("/mail/3", &[]).0, 404);
    }

    #[test]
    fn the_console_and_the_app_share_icons_only() {
        let browser = [(ACCEPT, "text/html")];
        let ask = |app, path| {
            let (code, said, _) = ask_of(app, path, &browser);
            (code, said)
        };
        for path in ["/", "/audit"] {
            assert_eq!(ask(App::Console, path), (200, "<c>".to_owned()), "{path}");
            assert_eq!(ask(App::People, path), (200, "<p>".to_owned()), "{path}");
        }
        assert_eq!(ask(App::Console, "/index.html").0, 404);
        assert_eq!(ask(App::People, "/console.html").0, 404);
        for name in ["assets/console/a-1.js", CONSOLE] {
            assert!(App::Console.has(name) && !App::People.has(name), "{name}");
        }
        for name in ["icon.svg", "icon-192.png"] {
            assert!(App::Console.has(name) && App::People.has(name), "{name}");
        }
        for name in [
            "assets/a-1.js",
            "message.html",
            "message-images.html",
            "sw.js",
            "manifest.webmanifest",
        ] {
            assert!(App::People.has(name) && !App::Console.has(name), "{name}");
        }
    }

    #[test]
    fn a_message_may_load_images_of_others_only_when_asked_for() {
        assert!(!FRAME_POLICY.contains("https:"));
        assert_eq!(FRAME_POLICY.replace("blob:;", "blob: https:;"), FRAME_POLICY_IMAGES);
        for (name, wanted) in
            [(FRAME, FRAME_POLICY), (FRAME_IMAGES, FRAME_POLICY_IMAGES), (INDEX, APP_POLICY)]
        {
            let page = find(ASSETS, name).unwrap();
            let policy = file(page, &HeaderMap::new()).headers()[CONTENT_SECURITY_POLICY].clone();
            assert_eq!(policy, wanted, "{name}");
        }
    }
}

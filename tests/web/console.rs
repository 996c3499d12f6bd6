//! The operators' console over TLS, and what is served where.

use super::browser::Browser;
use crate::smtp::appliance::Appliance;
use serde_json::{Value, json};

#[test]
fn an_operator_signs_in_asks_and_is_written_down() {
    let appliance = Appliance::start();
    let password = appliance.hear(&["operator", "add", "anna"], "");
    let credentials = json!({"name": "anna", "password": password.trim_end()});
    let anna = Browser::at(&appliance, appliance.console, "anna");
    let session = "/api/console/session";

    assert_eq!(anna.ask("GET", session, &Value::Null).0, 401);
    let wrong = json!({"name": "anna", "password": "wrong horse battery"});
    let (code, said) = anna.ask("POST", session, &wrong);
    assert_eq!((code, &said["error"]), (401, &json!("wrong")));
    let form = credentials.to_string();
    let (code, _) =
        anna.send("POST", session, form.as_bytes(), &["-H", "Content-Type: application/json"]);
    assert_eq!(code, 403, "without our header");
    let (code, said) = anna.ask("POST", session, &credentials);
    assert_eq!((code, &said["name"]), (200, &json!("anna")), "{said}");
    assert_eq!(said["appliance"], "mx.here.example");
    let (code, again) = anna.ask("GET", session, &Value::Null);
    assert_eq!((code, &again["version"]), (200, &json!(env!("CARGO_PKG_VERSION"))));

    let ask = |request: Value| anna.ask("POST", "/api/console/ask", &request);
    let (code, said) = ask(json!({"cmd": "status"}));
    assert_eq!((code, &said["ok"]["status"]["role"]), (200, &json!("primary")), "{said}");
    let event = anna.first_event("/api/console/status");
    let data = event.strip_prefix("event: status\ndata: ").expect(&event);
    assert_eq!(serde_json::from_str::<Value>(data).unwrap()["hostname"], "mx.here.example");
    let (code, said) = ask(json!({"cmd": "tenant-create", "args": {"name": "beta"}}));
    assert_eq!((code, said), (200, json!({"ok": "done"})));
    let (code, said) = ask(json!({"cmd": "tenant-create", "args": {"name": "beta"}}));
    assert_eq!((code, said["error"]["what"].is_string()), (200, true));
    let export = json!({"tenant": "beta", "file": "/x", "passphrase": "x"});
    let (code, said) = ask(json!({"cmd": "tenant-export", "args": export}));
    assert_eq!((code, said["error"]["do"].is_string()), (200, true));
    assert_eq!(ask(json!({"cmd": "drop-all"})).0, 422);
    let (code, said) = ask(json!({"cmd": "certificate-list"}));
    let certificate = &said["ok"]["certificates"][0];
    assert_eq!((code, &certificate["source"]), (200, &json!("authority")));
    assert_eq!(certificate["names"], json!(["mx.here.example", "127.0.0.1"]));
    let (code, said) =
        anna.send("PUT", "/api/console/update", b"no update", &["-H", "X-Understudy: 1"]);
    assert_eq!(code, 422, "{}", String::from_utf8_lossy(&said));

    let (_, said) = ask(json!({"cmd": "audit", "args": {"limit": 2}}));
    let lines = said["ok"]["audit"].as_array().unwrap();
    let line =
        |n: usize| (&lines[n]["by"], &lines[n]["command"], &lines[n]["about"], &lines[n]["ok"]);
    let wanted = (json!("operator anna"), json!("tenant-create"), json!("beta"));
    assert_eq!(line(1), (&wanted.0, &wanted.1, &wanted.2, &json!(true)));
    assert_eq!(line(0), (&wanted.0, &wanted.1, &wanted.2, &json!(false)));
    let audit = appliance.hear(&["audit"], "");
    assert!(audit.contains("operator-add") && audit.contains("operator anna"), "{audit}");
    assert!(!audit.contains(password.trim_end()));

    // A new password ends what was begun with the old one, at once.
    appliance.tell(&["operator", "password", "anna"], "battery staple correct");
    assert_eq!(ask(json!({"cmd": "status"})).0, 401);
    let changed = json!({"name": "anna", "password": "battery staple correct"});
    assert_eq!(anna.ask("POST", session, &credentials).0, 401);
    assert_eq!(anna.ask("POST", session, &changed).0, 200);
    assert_eq!(anna.ask("DELETE", session, &Value::Null).0, 204);
    assert_eq!(anna.ask("GET", session, &Value::Null).0, 401);
    assert_eq!(anna.ask("POST", session, &changed).0, 200);
    appliance.tell(&["operator", "remove", "anna"], "");
    assert_eq!(anna.ask("GET", session, &Value::Null).0, 401);
}

#[test]
fn the_console_and_the_web_serve_nothing_of_each_other() {
    let appliance = Appliance::start();
    let console = Browser::at(&appliance, appliance.console, "x");
    let web = Browser::at(&appliance, appliance.https, "x");
    for path in
        ["/jmap/session", "/.well-known/jmap", "/api/session", "/api/people", "/api/admin/ask"]
    {
        assert_eq!(console.send("GET", path, b"", &[]).0, 404, "{path}");
    }
    for path in ["/api/console/session", "/api/console/status", "/console.html"] {
        assert_eq!(web.send("GET", path, b"", &["-H", "Accept: text/html"]).0, 404, "{path}");
    }
    let html = ["-H", "Accept: text/html"];
    let (code, page) = console.send("GET", "/", b"", &html);
    assert_eq!(code, 200);
    assert_ne!(page, web.send("GET", "/", b"", &html).1);
    for path in ["/index.html", "/message.html", "/sw.js"] {
        assert_eq!(console.send("GET", path, b"", &[]).0, 404, "{path}");
    }
}

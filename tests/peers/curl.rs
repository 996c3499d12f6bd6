//! curl at the other end of HTTP, trusting the appliance's own authority.

use crate::smtp::appliance::Appliance;
use std::path::Path;
use std::process::Command;

/// What curl has printed: the answer's header and body.
fn curl(appliance: &Appliance, arguments: &[&str]) -> String {
    assert!(Path::new("/usr/bin/curl").exists(), "install curl for this test");
    let output = Command::new("/usr/bin/curl")
        .args(["--silent", "--show-error", "--include", "--noproxy", "*", "--max-time", "60"])
        .arg("--cacert")
        .arg(appliance.authority())
        .args(["--connect-to", &format!("mx.here.example:443:127.0.0.1:{}", appliance.https)])
        .args(["--connect-to", &format!("mx.here.example:80:127.0.0.1:{}", appliance.http)])
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}\n{said}\n{output:?}\n{}", appliance.log());
    said
}

#[track_caller]
fn says(said: &str, words: &[&str]) {
    for words in words {
        assert!(said.contains(words), "{words:?} is not in\n{said}");
    }
}

#[test]
fn browsers_find_the_app_over_either_version() {
    let appliance = Appliance::start();
    let page = ["--header", "accept: text/html", "https://mx.here.example/inbox"];
    for (version, first) in [("--http1.1", "HTTP/1.1 200 OK\r\n"), ("--http2", "HTTP/2 200 \r\n")] {
        let said = curl(&appliance, &[&[version], &page[..]].concat());
        assert!(said.starts_with(first), "{said}");
        says(&said, &["strict-transport-security: max-age=", "content-security-policy: ", "<html"]);
    }
    let said = curl(&appliance, &["https://mx.here.example/api/none"]);
    says(&said, &["HTTP/2 404", "cache-control: no-store"]);
    for version in ["--http1.1", "--http2"] {
        let long = format!("x: {}", "y".repeat(40_000));
        let said = curl(&appliance, &[version, "--header", &long, "https://mx.here.example/"]);
        says(&said, &[" 431"]);
    }
    let said = curl(&appliance, &["http://mx.here.example/inbox?a=b"]);
    let location = format!("location: https://mx.here.example:{}/inbox?a=b", appliance.https);
    says(&said, &["HTTP/1.1 308", &location]);
    says(&curl(&appliance, &["http://mx.here.example/.well-known/acme-challenge/x"]), &["404"]);
}

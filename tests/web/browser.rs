//! What a browser does: keeps its cookie, and says `X-Understudy: 1`.

use crate::smtp::appliance::Appliance;
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

pub(super) struct Browser<'a> {
    appliance: &'a Appliance,
    port: u16,
    jar: PathBuf,
}

impl<'a> Browser<'a> {
    /// A browser of its own, at one of the appliance's ports.
    pub(super) fn at(appliance: &'a Appliance, port: u16, name: &str) -> Self {
        let jar = appliance.authority().with_file_name(format!("jar-{name}-{port}"));
        Self { appliance, port, jar }
    }

    fn curl(&self, method: &str, path: &str) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["-s", "--max-time", "60", "-X", method]);
        curl.arg("--cacert").arg(self.appliance.authority());
        curl.arg("-b").arg(&self.jar).arg("-c").arg(&self.jar);
        curl.arg(format!("https://127.0.0.1:{}{path}", self.port));
        curl
    }

    /// Status and body.
    pub(super) fn send(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
        more: &[&str],
    ) -> (u16, Vec<u8>) {
        let mut curl = self.curl(method, path);
        curl.args(["-w", "%{http_code}"]).args(more);
        if !body.is_empty() {
            curl.args(["--data-binary", "@-"]);
        }
        let mut child =
            curl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("curl is installed");
        child.stdin.take().unwrap().write_all(body).unwrap();
        let mut out = child.wait_with_output().unwrap().stdout;
        let code = out.split_off(out.len() - 3);
        (String::from_utf8(code).unwrap().parse().unwrap(), out)
    }

    /// The same as the app asks, in JSON.
    pub(super) fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let fields = ["-H", "X-Understudy: 1", "-H", "Content-Type: application/json"];
        let (code, body) = self.send(method, path, text.as_bytes(), &fields);
        (code, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// The first event of a stream.
    pub(super) fn first_event(&self, path: &str) -> String {
        use std::io::{BufRead, BufReader};
        let mut curl = self.curl("GET", path);
        let mut child = curl.arg("-N").stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let event: Vec<String> =
            lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        event.join("\n")
    }
}

//! The pair stays up, and people are told how to reach it.

use crate::appliance::Pair;
use crate::mime::PEOPLE;
use crate::net::{FLOATING, Host, path};
use crate::stage::Access;
use crate::timeline::print;
use crate::{Context, Result, interrupt};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::Read;
use std::os::fd::AsFd;
use std::time::Duration;

/// How often is looked whether Ctrl-C came.
const LOOK: u16 = 100;

/// Prints the ways in and waits for Enter or Ctrl-C.
///
/// # Errors
/// The terminal cannot be waited on.
pub(crate) fn until_told(pair: &Pair, access: &Access) -> Result<()> {
    explain(pair, access);
    let stdin = std::io::stdin();
    while !interrupt::came() {
        let mut waits = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waits, PollTimeout::from(LOOK)) {
            Ok(0) | Err(Errno::EINTR) => continue,
            other => other.context("wait for Enter")?,
        };
        // The end of the input, as in CI, is not Enter.
        if stdin.lock().read(&mut [0; 256]).context("wait for Enter")? > 0 {
            break;
        }
        while !interrupt::came() {
            std::thread::sleep(Duration::from_millis(u64::from(LOOK)));
        }
    }
    Ok(())
}

fn explain(pair: &Pair, access: &Access) {
    let as_user = if nix::unistd::getuid().is_root() && !in_user_namespace() {
        ""
    } else {
        "-U --preserve-credentials "
    };
    let enter = format!(
        "nsenter -t {} {as_user}-m nsenter --net={} ",
        std::process::id(),
        path(Host::Client)
    );
    let [ada, _] = PEOPLE;
    let [password, _] = &access.passwords;
    let (name, ca) = (ada.address, pair.a.authority());
    let ca = ca.display();
    let user = name.replace('@', "%40");
    print(&format!(
        "\
The pair stays up. Enter or Ctrl-C ends it.

  a shell at the client's desk (all below is typed there):
    {enter}bash
  server {FLOATING}: SMTP 25, 465, 587; IMAP 143, 993; web 443
  user {name}   app password {password}
  trust the pair's authority: {ca}

  read with mutt:
    mutt -n -F /dev/null -e 'set ssl_ca_certificates_file=\"{ca}\"' \\
      -e 'set imap_user=\"{name}\" imap_pass=\"{password}\"' -f imaps://{FLOATING}/INBOX
  list with curl:
    curl --cacert {ca} -u '{name}:{password}' imaps://{FLOATING}/
  send from outside, without signing in:
    swaks --server {FLOATING} --from you@outside.example --to {name}
  send signed in:
    swaks --server {FLOATING}:465 --tlsc --tls-ca-path {ca} --auth-user {name} \\
      --auth-password {password} --from {name} --to grace@customer.example
  a mail client that takes one line: imaps://{user}@{FLOATING}/"
    ));
    for (host, appliance) in [(Host::A, &pair.a), (Host::B, &pair.b)] {
        print(&format!(
            "  {host}'s log: {}; kill it: kill -9 {}",
            appliance.log().display(),
            appliance.pid().map_or_else(|| "-".to_owned(), |p| p.to_string())
        ));
    }
}

/// Whether root here is somebody else outside.
fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.split_whitespace().eq(["0", "0", "4294967295"])
}

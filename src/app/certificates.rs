//! The certificates that clients see: made or read at the start, obtained, and the same on both nodes.
//!
//! Each node tells the other what it holds whenever that changes, and when they meet, and asks for the same:
//! the other may have spoken before this one listened. Either takes in what goes before its own. Invariant:
//! what is taken in is durable before it is shown. Absent: answers; there are fewer messages than may go
//! without.

use super::{Failure, Rooms, failure};
use crate::base::{clock, task};
use crate::config::Config;
use crate::ops::request::CertificateEntry;
use crate::pair::side::{Side, SideEvent, Topic};
use crate::tls;
use crate::tls::acme::{Acme, Ways};
use crate::tls::vault::{Item, Vault};
use crate::tls::{Names, Service};
use serde::{Deserialize, Serialize};

/// What one node says to the other.
#[derive(Serialize, Deserialize)]
enum Message {
    /// It holds this.
    Holds(Item),
    /// What does the other hold?
    Tell,
}

/// What services show, of the operator's files or of our own authority.
pub(super) fn service(config: &Config) -> Result<Service, Failure> {
    let dir = config.data_dir.join("tls");
    let made = match &config.tls.own {
        Some(files) => Service::from_files(&dir, &files.certificate, &files.key),
        None => Service::own(&dir, &names(config), clock::now_ms()),
    };
    let service = made.map_err(|e| failure("there is no certificate to show", &e))?;
    if let Some(authority) = service.authority_fingerprint() {
        log::info!(sha256 = authority; "certificate of our own authority");
    }
    Ok(service)
}

/// What the console of this node shows: a certificate of the pair's own authority.
pub(super) fn console(config: &Config) -> Result<Service, Failure> {
    let addresses = config.console.addresses.iter().map(|at| at.ip()).collect();
    let names = Names { hosts: vec![config.hostname.clone()], addresses };
    Service::console(&config.data_dir.join("tls"), &names, clock::now_ms())
        .map_err(|e| failure("there is no certificate for the console", &e))
}

/// What clients are shown, for operators.
pub(super) fn list(service: &Service) -> Vec<CertificateEntry> {
    let now = clock::now_ms();
    let entry = |shown: tls::ShownCertificate| CertificateEntry {
        names: shown.names,
        source: shown.source.to_owned(),
        from_ms: shown.from.0,
        until_ms: shown.until.0,
        fingerprint: shown.fingerprint,
        problem: (shown.until <= now).then(|| "it has expired".to_owned()),
    };
    service.certificates().into_iter().map(entry).collect()
}

/// The name, and whatever address clients may come to.
fn names(config: &Config) -> Names {
    let mut addresses = config.listen.addresses.clone();
    let ours = config.vrrp.iter().filter(|group| group.origin.is_none());
    for floating in ours.flat_map(|group| &group.addresses) {
        if !addresses.contains(&floating.address) {
            addresses.push(floating.address);
        }
    }
    Names { hosts: vec![config.hostname.clone()], addresses }
}

/// What obtains certificates, where that is wanted.
pub(super) fn acme(config: &Config, service: &Service) -> Result<Option<Acme>, Failure> {
    let Some(wanted) = config.tls.acme.clone() else { return Ok(None) };
    let ways = Ways { http: config.listen.http.is_some(), tls: config.listen.https.is_some() };
    let acme = Acme::new(wanted, service.clone(), ways);
    acme.map(Some).map_err(|e| failure("certificates cannot be obtained", &e))
}

/// Starts obtaining, and telling the other node.
pub(super) fn start(rooms: &Rooms, side: &Side) {
    if let Some(acme) = rooms.acme.clone() {
        drop(task::spawn("acme", acme.run(rooms.pair.watch_lease())));
    }
    let Some(mut events) = side.subscribe(Topic::Certificates) else { return };
    let (service, side) = (rooms.tls.clone(), side.clone());
    let vault = service.vault();
    drop(task::spawn("certificates", async move {
        let mut changes = vault.watch();
        let mut session = false;
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(SideEvent::Up) => {
                        session = true;
                        send(&side, &Message::Tell).await;
                        tell(&side, &vault).await;
                    }
                    Some(SideEvent::Down) => session = false,
                    Some(SideEvent::Message(bytes)) => match postcard::from_bytes(&bytes) {
                        Ok(Message::Holds(item)) => take(&service, item).await,
                        Ok(Message::Tell) => tell(&side, &vault).await,
                        // Of a release that says more.
                        Err(e) => log::debug!(err:% = e; "a message of the other node is not understood"),
                    },
                    None => return, // This reader stood still; the next start reads anew.
                },
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    service.refresh();
                    if session {
                        tell(&side, &vault).await;
                    }
                }
            }
        }
    }));
}

async fn tell(side: &Side, vault: &Vault) {
    for item in vault.export() {
        send(side, &Message::Holds(item)).await;
    }
}

async fn send(side: &Side, message: &Message) {
    let sent = match postcard::to_allocvec(message) {
        Ok(bytes) => side.send(Topic::Certificates, bytes).await.map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
    };
    if let Err(e) = sent {
        log::debug!(err = e; "a certificate was not told to the other node");
    }
}

async fn take(service: &Service, item: Item) {
    let vault = service.vault();
    let taken = tokio::task::spawn_blocking(move || vault.merge(item)).await;
    let taken = taken.map_err(|e| e.to_string());
    match taken.and_then(|taken| taken.map_err(|e| e.to_string())) {
        Ok(true) => service.refresh(),
        Ok(false) => {}
        Err(e) => log::warn!(err = e, runbook = "certificate-renewal";
            "a certificate of the other node cannot be kept"),
    }
}

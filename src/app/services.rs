//! The services behind their listeners: they serve while this node holds the lease.

use super::{Failure, Rooms, failure, shared};
use crate::base::{clock, task};
use crate::imap::{self, Imap};
use crate::mail::Mail;
use crate::net::table::Table;
use crate::net::{self, Sessions, Stop, StopControl};
use crate::pair::side::Side;
use crate::smtp::{Port, Smtp};
use crate::store::PrimaryLease;
use crate::tls::{Names, Service};
use tokio::sync::watch;

/// The running services; dropping it stops them.
pub(super) struct Services(StopControl);

impl Services {
    /// Closes every session and listener.
    pub(super) fn stop(&self) {
        self.0.stop();
    }
}

/// Opens all listeners and starts the queue's worker.
pub(super) fn start(rooms: &Rooms, side: &Side) -> Result<Services, Failure> {
    let tls = certificate(rooms)?;
    let table = Table::default();
    shared::start(rooms, side, tls.tickets(), table.clone());
    let (control, stop) = net::stop();
    let config = &rooms.config;
    let (directory, mail) = (rooms.directory.clone(), rooms.mail.clone());
    let smtp = Smtp::new(
        &config.hostname,
        config.smtp.clone(),
        directory.clone(),
        mail.clone(),
        tls.clone(),
    );
    let submission = Sessions::new(Smtp::limits(Port::Submission));
    let smtp_ports = [
        (config.listen.smtp, Port::Mx, Sessions::new(Smtp::limits(Port::Mx))),
        (config.listen.submission, Port::Submission, submission),
        (
            config.listen.submissions,
            Port::Submissions,
            Sessions::new(Smtp::limits(Port::Submissions)),
        ),
    ];
    for (number, port, sessions) in smtp_ports {
        for listener in listen(rooms, number)? {
            let (smtp, gate) = (smtp.clone(), rooms.pair.gate());
            let serve = net::serve(
                listener,
                sessions.clone().listed_in(&table).heard_in(&rooms.deaf),
                gate,
                stop.clone(),
                move |s| smtp.clone().session(port, s),
            );
            drop(task::spawn_critical("smtp-listener", until_stopped(serve, stop.clone())));
        }
    }
    let imap =
        Imap::new(directory, mail, tls.config(), config.imap.clone(), config.smtp.message_size_max);
    // Nobody can read a plain refusal where TLS begins with the first byte.
    let silent = net::Limits { refusal: b"", ..imap::LIMITS };
    for (number, implicit_tls, limits) in
        [(config.listen.imap, false, imap::LIMITS), (config.listen.imaps, true, silent)]
    {
        let sessions = Sessions::new(limits);
        for listener in listen(rooms, number)? {
            let (imap, gate) = (imap.clone(), rooms.pair.gate());
            let serve = net::serve(
                listener,
                sessions.clone().listed_in(&table).heard_in(&rooms.deaf),
                gate,
                stop.clone(),
                move |s| imap.clone().serve(s, implicit_tls),
            );
            drop(task::spawn_critical("imap-listener", until_stopped(serve, stop.clone())));
        }
    }
    drop(task::spawn_critical("queue", drain(smtp, rooms.pair.watch_lease())));
    drop(task::spawn_critical("away", answer(rooms.mail.clone(), rooms.pair.watch_lease())));
    drop(task::spawn_critical("objects", forget(rooms.mail.clone(), rooms.pair.watch_lease())));
    Ok(Services(control))
}

/// A listener ends with the process's orderly stop only; ended earlier, it takes the process along.
async fn until_stopped(serve: impl Future<Output = ()>, stop: Stop) {
    serve.await;
    if stop.is_stopped() {
        std::future::pending::<()>().await;
    }
}

/// Drains the outbound queue under each lease.
async fn drain(smtp: Smtp, leases: watch::Receiver<Option<PrimaryLease>>) {
    under_each(leases, |lease| smtp.clone().drain_queue(lease)).await;
}

/// Forgets old objects under each lease.
async fn forget(mail: Mail, leases: watch::Receiver<Option<PrimaryLease>>) {
    under_each(leases, |lease| mail.clone().forget_in_time(lease)).await;
}

/// Answers for those who are away under each lease.
async fn answer(mail: Mail, leases: watch::Receiver<Option<PrimaryLease>>) {
    under_each(leases, |lease| mail.clone().answer_for_the_away(lease)).await;
}

/// Does `work` under each lease; it ends with it.
async fn under_each<W: Future<Output = ()>>(
    mut leases: watch::Receiver<Option<PrimaryLease>>,
    work: impl Fn(PrimaryLease) -> W,
) {
    loop {
        let lease = leases.borrow_and_update().clone().filter(PrimaryLease::valid);
        if let Some(lease) = lease {
            work(lease).await;
        }
        if leases.changed().await.is_err() {
            // The pair is gone: the process ends, in good order or by the pair's own alarm.
            std::future::pending::<()>().await;
        }
    }
}

fn listen(rooms: &Rooms, port: Option<u16>) -> Result<Vec<net::Listener>, Failure> {
    let Some(port) = port else { return Ok(Vec::new()) };
    let listeners = net::listen(&rooms.config.listen.addresses, port)
        .map_err(|e| failure("a service cannot listen", &e))?;
    Ok(listeners.into_iter().map(|listener| listener.behind(&rooms.doorstep)).collect())
}

fn certificate(rooms: &Rooms) -> Result<Service, Failure> {
    let config = &rooms.config;
    let made = match &config.tls.own {
        Some(files) => Service::from_files(&files.certificate, &files.key),
        None => {
            let names = Names {
                hosts: vec![config.hostname.clone()],
                addresses: config.listen.addresses.clone(),
            };
            Service::own(&config.data_dir.join("tls"), &names, clock::now_ms())
        }
    };
    let service = made.map_err(|e| failure("there is no certificate to show", &e))?;
    if let Some(authority) = service.authority_fingerprint() {
        log::info!(sha256 = authority; "certificate of our own authority");
    }
    Ok(service)
}

//! The services behind their listeners: they serve while this node holds the lease.

use super::operator::Desk;
use super::{Failure, Rooms, certificates, failure, shared};
use crate::base::task;
use crate::directory::Directory;
use crate::http::{self, Site, redirect};
use crate::imap::{self, Imap};
use crate::mail::Mail;
use crate::net::table::Table;
use crate::net::{self, Open, Sessions, Stop, StopControl};
use crate::pair::side::Side;
use crate::smtp::{Port, Smtp};
use crate::store::PrimaryLease;
use crate::tls::Service;
use crate::web::{Console, Facts, Providers, Signer, Web};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often credentials that are over are removed.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);

/// The running services; dropping it stops them.
pub(super) struct Services(StopControl);

impl Services {
    /// Closes every session and listener.
    pub(super) fn stop(&self) {
        self.0.stop();
    }
}

/// Opens all listeners and starts the queue's worker.
pub(super) fn start(rooms: &Rooms, side: &Side, desk: &Desk) -> Result<Services, Failure> {
    let tls = rooms.tls.clone();
    let table = Table::default();
    certificates::start(rooms, side);
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
    web(rooms, desk, &tls, &table, &stop)?;
    console(rooms, desk, &stop)?;
    let imap =
        Imap::new(directory, mail, tls.clone(), config.imap.clone(), config.smtp.message_size_max);
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
    let sweep = sweep(rooms.directory.clone(), rooms.pair.watch_lease());
    drop(task::spawn_critical("credential-sweep", sweep));
    drop(task::spawn_critical("away", answer(rooms.mail.clone(), rooms.pair.watch_lease())));
    drop(task::spawn_critical("objects", forget(rooms.mail.clone(), rooms.pair.watch_lease())));
    Ok(Services(control))
}

/// The web on 443, and what sends people there on 80.
fn web(
    rooms: &Rooms,
    desk: &Desk,
    tls: &Service,
    table: &Table,
    stop: &Stop,
) -> Result<(), Failure> {
    let config = &rooms.config;
    let facts = Facts {
        hostname: config.hostname.clone(),
        names: config.tls.acme.iter().flat_map(|acme| acme.names.iter().cloned()).collect(),
        https: config.listen.https,
        imap: config.listen.imap,
        imaps: config.listen.imaps,
        submission: config.listen.submission,
        submissions: config.listen.submissions,
        message_size_max: config.smtp.message_size_max,
    };
    let signing = tls.clone();
    let signer: Signer = Arc::new(move |content: &[u8]| signing.sign(content));
    let operator = Some(desk.ask());
    let providers = Providers { signer: Some(signer), operator, ..Providers::default() };
    let web = Web::new(rooms.directory.clone(), rooms.mail.clone(), facts);
    let web = web.with(providers).router();
    let secure = Site::new(web, Some(tls.offering(http::PROTOCOLS)));
    let https = config.listen.https;
    let plain = Site::new(redirect::router(tls.challenges(), https.unwrap_or(443)), None);
    for (number, site, limits) in
        [(https, secure, http::LIMITS), (config.listen.http, plain, http::PLAIN_LIMITS)]
    {
        let sessions = Sessions::new(limits);
        for listener in listen(rooms, number)? {
            let (site, gate) = (site.clone(), rooms.pair.gate());
            let serve = net::serve(
                listener,
                sessions.clone().listed_in(table).heard_in(&rooms.deaf),
                gate,
                stop.clone(),
                move |s| site.clone().serve(s),
            );
            drop(task::spawn_critical("http-listener", until_stopped(serve, stop.clone())));
        }
    }
    Ok(())
}

/// The operators' console. It answers in every role: the standby has its operators, too.
fn console(rooms: &Rooms, desk: &Desk, stop: &Stop) -> Result<(), Failure> {
    let config = &rooms.config;
    if config.console.addresses.is_empty() {
        return Ok(());
    }
    let tls = certificates::console(config)?.offering(http::PROTOCOLS);
    let console = Console::new(rooms.directory.clone(), &config.hostname, desk.ask());
    let site = Site::new(console.router(), Some(tls));
    let sessions = Sessions::new(http::CONSOLE_LIMITS);
    for address in &config.console.addresses {
        let listener =
            net::listen_at(*address).map_err(|e| failure("the console cannot be served", &e))?;
        let site = site.clone();
        let serve = net::serve(listener, sessions.clone(), Open, stop.clone(), move |s| {
            site.clone().serve_always(s)
        });
        drop(task::spawn_critical("console-listener", until_stopped(serve, stop.clone())));
    }
    Ok(())
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

/// Removes credentials that are over, under each lease. They open nothing meanwhile.
async fn sweep(directory: Directory, leases: watch::Receiver<Option<PrimaryLease>>) {
    under_each(leases, |lease| {
        let directory = directory.clone();
        async move {
            tokio::select! {
                () = lease.revoked() => {}
                () = sweeping(&directory, &lease) => {}
            }
        }
    })
    .await;
}

async fn sweeping(directory: &Directory, lease: &PrimaryLease) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        match directory.sweep_credentials(lease).await {
            Ok(0) => {}
            Ok(count) => log::info!(count; "credentials that are over are removed"),
            Err(e) => log::info!(err:% = e; "credentials that are over stay for now"),
        }
    }
}

fn listen(rooms: &Rooms, port: Option<u16>) -> Result<Vec<net::Listener>, Failure> {
    let Some(port) = port else { return Ok(Vec::new()) };
    let listeners = net::listen(&rooms.config.listen.addresses, port)
        .map_err(|e| failure("a service cannot listen", &e))?;
    Ok(listeners.into_iter().map(|listener| listener.behind(&rooms.doorstep)).collect())
}

//! The client's side: brings one message to one host, RFC 5321 with opportunistic STARTTLS.
//!
//! ```text
//! greeting -> EHLO (-> HELO) -> STARTTLS -> EHLO -> MAIL -> RCPT* -> DATA -> body -> QUIT
//! ```
//!
//! Invariant: a recipient counts as delivered only after the 2xx that follows the body; whatever
//! is not known is deferred, never refused.
//! Deliberately absent: pipelining, AUTH, BDAT, DSN parameters, conversion of 8-bit content.

mod reply;

use super::address;
use crate::time::Mono;
use reply::{Reply, ReplyReader};
use std::collections::VecDeque;
use std::time::Duration;

/// RFC 5321 4.5.3.2: greeting, MAIL and RCPT.
const COMMAND_TIMEOUT: Duration = Duration::from_mins(5);
/// RFC 5321 4.5.3.2.4: the reply to DATA.
const DATA_TIMEOUT: Duration = Duration::from_mins(2);
/// RFC 5321 4.5.3.2.5: each block of the body.
const BLOCK_TIMEOUT: Duration = Duration::from_mins(3);
/// RFC 5321 4.5.3.2.6: the reply to the body. Shorter makes copies.
const END_TIMEOUT: Duration = Duration::from_mins(10);
/// The reply to QUIT, which changes nothing any more.
const QUIT_TIMEOUT: Duration = Duration::from_secs(5);

/// What is to be brought.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Our name in EHLO.
    pub hostname: String,
    /// Reverse-path, without quotes; empty for a bounce.
    pub from: String,
    /// Forward-paths, without quotes.
    pub to: Vec<String>,
    /// Octets of the body.
    pub size: u64,
    /// STARTTLS is tried where the host offers it.
    pub tls: bool,
}

/// What the driver must do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Write these octets.
    Send(Vec<u8>),
    /// Shake hands, then call `handle_tls`; if that fails, connect anew without `tls`.
    StartTls,
    /// Hand in the body with `handle_body`, then call `handle_body_end`.
    WantBody,
    /// Close; the outcomes are final.
    Close,
}

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The host has taken the message.
    Delivered,
    /// Try again later; with what the host, or we, said.
    Deferred(String),
    /// The host will never take it; with what it said.
    Refused(String),
}

/// One connection to one host.
pub struct Client {
    delivery: Delivery,
    state: State,
    secured: bool,
    replies: ReplyReader,
    outputs: VecDeque<Output>,
    /// One for each recipient, in order; `None` while it is open.
    outcomes: Vec<Option<Outcome>>,
    host_trouble: bool,
    offers: Offers,
    /// The last octets of the body that were written.
    line_start: bool,
    deadline: Mono,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Tls,
    Mail,
    Rcpt(usize),
    Data,
    Body,
    End,
    Quit,
    Closed,
}

/// What EHLO said.
#[derive(Default)]
struct Offers {
    starttls: bool,
    eight_bit: bool,
    utf8: bool,
    /// RFC 1870: `Some(0)` is "no limit".
    size: Option<u64>,
}

impl Client {
    /// A client on a connection that was just made.
    #[must_use]
    pub fn new(delivery: Delivery, now: Mono) -> Self {
        let outcomes = vec![None; delivery.to.len()];
        Self {
            delivery,
            state: State::Greeting,
            secured: false,
            replies: ReplyReader::default(),
            outputs: VecDeque::new(),
            outcomes,
            host_trouble: false,
            offers: Offers::default(),
            line_start: true,
            deadline: now.after(COMMAND_TIMEOUT),
        }
    }

    /// Takes what was read.
    pub fn handle_input(&mut self, bytes: &[u8], now: Mono) {
        let mut rest = bytes;
        while !rest.is_empty() && !matches!(self.state, State::Tls | State::Closed) {
            let (reply, tail) = self.replies.take(rest);
            rest = tail;
            match reply {
                Ok(Some(reply)) => self.handle_reply(&reply, now),
                Ok(None) => {}
                Err(why) => self.give_up(why),
            }
        }
    }

    /// The handshake is complete; anything read before it was dropped (RFC 3207 4.2).
    pub fn handle_tls(&mut self, now: Mono) {
        if self.state == State::Tls {
            self.secured = true;
            self.replies = ReplyReader::default();
            self.say_ehlo(now);
        }
    }

    /// Takes the next octets of the body: dots are stuffed, RFC 5321 4.5.2.
    pub fn handle_body(&mut self, bytes: &[u8], now: Mono) {
        if self.state != State::Body {
            return;
        }
        self.deadline = now.after(BLOCK_TIMEOUT);
        let mut wire = Vec::with_capacity(bytes.len().saturating_add(64));
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            if self.line_start && line.first() == Some(&b'.') {
                wire.push(b'.');
            }
            wire.extend_from_slice(line);
            self.line_start = line.last() == Some(&b'\n');
        }
        self.outputs.push_back(Output::Send(wire));
    }

    /// The body is complete.
    pub fn handle_body_end(&mut self, now: Mono) {
        if self.state != State::Body {
            return;
        }
        let end: &[u8] = if self.line_start { b".\r\n" } else { b"\r\n.\r\n" };
        self.send(end.to_vec(), State::End, END_TIMEOUT, now);
    }

    /// The connection ended, or the body could not be read: what is open is deferred.
    pub fn handle_trouble(&mut self, why: &str) {
        self.give_up(why);
    }

    /// Gives up if the host's time is up.
    pub fn handle_timeout(&mut self, now: Mono) {
        if self.poll_timeout().is_some_and(|deadline| now >= deadline) {
            self.give_up("the host did not answer in time");
        }
    }

    /// The next thing to do. `None`: read.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When `handle_timeout` wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        (self.state != State::Closed).then_some(self.deadline)
    }

    /// What became of each recipient, in the order of [`Delivery::to`]; complete after `Close`.
    #[must_use]
    pub fn outcomes(&self) -> Vec<(String, Outcome)> {
        let open = || Outcome::Deferred("the delivery did not end".to_owned());
        let outcomes = self.outcomes.iter().map(|outcome| outcome.clone().unwrap_or_else(open));
        self.delivery.to.iter().cloned().zip(outcomes).collect()
    }

    /// True when the trouble was the host's, so that the next host of the domain may do.
    #[must_use]
    pub fn try_next_host(&self) -> bool {
        self.host_trouble
    }

    fn handle_reply(&mut self, reply: &Reply, now: Mono) {
        if reply.code == 421 && self.state != State::Quit {
            // RFC 5321 4.2.2: the host is closing, whatever was asked.
            return self.give_up(&reply.text());
        }
        match self.state {
            State::Greeting if reply.is_ok() => self.say_ehlo(now),
            State::Ehlo if reply.is_ok() => self.handle_ehlo(reply, now),
            // RFC 5321 3.2: an old host may know HELO only.
            State::Ehlo if !self.secured => {
                let line = format!("HELO {}\r\n", self.delivery.hostname);
                self.send(line.into_bytes(), State::Helo, COMMAND_TIMEOUT, now);
            }
            State::Helo if reply.is_ok() => self.say_mail(now),
            State::Greeting | State::Ehlo | State::Helo => self.give_up(&reply.text()),
            State::StartTls if reply.is_ok() => {
                self.state = State::Tls;
                self.outputs.push_back(Output::StartTls);
            }
            // Opportunistic: RFC 7435.
            State::StartTls => self.say_mail(now),
            State::Mail if reply.is_ok() => self.say_rcpt(0, now),
            State::Mail => {
                self.host_trouble = reply.is_transient();
                self.finish(&reply.outcome(), now);
            }
            State::Rcpt(n) => {
                if !reply.is_ok()
                    && let Some(slot) = self.outcomes.get_mut(n)
                {
                    *slot = Some(reply.outcome());
                }
                self.say_rcpt(n.saturating_add(1), now);
            }
            State::Data if reply.code == 354 => {
                self.state = State::Body;
                self.deadline = now.after(BLOCK_TIMEOUT);
                self.outputs.push_back(Output::WantBody);
            }
            State::Data if reply.is_ok() => self.give_up(&reply.text()),
            State::Data => self.finish(&reply.outcome(), now),
            State::End => {
                let outcome = if reply.is_ok() { Outcome::Delivered } else { reply.outcome() };
                self.finish(&outcome, now);
            }
            // A reply to nothing: the host gives up in the middle of the body.
            State::Body => self.give_up(&reply.text()),
            State::Quit => self.close(),
            State::Tls | State::Closed => {}
        }
    }

    fn handle_ehlo(&mut self, reply: &Reply, now: Mono) {
        self.offers = Offers::default();
        for line in reply.lines().skip(1) {
            let mut words = line.split_ascii_whitespace();
            match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "STARTTLS" => self.offers.starttls = true,
                "8BITMIME" => self.offers.eight_bit = true,
                "SMTPUTF8" => self.offers.utf8 = true,
                "SIZE" => {
                    self.offers.size = words.next().map_or(Some(0), |n| n.parse().ok());
                }
                _ => {}
            }
        }
        if self.delivery.tls && self.offers.starttls && !self.secured {
            self.send(b"STARTTLS\r\n".to_vec(), State::StartTls, COMMAND_TIMEOUT, now);
        } else {
            self.say_mail(now);
        }
    }

    fn say_ehlo(&mut self, now: Mono) {
        let line = format!("EHLO {}\r\n", self.delivery.hostname);
        self.send(line.into_bytes(), State::Ehlo, COMMAND_TIMEOUT, now);
    }

    fn say_mail(&mut self, now: Mono) {
        let delivery = &self.delivery;
        let utf8 = !delivery.from.is_ascii() || delivery.to.iter().any(|to| !to.is_ascii());
        if utf8 && !self.offers.utf8 {
            let why = "553 5.6.7 the host does not take addresses that are not ASCII";
            return self.finish(&Outcome::Refused(why.to_owned()), now);
        }
        let limit = self.offers.size.unwrap_or(0);
        if limit > 0 && delivery.size > limit {
            // RFC 1870 6.1: it would be refused after the transfer.
            let why = format!("552 5.3.4 the host takes no more than {limit} octets");
            return self.finish(&Outcome::Refused(why), now);
        }
        let mut line = format!("MAIL FROM:<{}>", address::on_wire(&delivery.from));
        if self.offers.size.is_some() {
            line.push_str(&format!(" SIZE={}", delivery.size));
        }
        if self.offers.eight_bit {
            line.push_str(" BODY=8BITMIME");
        }
        if utf8 {
            line.push_str(" SMTPUTF8");
        }
        line.push_str("\r\n");
        self.send(line.into_bytes(), State::Mail, COMMAND_TIMEOUT, now);
    }

    fn say_rcpt(&mut self, n: usize, now: Mono) {
        if let Some(to) = self.delivery.to.get(n) {
            let line = format!("RCPT TO:<{}>\r\n", address::on_wire(to));
            self.send(line.into_bytes(), State::Rcpt(n), COMMAND_TIMEOUT, now);
        } else if self.outcomes.iter().all(Option::is_some) {
            self.say_quit(now);
        } else {
            self.send(b"DATA\r\n".to_vec(), State::Data, DATA_TIMEOUT, now);
        }
    }

    fn say_quit(&mut self, now: Mono) {
        self.send(b"QUIT\r\n".to_vec(), State::Quit, QUIT_TIMEOUT, now);
    }

    fn send(&mut self, line: Vec<u8>, state: State, timeout: Duration, now: Mono) {
        self.outputs.push_back(Output::Send(line));
        self.state = state;
        self.deadline = now.after(timeout);
    }

    /// All recipients that are still open have this outcome; says goodbye.
    fn finish(&mut self, outcome: &Outcome, now: Mono) {
        self.settle(outcome);
        self.say_quit(now);
    }

    fn settle(&mut self, outcome: &Outcome) {
        for slot in &mut self.outcomes {
            slot.get_or_insert_with(|| outcome.clone());
        }
    }

    fn give_up(&mut self, why: &str) {
        // Once the body may have been taken, another host would make a copy.
        self.host_trouble |= !matches!(self.state, State::End | State::Quit | State::Closed);
        self.settle(&Outcome::Deferred(why.to_owned()));
        self.close();
    }

    fn close(&mut self) {
        if self.state != State::Closed {
            self.state = State::Closed;
            self.outputs.push_back(Output::Close);
        }
    }
}

#[cfg(test)]
mod tests;

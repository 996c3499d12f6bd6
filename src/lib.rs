//! Understudy: the mail, calendar and meeting system that stands in when a company's own fails.
//!
//! The rooms, in layer order; `docs/architecture.md` says what each may call, and a test holds it.

pub mod base;
pub mod config;
pub mod store;
pub mod vrrp;

pub mod http;
pub mod net;
pub mod tls;

pub mod directory;
pub mod mail;
pub mod pair;

pub mod imap;
pub mod smtp;
pub mod web;

pub mod ops;

pub mod appliance;

pub mod cli;

pub mod app;

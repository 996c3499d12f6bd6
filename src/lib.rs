//! Understudy: the mail, calendar and meeting system that stands in when a company's own fails.
//!
//! The rooms, in layer order; `docs/architecture.md` says what each may call, and a test holds it.

pub mod base;
pub mod config;
pub mod store;

pub mod net;
pub mod pair;
pub mod tls;
pub mod vrrp;

pub mod directory;
pub mod mail;

//! Everything of Understudy that decides without touching the world.
//!
//! No tokio, no sockets, no files, no clock, no randomness, no log: time, random bytes and answers
//! are arguments. A test reads this crate's imports and holds that (`tests/tidy`).
//!
//! **State machines** share five verbs with the same meaning everywhere:
//! `handle_input(bytes, now)` · `handle_answer(id, answer)` · `handle_timeout(now)` ·
//! `poll_output() -> Option<Output>` · `poll_timeout() -> Option<Mono>`.
//! A driver drains `poll_output` to `None` after every `handle_*`.
//!
//! **Kinds of change** ([`rule`]) are pure functions over ordered keys ([`keys`]): `decide` turns a
//! command into a change with every nondeterministic value fixed; `apply` turns a change into rows.
//! The store orders, makes durable, ships, applies and recovers changes without knowing any kind.

pub mod carry;
pub mod codec;
pub mod directory;
pub mod id;
pub mod imap;
pub mod jmap;
pub mod keys;
pub mod mailbox;
pub mod merge;
pub mod message;
pub mod objects;
pub mod pair;
pub mod queue;
pub mod record;
pub mod rule;
pub mod smtp;
pub mod time;
pub mod vrrp;

//! JMAP without the world: what JSON may say, and what a patch makes of it.
//!
//! [`patch`] is RFC 8620's PatchObject, [`objects`] holds the types that are kept as JSON. Everything is
//! a pure function of JSON values. Absent: the envelope of requests, and mail.

pub mod objects;
pub mod patch;

/// A JSON object.
pub type Map = serde_json::Map<String, serde_json::Value>;

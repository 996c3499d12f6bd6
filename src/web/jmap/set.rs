//! The answer of `/set` (RFC 8620 5.3), object by object.

use serde_json::{Map, Value, json};
use understudy_proto::jmap::{MethodError, SetError};

/// What was done so far.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    created: Map<String, Value>,
    updated: Map<String, Value>,
    destroyed: Vec<String>,
    not_created: Map<String, Value>,
    not_updated: Map<String, Value>,
    not_destroyed: Map<String, Value>,
}

impl Outcome {
    /// One creation: what the server set, with its id.
    pub(super) fn create(&mut self, name: String, done: Result<Value, SetError>) {
        match done {
            Ok(object) => self.created.insert(name, object),
            Err(why) => self.not_created.insert(name, why.to_json()),
        };
    }

    /// One update: what the server changed besides, or null.
    pub(super) fn update(&mut self, id: String, done: Result<Value, SetError>) {
        match done {
            Ok(object) => self.updated.insert(id, object),
            Err(why) => self.not_updated.insert(id, why.to_json()),
        };
    }

    /// One removal.
    pub(super) fn destroy(&mut self, id: String, done: Result<(), SetError>) {
        match done {
            Ok(()) => self.destroyed.push(id),
            Err(why) => {
                self.not_destroyed.insert(id, why.to_json());
            }
        }
    }

    /// As it is sent.
    pub(super) fn answer(self, account: String, old: &str, new: &str) -> Value {
        let some = |all: Map<String, Value>| {
            if all.is_empty() { Value::Null } else { Value::Object(all) }
        };
        json!({
            "accountId": account,
            "oldState": old,
            "newState": new,
            "created": some(self.created),
            "updated": some(self.updated),
            "destroyed": if self.destroyed.is_empty() { Value::Null } else { json!(self.destroyed) },
            "notCreated": some(self.not_created),
            "notUpdated": some(self.not_updated),
            "notDestroyed": some(self.not_destroyed),
        })
    }
}

/// A whole call's error as one object's: what one object may not ask for is that object's fault, all else is
/// everyone's.
pub(super) fn refused(why: MethodError) -> Result<SetError, MethodError> {
    match why {
        MethodError::InvalidArguments(text) => Ok(SetError::new("invalidProperties").because(text)),
        MethodError::OverQuota => Ok(SetError::new("overQuota").because(why.to_string())),
        other => Err(other),
    }
}

/// One object's outcome; an error that is not the object's own ends the call.
pub(super) fn one<T>(done: Result<T, MethodError>) -> Result<Result<T, SetError>, MethodError> {
    match done {
        Ok(value) => Ok(Ok(value)),
        Err(why) => refused(why).map(Err),
    }
}

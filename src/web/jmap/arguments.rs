//! The arguments of a method, taken one by one.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use understudy_proto::jmap::{GET_MAX, MethodError, SET_MAX, State};

/// Arguments that were not taken yet.
#[derive(Debug)]
pub(super) struct Arguments(Map<String, Value>);

impl From<Map<String, Value>> for Arguments {
    fn from(all: Map<String, Value>) -> Self {
        Self(all)
    }
}

/// The arguments of `/get` (RFC 8620 5.1).
#[derive(Debug)]
pub(super) struct Get {
    /// `None`: all there are.
    pub(super) ids: Option<Vec<String>>,
    pub(super) properties: Option<Vec<String>>,
}

/// The arguments of `/set` (RFC 8620 5.3).
#[derive(Debug, Default)]
pub(super) struct Set {
    pub(super) if_in_state: Option<String>,
    pub(super) create: Map<String, Value>,
    pub(super) update: Map<String, Value>,
    pub(super) destroy: Vec<String>,
}

/// The arguments of `/changes` (RFC 8620 5.2).
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) since: String,
    pub(super) max: Option<usize>,
}

impl Arguments {
    pub(super) fn all(self) -> Value {
        Value::Object(self.0)
    }

    /// `None` where it is missing or null.
    pub(super) fn take<T: DeserializeOwned>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, MethodError> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value)
                .map(Some)
                .map_err(|_wrong| MethodError::argument(format!("{name} is of the wrong kind"))),
        }
    }

    pub(super) fn text(&mut self, name: &str) -> Result<String, MethodError> {
        self.take(name)?.ok_or_else(|| MethodError::argument(format!("{name} is missing")))
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<bool, MethodError> {
        Ok(self.take(name)?.unwrap_or(false))
    }

    /// Nothing is left: an argument that nobody knows is an error (RFC 8620 3.6.2).
    pub(super) fn end(self) -> Result<(), MethodError> {
        match self.0.into_iter().find(|(_, value)| !value.is_null()) {
            None => Ok(()),
            Some((name, _)) => Err(MethodError::argument(format!("there is no argument {name}"))),
        }
    }

    pub(super) fn get(&mut self) -> Result<Get, MethodError> {
        let (ids, properties) = (self.take::<Vec<String>>("ids")?, self.take("properties")?);
        if ids.as_ref().is_some_and(|ids| ids.len() > GET_MAX) {
            return Err(MethodError::RequestTooLarge);
        }
        Ok(Get { ids, properties })
    }

    pub(super) fn changes(mut self) -> Result<Changes, MethodError> {
        let (since, max) = (self.text("sinceState")?, self.take("maxChanges")?);
        self.end()?;
        if max == Some(0) {
            return Err(MethodError::argument("maxChanges is above 0"));
        }
        Ok(Changes { since, max })
    }

    pub(super) fn set(&mut self) -> Result<Set, MethodError> {
        let set = Set {
            if_in_state: self.take("ifInState")?,
            create: self.take("create")?.unwrap_or_default(),
            update: self.take("update")?.unwrap_or_default(),
            destroy: self.take("destroy")?.unwrap_or_default(),
        };
        let objects =
            set.create.len().saturating_add(set.update.len()).saturating_add(set.destroy.len());
        if objects > SET_MAX { Err(MethodError::RequestTooLarge) } else { Ok(set) }
    }
}

impl Get {
    /// Whether a property is wanted; `id` always is.
    pub(super) fn wants(&self, property: &str) -> bool {
        property == "id"
            || self.properties.as_ref().is_none_or(|all| all.iter().any(|p| p == property))
    }

    /// Refuses what is no property.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), MethodError> {
        match self.properties.iter().flatten().find(|p| !known.contains(&p.as_str())) {
            None => Ok(()),
            Some(unknown) => Err(MethodError::argument(format!("there is no property {unknown}"))),
        }
    }

    /// Leaves the wanted properties of an object that has all.
    pub(super) fn project(&self, mut object: Value) -> Value {
        if let Some(all) = object.as_object_mut() {
            all.retain(|name, _| self.wants(name));
        }
        object
    }
}

/// The answer of `/get`.
pub(super) fn got(account: String, state: &str, list: Vec<Value>, not_found: Vec<String>) -> Value {
    json!({ "accountId": account, "state": state, "list": list, "notFound": not_found })
}

/// What `/changes` tells: ids in the order in which they are told.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) created: Vec<String>,
    pub(super) updated: Vec<String>,
    pub(super) destroyed: Vec<String>,
}

impl Told {
    /// All of it at once; where the client takes less it looks at everything anew (RFC 8620 5.2 allows it).
    pub(super) fn answer(
        self,
        account: String,
        asked: &Changes,
        new: &str,
    ) -> Result<Value, MethodError> {
        let all = self.created.len() + self.updated.len() + self.destroyed.len();
        if asked.max.is_some_and(|max| all > max) {
            return Err(MethodError::CannotCalculateChanges);
        }
        Ok(json!({
            "accountId": account,
            "oldState": asked.since,
            "newState": new,
            "hasMoreChanges": false,
            "created": self.created,
            "updated": self.updated,
            "destroyed": self.destroyed,
        }))
    }
}

/// The state that a client knows, if it is of this history.
pub(super) fn known(since: &str, now: State) -> Result<State, MethodError> {
    State::parse(since)
        .filter(|s| s.fork == now.fork && s.modseq <= now.modseq && s.counter <= now.counter)
        .ok_or(MethodError::CannotCalculateChanges)
}

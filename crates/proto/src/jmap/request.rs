//! Requests (RFC 8620 3.3) and references between their calls (3.7).

use super::{CALLS_MAX, CAPABILITIES, MethodError, pointer};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// One method call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// `Type/method`.
    pub name: String,
    /// Its arguments, references not yet resolved.
    pub arguments: Map<String, Value>,
    /// What the client calls it.
    pub id: String,
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Capabilities that the client wants, all of them known.
    pub using: Vec<String>,
    /// At most [`CALLS_MAX`].
    pub calls: Vec<Call>,
    /// Ids of creations that the client knows of, by its own names.
    pub created: Option<BTreeMap<String, String>>,
}

/// RFC 8620 3.6.1: why a whole request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not JSON at all.
    #[error("the request is no JSON: {0}")]
    NotJson(String),
    /// JSON, but no request.
    #[error("{0}")]
    NotRequest(&'static str),
    /// A capability that we do not have.
    #[error("there is no capability {0}")]
    UnknownCapability(String),
    /// A limit of the session object; its name.
    #[error("more than {0} allows")]
    Limit(&'static str),
}

impl RequestError {
    /// RFC 7807 problem details, all with status 400.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let name = match self {
            Self::NotJson(_) => "notJSON",
            Self::NotRequest(_) => "notRequest",
            Self::UnknownCapability(_) => "unknownCapability",
            Self::Limit(_) => "limit",
        };
        let mut problem = json!({
            "type": format!("urn:ietf:params:jmap:error:{name}"),
            "status": 400,
            "detail": self.to_string(),
        });
        if let (Self::Limit(limit), Some(all)) = (self, problem.as_object_mut()) {
            all.insert("limit".into(), json!(limit));
        }
        problem
    }
}

impl Request {
    /// Reads one.
    ///
    /// # Errors
    /// It is none, or goes beyond a limit.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        Self::read(serde_json::from_slice(bytes).map_err(|e| RequestError::NotJson(e.to_string()))?)
    }

    /// The same of what is JSON already.
    ///
    /// # Errors
    /// As for [`Request::parse`].
    pub fn read(value: Value) -> Result<Self, RequestError> {
        let Value::Object(mut all) = value else {
            return Err(RequestError::NotRequest("a request is an object"));
        };
        let using = texts(all.remove("using"))
            .ok_or(RequestError::NotRequest("`using` is a list of capabilities"))?;
        if let Some(unknown) = using.iter().find(|c| !CAPABILITIES.contains(&c.as_str())) {
            return Err(RequestError::UnknownCapability(unknown.clone()));
        }
        let Some(Value::Array(calls)) = all.remove("methodCalls") else {
            return Err(RequestError::NotRequest("`methodCalls` is a list of calls"));
        };
        if calls.len() > CALLS_MAX {
            return Err(RequestError::Limit("maxCallsInRequest"));
        }
        let calls = calls.into_iter().map(call).collect::<Option<Vec<Call>>>();
        let calls = calls.ok_or(RequestError::NotRequest("a call is [name, arguments, id]"))?;
        let created = match all.remove("createdIds") {
            None | Some(Value::Null) => None,
            Some(ids) => Some(
                serde_json::from_value(ids)
                    .map_err(|_wrong| RequestError::NotRequest("`createdIds` maps ids to ids"))?,
            ),
        };
        Ok(Self { using, calls, created })
    }
}

fn call(value: Value) -> Option<Call> {
    let Value::Array(three) = value else { return None };
    let [Value::String(name), Value::Object(arguments), Value::String(id)] =
        <[Value; 3]>::try_from(three).ok()?
    else {
        return None;
    };
    Some(Call { name, arguments, id })
}

fn texts(value: Option<Value>) -> Option<Vec<String>> {
    serde_json::from_value(value?).ok()
}

/// Puts earlier results in the place of references: `#ids` becomes `ids`.
///
/// # Errors
/// A reference leads nowhere, or an argument is there twice.
pub fn resolve(
    arguments: Map<String, Value>,
    responses: &[(String, Value, String)],
) -> Result<Map<String, Value>, MethodError> {
    let wrong = |why: String| MethodError::InvalidResultReference(why);
    let mut resolved = Map::new();
    for (key, value) in arguments {
        let Some(plain) = key.strip_prefix('#') else {
            if resolved.insert(key.clone(), value).is_some() {
                return Err(MethodError::argument(format!("{key} is there twice")));
            }
            continue;
        };
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let (Some(of), Some(name), Some(path)) = (text("resultOf"), text("name"), text("path"))
        else {
            return Err(wrong(format!("{key} needs resultOf, name and path")));
        };
        let found = responses
            .iter()
            .find(|(_, _, id)| id == of)
            .filter(|(found, ..)| found == name)
            .and_then(|(_, result, _)| pointer::evaluate(result, path))
            .ok_or_else(|| wrong(format!("{key}: nothing at {path} of {name} {of}")))?;
        if resolved.insert(plain.to_owned(), found).is_some() {
            return Err(MethodError::argument(format!("{plain} is there twice")));
        }
    }
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(text: &str) -> RequestError {
        Request::parse(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn what_is_no_request_is_said_to_be_none() {
        assert!(matches!(refused("{"), RequestError::NotJson(_)));
        assert!(matches!(refused("[]"), RequestError::NotRequest(_)));
        assert!(matches!(refused(r#"{"using":[]}"#), RequestError::NotRequest(_)));
        assert!(matches!(
            refused(r#"{"using":["urn:x"],"methodCalls":[]}"#),
            RequestError::UnknownCapability(_)
        ));
        assert!(matches!(
            refused(r#"{"using":[],"methodCalls":[["a",{}]]}"#),
            RequestError::NotRequest(_)
        ));
        let many =
            format!(r#"{{"using":[],"methodCalls":[{}]}}"#, vec![r#"["a",{},"0"]"#; 65].join(","));
        let limit = refused(&many);
        assert_eq!(limit.to_json()["limit"], "maxCallsInRequest");
    }

    #[test]
    fn references_take_what_an_earlier_call_gave() {
        let found = ("Email/query".to_owned(), json!({ "ids": ["m1", "m2"] }), "0".to_owned());
        let arguments = |path: &str, name: &str| {
            let reference = json!({ "resultOf": "0", "name": name, "path": path });
            Map::from_iter([("#ids".to_owned(), reference), ("x".to_owned(), json!(1))])
        };
        let both = resolve(arguments("/ids", "Email/query"), std::slice::from_ref(&found)).unwrap();
        assert_eq!(Value::Object(both), json!({ "ids": ["m1", "m2"], "x": 1 }));
        for wrong in [arguments("/list", "Email/query"), arguments("/ids", "Email/get")] {
            let e = resolve(wrong, std::slice::from_ref(&found)).unwrap_err();
            assert!(matches!(e, MethodError::InvalidResultReference(_)));
        }
        let mut twice = arguments("/ids", "Email/query");
        twice.insert("ids".into(), json!([]));
        assert!(matches!(resolve(twice, &[found]), Err(MethodError::InvalidArguments(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_request_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(Request::parse(&bytes));
        }
    }
}

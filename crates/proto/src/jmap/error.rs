//! The errors of methods (RFC 8620 3.6.2) and of single objects (5.3).

use serde_json::{Map, Value, json};

/// Why a method call as a whole gives nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MethodError {
    /// There is no such method.
    #[error("there is no such method")]
    UnknownMethod,
    /// An argument is missing or of the wrong kind; the text says which.
    #[error("{0}")]
    InvalidArguments(String),
    /// A reference to an earlier result leads nowhere.
    #[error("{0}")]
    InvalidResultReference(String),
    /// Not the caller's account, or none.
    #[error("there is no such account")]
    AccountNotFound,
    /// More objects than one call may name.
    #[error("too many objects in one call")]
    RequestTooLarge,
    /// Too old, or of before a merge.
    #[error("the changes since that state are not known")]
    CannotCalculateChanges,
    /// The state is not the one that was asked for.
    #[error("the state is another one")]
    StateMismatch,
    /// RFC 8620 5.5.
    #[error("{0}")]
    UnsupportedFilter(String),
    /// RFC 8620 5.5.
    #[error("{0}")]
    UnsupportedSort(String),
    /// RFC 8620 5.5: the anchor is not among the results.
    #[error("the anchor is not among the results")]
    AnchorNotFound,
    /// RFC 8620 5.4: copies come from another account that the caller may see, and there is none.
    #[error("there is no such account to copy from")]
    FromAccountNotFound,
    /// RFC 9404 4.3.
    #[error("there is no such type of data")]
    UnknownDataType,
    /// RFC 8620 5.6.
    #[error("more has changed than was asked for")]
    TooManyChanges,
    /// RFC 8620 5.3: the account's limit is reached.
    #[error("the account has no room for this: its limit is reached")]
    OverQuota,
    /// This appliance does not serve just now.
    #[error("this appliance does not serve just now; ask again in a moment")]
    ServerUnavailable,
    /// Something failed here; nothing was changed.
    #[error("{0}")]
    ServerFail(String),
    /// It failed after a part of it was done.
    #[error("{0}")]
    ServerPartialFail(String),
}

impl MethodError {
    fn name(&self) -> &'static str {
        match self {
            Self::UnknownMethod => "unknownMethod",
            Self::InvalidArguments(_) => "invalidArguments",
            Self::InvalidResultReference(_) => "invalidResultReference",
            Self::AccountNotFound => "accountNotFound",
            Self::RequestTooLarge => "requestTooLarge",
            Self::CannotCalculateChanges => "cannotCalculateChanges",
            Self::StateMismatch => "stateMismatch",
            Self::UnsupportedFilter(_) => "unsupportedFilter",
            Self::UnsupportedSort(_) => "unsupportedSort",
            Self::AnchorNotFound => "anchorNotFound",
            Self::FromAccountNotFound => "fromAccountNotFound",
            Self::UnknownDataType => "unknownDataType",
            Self::TooManyChanges => "tooManyChanges",
            Self::OverQuota => "overQuota",
            Self::ServerUnavailable => "serverUnavailable",
            Self::ServerFail(_) => "serverFail",
            Self::ServerPartialFail(_) => "serverPartialFail",
        }
    }

    /// The arguments of the `error` response.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "type": self.name(), "description": self.to_string() })
    }

    /// An argument is not what it should be.
    #[must_use]
    pub fn argument(what: impl Into<String>) -> Self {
        Self::InvalidArguments(what.into())
    }
}

/// Why one object of a `/set` was not created, updated or destroyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetError {
    kind: &'static str,
    description: Option<String>,
    properties: Vec<String>,
    more: Map<String, Value>,
}

impl SetError {
    /// An error of that type.
    #[must_use]
    pub fn new(kind: &'static str) -> Self {
        Self { kind, description: None, properties: Vec::new(), more: Map::new() }
    }

    /// There is none of that id.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new("notFound")
    }

    /// These properties are not what they should be.
    #[must_use]
    pub fn invalid(properties: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            properties: properties.into_iter().map(Into::into).collect(),
            ..Self::new("invalidProperties")
        }
    }

    /// With a sentence for whoever reads it.
    #[must_use]
    pub fn because(self, why: impl Into<String>) -> Self {
        Self { description: Some(why.into()), ..self }
    }

    /// With another property of the error.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }

    /// As it is sent.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut all = self.more.clone();
        all.insert("type".into(), json!(self.kind));
        if let Some(why) = &self.description {
            all.insert("description".into(), json!(why));
        }
        if !self.properties.is_empty() {
            all.insert("properties".into(), json!(self.properties));
        }
        Value::Object(all)
    }
}

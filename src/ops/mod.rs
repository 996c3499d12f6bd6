//! How an operator and his monitoring see and steer a running appliance.
//!
//! [`control`] serves the local socket that the command line speaks to ([`request`] are its words),
//! [`status`] is the one screen that tells everything, [`health`] answers monitoring over HTTP.
//!
//! Invariants: health answers even when the async runtime is stuck; what is shown is true now or
//! says how old it is; each failure says what to do. Deliberately absent: deciding anything. The
//! [`request::Operator`] does what a request asks.

pub mod audit;
pub mod control;
pub mod health;
pub mod request;
pub mod status;

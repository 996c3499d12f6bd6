//! SMTP over real sockets against a running `understudy`, with a client of our own.

pub(crate) mod appliance;
pub(crate) mod wire;

mod goodbye;
mod moving;
mod queue;
mod receive;
mod submit;

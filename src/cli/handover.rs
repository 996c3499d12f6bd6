//! `understudy handover`: moves the primary role to the peer, planned and without loss.

use super::client;
use super::error::CliError;
use crate::ops::request::Request;
use std::path::Path;

pub(super) fn perform(config: &Path) -> Result<(), CliError> {
    client::tell(config, &Request::Handover)
}

//! The store's API; its bodies come with the store's own branch.
#![allow(
    clippy::all,
    clippy::pedantic,
    unused,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::unimplemented,
    clippy::let_underscore_must_use,
    clippy::unused_result_ok
)]
mod error;
mod lease;
pub use error::{Class, StoreError, WriteError};
pub use lease::{LeaseControl, PrimaryLease};
use std::ops::Range;
use tokio::sync::watch;
use understudy_proto::id::*;
use understudy_proto::keys::*;
use understudy_proto::rule::*;

#[derive(Clone)]
pub struct Store;
pub struct ReadView;
pub struct BodyWriter;
pub struct Keyring;
pub struct Written<A> {
    pub answer: A,
    pub lsn: Lsn,
}
impl Store {
    pub fn read(&self, tenant: TenantId) -> Result<ReadView, StoreError> {
        unimplemented!()
    }
    pub async fn write<C: Command>(
        &self,
        lease: &PrimaryLease,
        tenant: TenantId,
        command: C,
    ) -> Result<Written<C::Answer>, WriteError<C::Refusal>> {
        unimplemented!()
    }
    pub async fn applied(&self, tenant: TenantId, lsn: Lsn) {}
    pub async fn begin_body(
        &self,
        lease: &PrimaryLease,
        tenant: TenantId,
    ) -> Result<BodyWriter, StoreError> {
        unimplemented!()
    }
    pub fn read_body(
        &self,
        tenant: TenantId,
        address: &BodyAddress,
        range: Range<u64>,
    ) -> Result<Vec<u8>, StoreError> {
        unimplemented!()
    }
    pub fn watch(&self, tenant: TenantId, topic: u64) -> watch::Receiver<u64> {
        unimplemented!()
    }
    pub fn keyring(&self) -> &Keyring {
        unimplemented!()
    }
}
impl Keyring {
    pub fn add(&self, tenant: TenantId) -> Result<u64, StoreError> {
        unimplemented!()
    }
    pub async fn replicated(&self, version: u64) {}
}
impl BodyWriter {
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        unimplemented!()
    }
    pub async fn finish(self) -> Result<BodyRef, StoreError> {
        unimplemented!()
    }
}
impl Keys for ReadView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KeysError> {
        unimplemented!()
    }
    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), KeysError> {
        unimplemented!()
    }
    fn scan_back(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), KeysError> {
        unimplemented!()
    }
    fn body(&self, id: UploadId) -> Result<Option<BodyAddress>, KeysError> {
        unimplemented!()
    }
}

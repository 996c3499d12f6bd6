//! Sealing with a tenant's data key: XChaCha20-Poly1305, random nonces, what a seal belongs to as
//! associated data.

use super::error::StoreError;
use crate::base::secret::random;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use understudy_proto::id::TenantId;
use understudy_proto::record::Kind;

/// Length of a nonce in bytes.
pub(super) const NONCE_LEN: usize = 24;
/// Bytes that a seal adds to what it seals.
pub(super) const TAG_LEN: usize = 16;

/// A tenant's key, ready for use.
pub(super) struct Cipher {
    tenant: TenantId,
    aead: XChaCha20Poly1305,
}

impl Cipher {
    pub(super) fn new(tenant: TenantId, key: &[u8; 32]) -> Self {
        Self { tenant, aead: XChaCha20Poly1305::new(key.into()) }
    }

    /// Seals `plain`; the result is [`TAG_LEN`] bytes longer.
    pub(super) fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        plain: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        self.aead
            .encrypt(nonce.into(), Payload { msg: plain, aad })
            .map_err(|chacha20poly1305::Error| StoreError::Unsealed(self.tenant))
    }

    /// Opens what [`Cipher::seal`] made with the same nonce and associated data.
    pub(super) fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        self.aead
            .decrypt(nonce.into(), Payload { msg: sealed, aad })
            .map_err(|chacha20poly1305::Error| StoreError::Unsealed(self.tenant))
    }

    /// Seals a row's value for the index: nonce, then the sealed value.
    pub(super) fn seal_value(&self, key: &[u8], value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let nonce = nonce();
        let mut out = nonce.to_vec();
        out.extend_from_slice(&self.seal(&nonce, key, value)?);
        Ok(out)
    }

    /// Opens what [`Cipher::seal_value`] made for the same key.
    pub(super) fn open_value(&self, key: &[u8], stored: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (nonce, sealed) =
            stored.split_first_chunk::<NONCE_LEN>().ok_or(StoreError::Unsealed(self.tenant))?;
        self.open(nonce, key, sealed)
    }

    /// Whose key it is.
    pub(super) fn tenant(&self) -> TenantId {
        self.tenant
    }
}

/// What a record's seal belongs to: `tenant ‖ kind ‖ flags`, and the clear prefix of a body part.
pub(super) fn record_aad(tenant: TenantId, kind: Kind, flags: u16, prefix: &[u8]) -> Vec<u8> {
    let mut aad = Vec::with_capacity(8 + prefix.len());
    aad.extend_from_slice(&tenant.0.to_le_bytes());
    aad.extend_from_slice(&kind.0.to_le_bytes());
    aad.extend_from_slice(&flags.to_le_bytes());
    aad.extend_from_slice(prefix);
    aad
}

/// A fresh nonce. 192 random bits never meet by chance.
pub(super) fn nonce() -> [u8; NONCE_LEN] {
    random()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_only_under_its_own_key_and_row() {
        let cipher = Cipher::new(TenantId(1), &[7; 32]);
        let sealed = cipher.seal_value(b"row", b"value").unwrap();
        assert_eq!(cipher.open_value(b"row", &sealed).unwrap(), b"value");
        assert!(cipher.open_value(b"other", &sealed).is_err());
        assert!(Cipher::new(TenantId(1), &[8; 32]).open_value(b"row", &sealed).is_err());
        assert!(cipher.open_value(b"row", b"short").is_err());
    }
}

//! The log in clear: what a branch ships, and what a leader holds against it.
//!
//! Reading only. Deliberately absent: what is done with it (`pair`), and what changes mean.

use super::error::StoreError;
use super::seal;
use super::view::pack::{Prefix, open_part};
use super::{CHANGES_READ_LEN, Store};
use understudy_proto::id::{Lsn, TenantId, UploadId};
use understudy_proto::record::{self, Header, Kind};

/// A record in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plain {
    /// A change of some kind.
    Change(Vec<u8>),
    /// A part of a body; [`Store::part`] reads it.
    Part {
        /// Whose part it is.
        upload: UploadId,
        /// Its number in the upload, from 0.
        index: u32,
    },
    /// An upload that was given up.
    Abort(UploadId),
    /// The pair's own.
    Other,
}

impl Store {
    /// Shows every record with `after < lsn <= last` that the log still has, in order.
    ///
    /// # Errors
    /// The log does not reach back to `after`, is damaged, or a record does not open.
    pub fn history(
        &self,
        after: Lsn,
        last: Lsn,
        show: impl FnMut(&Header, Plain) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.history_of(after, last, |_| true, show)
    }

    /// [`Store::history`] of those records alone whose header is `wanted`: others are not decrypted.
    ///
    /// # Errors
    /// As there.
    pub fn history_of(
        &self,
        after: Lsn,
        last: Lsn,
        wanted: impl Fn(&Header) -> bool,
        mut show: impl FnMut(&Header, Plain) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let inner = self.inner();
        let mut next = after.next();
        while next <= last {
            let bytes = inner.log.read_from(next, CHANGES_READ_LEN)?;
            if bytes.is_empty() {
                break;
            }
            let mut rest = bytes.as_slice();
            while let Ok((header, payload, whole)) = record::decode(rest) {
                if header.lsn > last {
                    return Ok(());
                }
                if wanted(&header) {
                    show(&header, self.plain(&header, payload)?)?;
                }
                next = header.lsn.next();
                rest = rest.get(whole..).unwrap_or_default();
            }
        }
        Ok(())
    }

    fn plain(&self, header: &Header, payload: &[u8]) -> Result<Plain, StoreError> {
        let kind = header.kind;
        if kind == Kind::BODY_PART {
            let no_body = StoreError::NoBody(header.tenant);
            let (prefix, _) = Prefix::decode(payload).ok_or(no_body)?;
            let (upload, index) = (prefix.upload, prefix.index);
            return Ok(Plain::Part { upload, index });
        }
        if kind == Kind::BODY_ABORT {
            let id = payload.first_chunk::<16>().copied().unwrap_or_default();
            return Ok(Plain::Abort(UploadId(id)));
        }
        if kind == Kind::EPOCH {
            return Ok(Plain::Other);
        }
        let aad = seal::record_aad(header.tenant, kind, header.flags, &[]);
        let cipher = self.inner().keyring.cipher(header.tenant)?;
        Ok(Plain::Change(cipher.open(&header.nonce, &aad, payload)?))
    }

    /// The content of the part in record `lsn`, and whose it is.
    ///
    /// # Errors
    /// The log does not hold it any more, or no part is there.
    pub fn part(&self, lsn: Lsn) -> Result<(TenantId, Vec<u8>), StoreError> {
        let bytes = self.inner().log.read_from(lsn, 1)?;
        let Ok((header, payload, _)) = record::decode(&bytes) else {
            let (first, last) = (self.log().first(), self.log().last().lsn);
            return Err(StoreError::NotInLog { asked: lsn, first, last });
        };
        let cipher = self.inner().keyring.cipher(header.tenant)?;
        let content = open_part(&cipher, header.flags, &header.nonce, payload)?;
        Ok((header.tenant, content))
    }
}

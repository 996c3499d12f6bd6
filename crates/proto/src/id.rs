//! Names of things, one type each, so that no two can be confused.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl $name {
            /// The next one; saturates at the type's end.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }
    };
}

id!(
    /// A tenant. Zero is the system itself: tenants, domains, what belongs to nobody else.
    TenantId(u32)
);
id!(
    /// An account within its tenant. Never reused.
    AccountId(u32)
);
id!(
    /// A mailbox within its account. Never reused.
    MailboxId(u32)
);
id!(
    /// A message within its account, independent of the mailbox that it lies in. Never reused.
    EmailId(u64)
);
id!(
    /// RFC 8621 3: a conversation within its account; the id of its first message. Never reused.
    ThreadId(u64)
);
id!(
    /// RFC 9051 2.3.1.1: a message's unique identifier in its mailbox; never zero.
    Uid(u32)
);
id!(
    /// RFC 7162: a change counter. One per account counts every change to its mailboxes.
    ModSeq(u64)
);
id!(
    /// A position in the pair's log. The first record is 1; 0 is "before everything".
    Lsn(u64)
);
id!(
    /// A reign of one primary. Every change of holder or of `insync` starts a higher one.
    Epoch(u64)
);
id!(
    /// One of the pair's two appliances: 0 or 1.
    NodeId(u8)
);
id!(
    /// A message in the outbound queue. Never reused.
    QueueId(u64)
);

impl TenantId {
    /// The system's own view: tenants and domains.
    pub const SYSTEM: Self = Self(0);
}

impl NodeId {
    /// The other node of the pair.
    #[must_use]
    pub fn peer(self) -> Self {
        Self(1 ^ (self.0 & 1))
    }
}

/// A body on its way through the log: 128 random bits, fixed by the session that uploads it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct UploadId(pub [u8; 16]);

//! Mailboxes and messages: one kind of change ([`Kind::MAILBOX`]).
//!
//! Rows of a tenant's view (first byte of the key, then big-endian numbers):
//!
//! | key | value |
//! |---|---|
//! | `A` account | [`AccountState`]: the account's counters |
//! | `b` account mailbox | [`Mailbox`] |
//! | `m` account mailbox uid | [`Entry`]: a message in a mailbox |
//! | `e` account email | [`Email`]: what is known of the message, and where its body lies |
//! | `C` account modseq | [`ChangeRow`]: what a command changed |
//! | `D` account modseq | [`Gone`]: messages and mailboxes that a command ended |
//! | `F` account | the lsn of the last merge that touched it: states of before count no more |
//! | `T`, `j`, `H` | conversations, see `thread` |
//! | `g` account mailbox uid | [`Grave`]: an expunged message, while a branch may need it |
//! | `f` account mailbox uid | mailbox and UID to which a message was moved from here, likewise |
//! | `G` account mailbox | [`Mailbox`]: a deleted one, likewise |
//! | `J` account mailbox | the epoch in which its UIDs last left a gap |
//! | `Q` account | bytes that its messages take, see `quota` |
//! | `N` account mailbox | UIDs below are kept free for the messages of a branch |
//!
//! Invariants: a UID, an email id and a mailbox id are given once and never again; `uid_next` and
//! the account's modseq only grow; a mailbox's counts equal its entries. Absent: bodies (the store's
//! packs) and anything a session sees (src/mail, src/imap).

mod apply;
mod commands;
mod merge;
mod quota;
mod rows;
#[cfg(test)]
mod tests;
mod thread;

pub use apply::MailboxRules;
pub use commands::{
    Append, Copy, CreateMailbox, DeleteMailbox, Deliver, Expunge, FlagsOp, ForgetGraves, LeaveGaps,
    MailboxRefusal, Recipient, RenameMailbox, SetFlags, Subscribe,
};
pub(crate) use merge::{ACCOUNTS, came, delivered, enqueue_shipped};
pub use quota::{Quota, quota};
pub use rows::{
    AccountState, ChangeRow, Email, Entry, Flags, Gone, Grave, GraveKeys, Mailbox, MailboxKeys,
    PlacesTouched, Role, RowError, Since, Touched, account_since, account_state, account_states,
    create_account_rows, email, emails_range, entries_range, entry, fork, grave, graves, mailbox,
    mailbox_grave, mailboxes, places_touched_since, touched_since,
};
pub(crate) use rows::{body_at, email_row, find_body};
pub use thread::{thread_emails, thread_of};

/// The mailbox that every account has from its first moment.
pub const INBOX: crate::id::MailboxId = crate::id::MailboxId(1);
/// Longest mailbox name in bytes, all levels together.
pub const NAME_LEN_MAX: usize = 1_000;
/// Most mailboxes of one account.
pub const MAILBOXES_MAX: usize = 10_000;
/// Most keywords that one message carries.
pub const KEYWORDS_MAX: usize = 128;
/// Most messages that one change may touch; callers split longer lists.
pub const UIDS_PER_CHANGE_MAX: usize = 1_000;
/// Most recipients of one delivery change; callers split longer lists.
pub const RECIPIENTS_PER_CHANGE_MAX: usize = 450;
/// How far the UIDs of a mailbox go ahead in a reign that may have a rival, in UIDs.
pub const UID_JUMP: u32 = 65_536;

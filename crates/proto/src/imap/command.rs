//! The commands that the service executes, and their parser.
//!
//! Parse, don't validate: what is in a [`Command`] is legal as far as the command alone can tell
//! (names decoded, flags known, sets well-formed). Whether it fits the session's state is
//! `session`'s to say; whether the mailbox exists, the service's. APPEND is not here: its message is
//! streamed, so `input` announces it piece by piece ([`Append`] is what comes before the message).

use super::date;
use super::fetch::{self, Fetch};
use super::list::List;
use super::scan::{Parsed, Scanner, utf8};
use super::search::{self, Search};
use super::sequence::{SequenceSet, Target};
use crate::mailbox::{Flags, FlagsOp, Role};
use crate::time::UnixMs;
use std::fmt;

/// A client's command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// What the server can do.
    Capability,
    /// Nothing; news may follow.
    Noop,
    /// The end.
    Logout,
    /// TLS from here on.
    StartTls,
    /// RFC 2971: who the client is.
    Id(Vec<(String, Option<String>)>),
    /// Log in with a password.
    Login {
        /// The address or alias.
        name: String,
        /// The password.
        password: Password,
    },
    /// Log in with SASL.
    Authenticate {
        /// The mechanism, in capitals.
        mechanism: String,
        /// RFC 4959: the initial response, in base64 as sent; `=` stands for an empty one.
        initial: Option<Password>,
    },
    /// RFC 5161: the client wants these extensions, in capitals.
    Enable(Vec<String>),
    /// Open a mailbox.
    Select {
        /// Its name.
        mailbox: String,
        /// EXAMINE: nothing may change.
        read_only: bool,
    },
    /// A new mailbox.
    Create {
        /// Its name.
        mailbox: String,
        /// RFC 6154 3: its special use.
        role: Option<Role>,
    },
    /// Remove a mailbox.
    Delete {
        /// Its name.
        mailbox: String,
    },
    /// Give a mailbox another name.
    Rename {
        /// Its name.
        from: String,
        /// Its new name.
        to: String,
    },
    /// Add to or take from the subscribed mailboxes.
    Subscribe {
        /// Its name.
        mailbox: String,
        /// False for UNSUBSCRIBE.
        subscribed: bool,
    },
    /// LIST, LSUB.
    List(List),
    /// RFC 2342.
    Namespace,
    /// Numbers of a mailbox that need not be selected.
    Status {
        /// Its name.
        mailbox: String,
        /// What is asked.
        items: Vec<StatusItem>,
    },
    /// RFC 9208: what is used of a quota root.
    GetQuota {
        /// Its name.
        root: String,
    },
    /// RFC 9208: the roots that a mailbox counts for.
    GetQuotaRoot {
        /// The mailbox.
        mailbox: String,
    },
    /// RFC 2177.
    Idle,
    /// A checkpoint: nothing to do here, everything acknowledged is durable.
    Check,
    /// Expunge silently and leave the mailbox.
    Close,
    /// RFC 3691: leave the mailbox.
    Unselect,
    /// Remove messages with \Deleted: all, or (RFC 4315) those among the uids.
    Expunge(Option<SequenceSet>),
    /// SEARCH.
    Search(Search),
    /// FETCH.
    Fetch(Fetch),
    /// STORE.
    Store(Store),
    /// Put messages into another mailbox, too.
    Copy {
        /// Which messages.
        target: Target,
        /// Where to.
        mailbox: String,
    },
    /// RFC 6851: put messages into another mailbox instead.
    Move {
        /// Which messages.
        target: Target,
        /// Where to.
        mailbox: String,
    },
}

/// STORE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Which messages.
    pub target: Target,
    /// What to do with the flags.
    pub op: FlagsOp,
    /// The client does not want to hear about it.
    pub silent: bool,
    /// The flags.
    pub flags: Flags,
}

/// RFC 9051 6.3.11 and RFC 7889: what STATUS can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusItem {
    /// Number of messages.
    Messages,
    /// Number of recent messages: always zero here.
    Recent,
    /// Lowest uid that a next message may get.
    UidNext,
    /// The mailbox's UIDVALIDITY.
    UidValidity,
    /// Number of messages without \Seen.
    Unseen,
    /// Number of messages with \Deleted.
    Deleted,
    /// Sum of the messages' sizes.
    Size,
    /// RFC 9208 4.1.4: what messages with \Deleted take, in units of 1024 octets.
    DeletedStorage,
    /// The largest message that APPEND takes.
    AppendLimit,
}

/// What comes before an APPEND's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Where to.
    pub mailbox: String,
    /// The message's flags.
    pub flags: Flags,
    /// Its internal date; `None` for now.
    pub date: Option<UnixMs>,
}

/// A secret from the wire, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub Vec<u8>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Why a command is not executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not what RFC 9051 section 9 allows: BAD with this text.
    #[error("{0}")]
    Bad(&'static str),
    /// RFC 9051 6.4.4: NO [BADCHARSET].
    #[error("only UTF-8 and US-ASCII can be searched in")]
    BadCharset,
}

/// Parses a command after its tag and space; `command` has no line end.
pub(crate) fn parse(command: &[u8]) -> Parsed<Command> {
    let mut s = Scanner::new(command);
    let verb = s.word()?;
    let parsed = verb_arguments(&verb, &mut s)?;
    s.end()?;
    Ok(parsed)
}

fn verb_arguments(verb: &str, s: &mut Scanner<'_>) -> Parsed<Command> {
    Ok(match verb {
        "CAPABILITY" => Command::Capability,
        "NOOP" => Command::Noop,
        "LOGOUT" => Command::Logout,
        "STARTTLS" => Command::StartTls,
        "NAMESPACE" => Command::Namespace,
        "IDLE" => Command::Idle,
        "CHECK" => Command::Check,
        "CLOSE" => Command::Close,
        "UNSELECT" => Command::Unselect,
        "EXPUNGE" => Command::Expunge(None),
        "UID" => {
            s.sp()?;
            let verb = s.word()?;
            return by_number(&verb, s, true);
        }
        "SEARCH" | "FETCH" | "STORE" | "COPY" | "MOVE" => return by_number(verb, s, false),
        _ => {
            s.expect(b' ', "no such command, or it lacks its arguments")?;
            return with_arguments(verb, s);
        }
    })
}

fn with_arguments(verb: &str, s: &mut Scanner<'_>) -> Parsed<Command> {
    Ok(match verb {
        "ID" => id(s)?,
        "LOGIN" => {
            let name = s.text()?;
            s.sp()?;
            Command::Login { name, password: Password(s.astring()?.into_owned()) }
        }
        "AUTHENTICATE" => {
            let mechanism = s.word()?;
            let initial = s.eat(b' ').then(|| std::mem::replace(s, Scanner::new(b"")).rest());
            Command::Authenticate { mechanism, initial: initial.map(|i| Password(i.to_vec())) }
        }
        "ENABLE" => {
            let mut names = vec![s.word()?];
            while s.eat(b' ') {
                names.push(s.word()?);
            }
            Command::Enable(names)
        }
        "SELECT" | "EXAMINE" => {
            let mailbox = s.mailbox()?;
            Command::Select { mailbox, read_only: verb == "EXAMINE" }
        }
        "CREATE" => create(s)?,
        "DELETE" => Command::Delete { mailbox: s.mailbox()? },
        "RENAME" => {
            let from = s.mailbox()?;
            s.sp()?;
            Command::Rename { from, to: s.mailbox()? }
        }
        "SUBSCRIBE" | "UNSUBSCRIBE" => {
            Command::Subscribe { mailbox: s.mailbox()?, subscribed: verb == "SUBSCRIBE" }
        }
        "GETQUOTA" => Command::GetQuota { root: utf8(s.astring()?)? },
        "GETQUOTAROOT" => Command::GetQuotaRoot { mailbox: s.mailbox()? },
        "LIST" => Command::List(List::parse(s)?),
        "LSUB" => Command::List(List::parse_lsub(s)?),
        "STATUS" => {
            let mailbox = s.mailbox()?;
            s.sp()?;
            Command::Status { mailbox, items: status_items(s)? }
        }
        _ => return Err(ParseError::Bad("no such command")),
    })
}

fn by_number(verb: &str, s: &mut Scanner<'_>, uid: bool) -> Parsed<Command> {
    s.sp()?;
    if verb == "SEARCH" {
        return Ok(Command::Search(search::parse(s, uid)?));
    }
    let set = s.sequence_set()?;
    if uid && verb == "EXPUNGE" {
        return Ok(Command::Expunge(Some(set)));
    }
    let target = if uid { Target::Uid(set) } else { Target::Seq(set) };
    s.sp()?;
    Ok(match verb {
        "FETCH" => Command::Fetch(fetch::parse(s, target)?),
        "STORE" => Command::Store(store(s, target)?),
        "COPY" => Command::Copy { target, mailbox: s.mailbox()? },
        "MOVE" => Command::Move { target, mailbox: s.mailbox()? },
        _ => return Err(ParseError::Bad("no such command")),
    })
}

fn store(s: &mut Scanner<'_>, target: Target) -> Parsed<Store> {
    let op = if s.eat(b'+') {
        FlagsOp::Add
    } else if s.eat(b'-') {
        FlagsOp::Remove
    } else {
        FlagsOp::Set
    };
    let silent = match s.word()?.as_str() {
        "FLAGS" => false,
        "FLAGS.SILENT" => true,
        _ => return Err(ParseError::Bad("STORE changes FLAGS only")),
    };
    s.sp()?;
    Ok(Store { target, op, silent, flags: s.flags()? })
}

fn id(s: &mut Scanner<'_>) -> Parsed<Command> {
    /// RFC 2971 3.3: no more than 30 pairs.
    const PAIRS_MAX: usize = 30;
    let mut pairs = Vec::new();
    if s.eat_word("NIL") {
        return Ok(Command::Id(pairs));
    }
    s.expect(b'(', "ID takes NIL or a list")?;
    while !s.eat(b')') {
        if pairs.len() == PAIRS_MAX {
            return Err(ParseError::Bad("too many ID pairs"));
        }
        let field = utf8(s.string()?)?;
        s.sp()?;
        pairs.push((field, s.nstring()?.map(utf8).transpose()?));
        s.eat(b' ');
    }
    Ok(Command::Id(pairs))
}

fn create(s: &mut Scanner<'_>) -> Parsed<Command> {
    let mailbox = s.mailbox()?;
    let mut role = None;
    if s.eat(b' ') {
        // RFC 6154 5.2: create-param =/ "USE" SP "(" [use-attr *(SP use-attr)] ")"
        s.expect(b'(', "CREATE's parameters are a list")?;
        if !s.eat_word("USE") {
            return Err(ParseError::Bad("CREATE knows the parameter USE only"));
        }
        s.sp()?;
        s.expect(b'(', "USE takes a list")?;
        while !s.eat(b')') {
            s.expect(b'\\', "a special use starts with \\")?;
            if role.is_some() {
                return Err(ParseError::Bad("a mailbox has one special use at most"));
            }
            role = Some(use_attribute(&s.word()?)?);
            s.eat(b' ');
        }
        s.expect(b')', "CREATE's parameters do not end")?;
    }
    Ok(Command::Create { mailbox, role })
}

fn use_attribute(name: &str) -> Parsed<Role> {
    Ok(match name {
        "DRAFTS" => Role::Drafts,
        "SENT" => Role::Sent,
        "JUNK" => Role::Junk,
        "TRASH" => Role::Trash,
        "ARCHIVE" => Role::Archive,
        _ => return Err(ParseError::Bad("that special use is not supported")),
    })
}

/// RFC 9051 9: `"(" status-att *(SP status-att) ")"`.
pub(crate) fn status_items(s: &mut Scanner<'_>) -> Parsed<Vec<StatusItem>> {
    s.expect(b'(', "STATUS takes a list of items")?;
    let mut items = Vec::new();
    while !s.eat(b')') {
        let item = match s.word()?.as_str() {
            "MESSAGES" => StatusItem::Messages,
            "RECENT" => StatusItem::Recent,
            "UIDNEXT" => StatusItem::UidNext,
            "UIDVALIDITY" => StatusItem::UidValidity,
            "UNSEEN" => StatusItem::Unseen,
            "DELETED" => StatusItem::Deleted,
            "SIZE" => StatusItem::Size,
            "DELETED-STORAGE" => StatusItem::DeletedStorage,
            "APPENDLIMIT" => StatusItem::AppendLimit,
            _ => return Err(ParseError::Bad("that STATUS item is not supported")),
        };
        if !items.contains(&item) {
            items.push(item);
        }
        s.eat(b' ');
    }
    Ok(items)
}

/// What `input` makes of the start of a command that announces a literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    /// The literal is an APPEND's message.
    Message(Append),
    /// It is an argument of some command.
    Argument,
}

/// Looks at a command's start, tag removed, through the line that announces a literal.
pub(crate) fn announced(start: &[u8]) -> Announced {
    append(start).map_or(Announced::Argument, Announced::Message)
}

fn append(start: &[u8]) -> Parsed<Append> {
    let mut s = Scanner::new(start);
    if !s.eat_word("APPEND") {
        return Err(ParseError::Bad("not APPEND"));
    }
    s.sp()?;
    let mailbox = s.mailbox()?;
    s.sp()?;
    let mut flags = Flags::default();
    if s.peek() == Some(b'(') {
        flags = s.flags()?;
        s.sp()?;
    }
    let mut date = None;
    if s.peek() == Some(b'"') {
        let text = utf8(s.string()?)?;
        date = Some(date::parse_date_time(&text).ok_or(ParseError::Bad("that is no date"))?);
        s.sp()?;
    }
    s.literal_len()?;
    if s.is_empty() {
        Ok(Append { mailbox, flags, date })
    } else {
        Err(ParseError::Bad("the message is announced inside its command"))
    }
}

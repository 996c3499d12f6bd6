//! Every reply that the server gives: code, enhanced status (RFC 2034, 3463), text.
//!
//! Texts are constants, so that nothing a peer sent can be reflected or break a line.

/// One reply line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u16,
    /// Empty where RFC 2034 gives none (greeting, EHLO, 354, 334).
    pub(super) status: &'static str,
    pub(super) text: &'static str,
}

impl Reply {
    const fn new(code: u16, status: &'static str, text: &'static str) -> Self {
        Self { code, status, text }
    }

    /// True where the peer made an error that counts towards the limit.
    pub(super) fn is_error(self) -> bool {
        self.code >= 500
    }
}

macro_rules! replies {
    ($($name:ident = $code:literal $status:literal $text:literal;)*) => {
        $(pub(super) const $name: Reply = Reply::new($code, $status, $text);)*
    };
}

replies! {
    HELP = 214 "2.0.0" "RFC 5321 is spoken here: EHLO, MAIL, RCPT, DATA, BDAT, RSET, NOOP, QUIT";
    READY_FOR_TLS = 220 "2.0.0" "Ready to start TLS";
    BYE = 221 "2.0.0" "Bye";
    AUTHENTICATED = 235 "2.7.0" "Authentication successful";
    OK = 250 "2.0.0" "OK";
    SENDER_OK = 250 "2.1.0" "Sender OK";
    RECIPIENT_OK = 250 "2.1.5" "Recipient OK";
    NO_VRFY = 252 "2.5.0" "Send some mail, I will try my best";
    GO_AHEAD = 354 "" "Start mail input; end with <CRLF>.<CRLF>";
    SHUTDOWN = 421 "4.3.2" "Service is moving, try again at once";
    SIGNED_OUT = 421 "4.7.0" "Sign-in is no longer valid, sign in again";
    TIMEOUT = 421 "4.4.2" "Timeout, closing the connection";
    TOO_MANY_ERRORS = 421 "4.7.0" "Too many errors, closing the connection";
    TOO_MANY_COMMANDS = 421 "4.7.0" "Too many commands without mail, closing the connection";
    TOO_MANY_MESSAGES = 421 "4.7.0" "Too many messages in one connection, open another";
    TOO_MANY_UNKNOWN = 421 "4.7.0" "Too many refused recipients, closing the connection";
    TRY_LATER = 451 "4.3.0" "Temporary trouble here, try again later";
    TOO_MANY_RECIPIENTS = 452 "4.5.3" "Too many recipients, send the rest in another transaction";
    FULL = 452 "4.3.1" "Insufficient storage, try again later";
    MAILBOX_FULL = 452 "4.2.2" "Mailbox is full, try again later";
    AUTH_LATER = 454 "4.7.0" "Temporary authentication failure, try again later";
    UNKNOWN_COMMAND = 500 "5.5.1" "Command not recognised";
    NOT_TEXT = 500 "5.5.2" "Command has characters that no command has";
    BARE_NEWLINE = 500 "5.5.2" "Lines end with <CRLF>, nothing else; closing the connection";
    LINE_TOO_LONG = 500 "5.5.2" "Line too long";
    AUTH_LINE_TOO_LONG = 500 "5.5.6" "Authentication exchange line is too long";
    SYNTAX = 501 "5.5.4" "Syntax error in parameters";
    NO_PARAMETERS = 501 "5.5.4" "This command takes no parameters";
    BAD_SENDER = 501 "5.1.7" "Sender address syntax";
    BAD_RECIPIENT = 501 "5.1.3" "Recipient address syntax";
    BAD_CHUNK = 501 "5.5.4" "BDAT syntax; closing the connection, as the chunk's end is unknown";
    BAD_BASE64 = 501 "5.5.2" "Not base64";
    AUTH_CANCELLED = 501 "5.7.0" "Authentication cancelled";
    NOT_IMPLEMENTED = 502 "5.5.1" "Command not implemented";
    NO_AUTH_HERE = 502 "5.5.1" "No authentication on this port, use the submission port";
    NO_STARTTLS = 502 "5.5.1" "TLS is not available";
    HELLO_FIRST = 503 "5.5.1" "Send EHLO first";
    NESTED_MAIL = 503 "5.5.1" "Sender is already given";
    MAIL_FIRST = 503 "5.5.1" "Send MAIL first";
    IN_TRANSACTION = 503 "5.5.1" "Not during a mail transaction";
    CHUNKS_BEGUN = 503 "5.5.1" "Message is being sent with BDAT";
    TLS_ALREADY = 503 "5.5.1" "TLS is already active";
    AUTH_ALREADY = 503 "5.5.1" "Already authenticated";
    NO_SUCH_MECHANISM = 504 "5.5.4" "Authentication mechanism not supported";
    TLS_FIRST = 530 "5.7.0" "Must issue a STARTTLS command first";
    AUTH_FIRST = 530 "5.7.0" "Authentication required";
    BAD_CREDENTIALS = 535 "5.7.8" "Authentication credentials invalid";
    AUTH_NEEDS_TLS = 538 "5.7.11" "Encryption required for authentication";
    UNKNOWN_RECIPIENT = 550 "5.1.1" "No such mailbox here";
    NOT_YOUR_ADDRESS = 550 "5.7.1" "Sender address is not yours";
    // 5.6.11 is what Exchange answers to the same mail, so senders find advice on it.
    BARE_NEWLINE_IN_MESSAGE = 550 "5.6.11" "Message has a bare CR or LF; lines end with <CRLF>";
    LONG_LINE_IN_MESSAGE = 550 "5.6.0" "Message has a line that is too long; encode or wrap it";
    // As Cyrus answers: IMAP cannot carry NUL (RFC 3501 9, CHAR8).
    NUL_IN_MESSAGE = 554 "5.6.0" "Message has a NUL character";
    TOO_BIG = 552 "5.3.4" "Message is bigger than this system accepts";
    NEEDS_UTF8 = 553 "5.6.7" "Address is not ASCII: give SMTPUTF8 with MAIL";
    NO_RECIPIENTS = 554 "5.5.1" "No valid recipients";
    RELAY_DENIED = 554 "5.7.1" "Relay access denied";
    REFUSED = 554 "5.7.1" "Message refused";
    LOOP = 554 "5.4.6" "Too many hops, this message is in a loop";
    UNKNOWN_PARAMETER = 555 "5.5.4" "Parameter not recognised or not implemented";
}

//! A terminal: raw while it is ours, drawn by differences, as it was when we leave.
//!
//! Invariants: a terminal that takes nothing (flow control, nobody there) never holds us longer than
//! [`WRITE_WAIT`]; what was not taken is drawn again later. Plain ANSI only, so that any serial
//! terminal does. Deliberately absent: terminfo.

use super::canvas::{Level, Line, Screen, Style};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::sys::termios::{
    BaudRate, ControlFlags, InputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr,
};
use nix::unistd::{read, write};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// How long a terminal may take nothing before the rest of a frame is dropped.
const WRITE_WAIT: Duration = Duration::from_secs(3);
/// The speed of a serial line, that of the kernel's console (`console=` in image/lib/disk.sh): only the
/// line that is that console has it already. Other terminals have no speed.
const SPEED: BaudRate = BaudRate::B115200;
/// Bytes of input taken at a time.
const READ_LEN: usize = 256;
/// The size of a terminal that does not say it.
pub(super) const SIZE_DEFAULT: Size = Size { columns: 80, lines: 24 };
/// Larger is not drawn; nor is less believed.
const COLUMNS: std::ops::RangeInclusive<u16> = 20..=240;
const LINES: std::ops::RangeInclusive<u16> = 5..=100;

/// Columns and lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: u16,
    pub(super) lines: u16,
}

impl Size {
    /// `None` for a size that no terminal has.
    pub(super) fn checked(columns: u16, lines: u16) -> Option<Self> {
        let seen = COLUMNS.start() <= &columns && LINES.start() <= &lines;
        seen.then(|| Self { columns: columns.min(*COLUMNS.end()), lines: lines.min(*LINES.end()) })
    }
}

/// An open terminal in raw mode.
pub(super) struct Terminal {
    fd: OwnedFd,
    before: Termios,
}

impl Terminal {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // A serial line without carrier must not hold us, nor become our controlling terminal.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty())?;
        let before = tcgetattr(&fd)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        raw.control_flags.insert(ControlFlags::CLOCAL | ControlFlags::CREAD);
        raw.input_flags.remove(InputFlags::IXOFF | InputFlags::IXANY);
        // By the flag: the name that libc gives `cfsetospeed` cannot be linked statically.
        raw.control_flags.remove(ControlFlags::CBAUD);
        raw.control_flags.insert(ControlFlags::from_bits_retain(SPEED as u32));
        tcsetattr(&fd, SetArg::TCSANOW, &raw)?;
        Ok(Self { fd, before })
    }

    /// Its size, where the kernel knows it.
    pub(super) fn size(&self) -> Option<Size> {
        let size = rustix::termios::tcgetwinsize(&self.fd).ok()?;
        Size::checked(size.ws_col, size.ws_row)
    }

    /// Waits at most `wait` for input; gives what came, nothing when nothing did.
    pub(super) fn read(&self, wait: Duration) -> io::Result<Vec<u8>> {
        if !self.ready(PollFlags::POLLIN, wait)? {
            return Ok(Vec::new());
        }
        let mut buffer = vec![0; READ_LEN];
        match read(&self.fd, &mut buffer) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the terminal hung up")),
            Ok(n) => {
                buffer.truncate(n);
                Ok(buffer)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Vec::new()),
            Err(e) => Err(e.into()),
        }
    }

    /// Writes all of `bytes`; `false` where the terminal does not take them.
    pub(super) fn write(&self, mut bytes: &[u8]) -> io::Result<bool> {
        while !bytes.is_empty() {
            if !self.ready(PollFlags::POLLOUT, WRITE_WAIT)? {
                return Ok(false);
            }
            match write(&self.fd, bytes) {
                Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(true)
    }

    fn ready(&self, events: PollFlags, wait: Duration) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.fd.as_fd(), events)];
        let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, wait) {
            Ok(n) => Ok(n > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Colours off, screen clear, cursor seen, lines wrapped. Who has gone cannot be restored.
        drop(self.write(b"\x1b[0m\x1b[2J\x1b[H\x1b[?25h\x1b[?7h"));
        if let Err(e) = tcsetattr(&self.fd, SetArg::TCSANOW, &self.before) {
            log::debug!(err:% = e; "the terminal is not restored");
        }
    }
}

/// Knows what a terminal shows and what must be sent to change it.
#[derive(Default)]
pub(super) struct Painter {
    shown: Vec<Line>,
}

impl Painter {
    /// Nothing is known of what the terminal shows.
    pub(super) fn forget(&mut self) {
        self.shown.clear();
    }

    /// Whether all of the next frame will be drawn.
    pub(super) fn is_new(&self) -> bool {
        self.shown.is_empty()
    }

    /// What makes the terminal show `screen`: nothing where it does already.
    pub(super) fn frame(&mut self, screen: &Screen) -> Vec<u8> {
        let mut out = String::new();
        if self.shown.len() != screen.lines.len() {
            self.shown.clear();
            // UTF-8 (ISO 2022), the cursor hidden, no wrap at the right edge.
            out.push_str("\x1b%G\x1b[?25l\x1b[?7l");
        }
        for (at, new) in screen.lines.iter().enumerate() {
            draw(&mut out, at + 1, self.shown.get(at), new);
        }
        self.shown.clone_from(&screen.lines);
        out.into_bytes()
    }
}

/// Draws what differs of a line; each character is one column wide (`canvas`).
fn draw(out: &mut String, line: usize, old: Option<&Line>, new: &Line) {
    let Some(old) = old.filter(|o| o.style == new.style) else {
        out.push_str(&format!("\x1b[{line};1H{}{}\x1b[0m\x1b[K", colours(new.style), new.text));
        return;
    };
    let (old, text): (Vec<char>, Vec<char>) =
        (old.text.chars().collect(), new.text.chars().collect());
    if old == text {
        return;
    }
    let same = old.iter().zip(&text).take_while(|(a, b)| a == b).count();
    let tail = if old.len() == text.len() {
        let back = old.iter().rev().zip(text.iter().rev()).take_while(|(a, b)| a == b).count();
        back.min(text.len() - same)
    } else {
        0
    };
    let changed: String = text.iter().skip(same).take(text.len() - same - tail).collect();
    out.push_str(&format!("\x1b[{line};{}H{}{changed}\x1b[0m", same + 1, colours(new.style)));
    if text.len() < old.len() {
        out.push_str("\x1b[K");
    }
}

const fn colours(style: Style) -> &'static str {
    match style {
        Style::Plain => "",
        Style::Strong => "\x1b[1m",
        Style::Warn => "\x1b[33m",
        Style::Bad => "\x1b[1;31m",
        Style::Band(Level::Good) => "\x1b[1;37;42m",
        Style::Band(Level::Wait) => "\x1b[1;37;44m",
        Style::Band(Level::Attention) => "\x1b[30;43m",
        Style::Band(Level::Bad) => "\x1b[1;37;41m",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(lines: &[&str]) -> Screen {
        let line = |t: &&str| Line { style: Style::Plain, text: (*t).to_owned() };
        Screen { lines: lines.iter().map(line).collect() }
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn only_what_differs_is_sent() {
        let mut painter = Painter::default();
        let first = text(painter.frame(&screen(&["up 3 min", "all fine"])));
        assert!(first.contains("up 3 min") && first.contains("all fine"), "{first:?}");
        assert_eq!(text(painter.frame(&screen(&["up 3 min", "all fine"]))), "");
        assert_eq!(text(painter.frame(&screen(&["up 4 min", "all fine"]))), "\x1b[1;4H4\x1b[0m");
        assert_eq!(text(painter.frame(&screen(&["up 4 min", "all"]))), "\x1b[2;4H\x1b[0m\x1b[K");
        assert_eq!(text(painter.frame(&screen(&["up 44 min", "all"]))), "\x1b[1;5H4 min\x1b[0m");
        painter.forget();
        assert!(text(painter.frame(&screen(&["up 4 min", "all"]))).contains("all"));
    }

    #[test]
    fn repeated_characters_do_not_confuse_the_ends() {
        let mut painter = Painter::default();
        painter.frame(&screen(&["aaaa"]));
        assert_eq!(text(painter.frame(&screen(&["aaba"]))), "\x1b[1;3Hb\x1b[0m");
        assert_eq!(text(painter.frame(&screen(&["aaaa"]))), "\x1b[1;3Ha\x1b[0m");
    }

    #[test]
    fn a_size_is_believed_within_bounds() {
        assert_eq!(Size::checked(0, 0), None);
        assert_eq!(Size::checked(80, 24), Some(SIZE_DEFAULT));
        assert_eq!(Size::checked(9_999, 9_999), Some(Size { columns: 240, lines: 100 }));
    }
}

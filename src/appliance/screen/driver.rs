//! One terminal, for as long as the machine runs.
//!
//! Three threads: this one reads keys and draws, one gathers facts, and one at a time does an action
//! or compares a code, so that the page lives on whatever hangs.
//!
//! Invariants: nothing that is typed, and no terminal that goes away or takes nothing, ends the page;
//! only [`Stop`] does. Wrong codes are logged by their number, actions by their name.

use super::action::{Action, Outcome, Tools};
use super::code;
use super::facts::Facts;
use super::gather::{Places, gather};
use super::keys::{Key, Keys};
use super::menu::{Around, Effect, Menu, Mode};
use super::terminal::{Painter, SIZE_DEFAULT, Size, Terminal};
use super::view::view;
use crate::appliance::site::code_fits;
use crate::base::clock;
use crate::base::secret::Secret;
use crate::base::task;
use crate::ops::status::Language;
use log::{info, warn};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use understudy_proto::time::Mono;

/// How often the facts are gathered.
const GATHER_EVERY: Duration = Duration::from_secs(2);
/// How long one wait for a key lasts: as often it is looked whether there is something to draw.
const KEY_WAIT: Duration = Duration::from_millis(200);
/// How long a terminal may take to say its size: a round trip at 9,600 baud, and a person's modem.
const SIZE_WAIT: Duration = Duration::from_millis(800);
/// Everything is drawn anew so often: others write on a console, too.
const REDRAW_EVERY: Duration = Duration::from_secs(60);
/// Pause before a terminal that went away is opened again; it doubles while it stays away.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause: a serial port that is only a name never comes.
const REOPEN_PAUSE_MAX: Duration = Duration::from_secs(300);

/// What a page works with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The terminal's device.
    pub tty: PathBuf,
    /// Where the facts lie.
    pub places: Places,
    /// What actions run.
    pub tools: Tools,
    /// Where the hash of the recovery code may be, best first.
    pub code: Vec<PathBuf>,
}

/// Ends the page.
pub type Stop = Arc<AtomicBool>;

/// What the working thread found.
enum Done {
    Checked(bool),
    Finished(Outcome),
}

/// Shows the page on the terminal until `stop`.
///
/// Errors: none that a terminal makes; it is opened again.
pub fn run(setup: &Setup, stop: &Stop) {
    let facts: Shared = Arc::new(Mutex::new(Arc::new(gather(&setup.places))));
    let looking = Arc::new(AtomicBool::new(false));
    let gatherer = {
        let (facts, places) = (facts.clone(), setup.places.clone());
        let (looking, stop) = (looking.clone(), stop.clone());
        task::thread("screen-facts", move || renew(&facts, &places, &looking, &stop))
    };
    let mut pause = REOPEN_PAUSE;
    let mut page = Page::new(setup, &facts);
    while !stop.load(Ordering::Relaxed) {
        let ended = Terminal::open(&setup.tty).and_then(|terminal| {
            pause = REOPEN_PAUSE;
            looking.store(true, Ordering::Relaxed);
            page.show(&terminal, stop)
        });
        looking.store(false, Ordering::Relaxed);
        if let Err(e) = ended {
            if pause == REOPEN_PAUSE {
                warn!(path:% = setup.tty.display(), err:% = e; "the screen's terminal is away");
            }
            wait(pause, stop);
            pause = pause.saturating_mul(2).min(REOPEN_PAUSE_MAX);
        }
    }
    drop(gatherer.join());
}

type Shared = Arc<Mutex<Arc<Facts>>>;

/// Gathers while there is a terminal: asking the mail program is not for nothing.
fn renew(facts: &Shared, places: &Places, looking: &AtomicBool, stop: &Stop) {
    let mut answered = clock::mono();
    while !stop.load(Ordering::Relaxed) {
        wait(GATHER_EVERY, stop);
        if looking.load(Ordering::Relaxed) {
            let mut new = gather(places);
            if new.status().is_some() {
                answered = clock::mono();
            }
            new.silent_s = clock::mono().since(answered).as_secs();
            *facts.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        }
    }
}

fn wait(pause: Duration, stop: &Stop) {
    let until = clock::mono().after(pause);
    while clock::mono() < until && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(KEY_WAIT);
    }
}

struct Page<'a> {
    setup: &'a Setup,
    shared: &'a Shared,
    keys: Keys,
    menu: Menu,
    /// Chosen by key; before that it is what site.toml says.
    language: Option<Language>,
    size: Size,
    painter: Painter,
    drawn: Mono,
    working: (SyncSender<Done>, Receiver<Done>),
}

impl<'a> Page<'a> {
    fn new(setup: &'a Setup, shared: &'a Shared) -> Self {
        let now = clock::mono();
        Self {
            setup,
            shared,
            keys: Keys::default(),
            menu: Menu::new(now),
            language: None,
            size: SIZE_DEFAULT,
            painter: Painter::default(),
            drawn: now,
            working: sync_channel(1),
        }
    }

    fn show(&mut self, terminal: &Terminal, stop: &Stop) -> io::Result<()> {
        self.keys = Keys::default();
        self.menu.leave();
        self.painter.forget();
        self.size = match terminal.size() {
            Some(size) => size,
            None => self.ask_size(terminal)?,
        };
        while !stop.load(Ordering::Relaxed) {
            self.draw(terminal)?;
            let bytes = terminal.read(KEY_WAIT)?;
            let keys: Vec<Key> = if bytes.is_empty() {
                self.keys.pause().into_iter().collect()
            } else {
                bytes.iter().filter_map(|byte| self.keys.feed(*byte)).collect()
            };
            for key in keys {
                self.key(key);
            }
            while let Ok(done) = self.working.1.try_recv() {
                self.done(done);
            }
            self.menu.tick(clock::mono());
            if let Some(size) = terminal.size().filter(|s| *s != self.size) {
                self.size = size;
                self.painter.forget();
            }
        }
        Ok(())
    }

    /// Sends the cursor to where no terminal ends and asks where it is.
    fn ask_size(&mut self, terminal: &Terminal) -> io::Result<Size> {
        let until = clock::mono().after(SIZE_WAIT);
        terminal.write(b"\x1b[s\x1b[999;999H\x1b[6n\x1b[u")?;
        while clock::mono() < until {
            for byte in terminal.read(until.since(clock::mono()))? {
                if let Some(Key::Cursor { line, column }) = self.keys.feed(byte) {
                    return Ok(Size::checked(column, line).unwrap_or(SIZE_DEFAULT));
                }
            }
        }
        Ok(SIZE_DEFAULT)
    }

    fn facts(&self) -> Arc<Facts> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn language(&self, facts: &Facts) -> Language {
        let of_site = facts.boot.as_ref().map(|b| b.language);
        self.language.or(of_site).unwrap_or(Language::En)
    }

    fn draw(&mut self, terminal: &Terminal) -> io::Result<()> {
        let now = clock::mono();
        if now.since(self.drawn) >= REDRAW_EVERY {
            self.painter.forget();
        }
        let facts = self.facts();
        let size = (usize::from(self.size.columns), usize::from(self.size.lines));
        let screen = view(&facts, &self.menu, self.language(&facts), size, now);
        if self.painter.is_new() {
            self.drawn = now;
        }
        let frame = self.painter.frame(&screen);
        if !frame.is_empty() && !terminal.write(&frame)? {
            self.painter.forget();
        }
        Ok(())
    }

    fn key(&mut self, key: Key) {
        if matches!(key, Key::Cursor { .. }) {
            return;
        }
        let facts = self.facts();
        let on_page = matches!(self.menu.mode(), Mode::Page);
        let code = on_page && code::hash(&self.setup.code).is_some();
        let around = Around { locked: facts.locked(), new: facts.is_new(), code };
        match self.menu.key(key, around, clock::mono()) {
            Effect::None => {}
            Effect::Redraw => self.painter.forget(),
            Effect::Language => {
                self.language = Some(self.language(&facts).other());
                self.painter.forget();
            }
            Effect::Check(typed) => self.check(typed),
            Effect::Run(action, typed) => self.perform(action, typed),
        }
    }

    fn check(&self, typed: Secret<String>) {
        let (files, done) = (self.setup.code.clone(), self.working.0.clone());
        drop(task::thread("screen-code", move || {
            let right = code::hash(&files).is_some_and(|hash| code_fits(&hash, &typed));
            // The page has gone: nobody asks any more.
            drop(done.send(Done::Checked(right)));
        }));
    }

    fn perform(&self, action: Action, typed: Option<Secret<String>>) {
        info!(command = action.name(), path:% = self.setup.tty.display(); "recovery action");
        let (tools, done) = (self.setup.tools.clone(), self.working.0.clone());
        drop(task::thread("screen-action", move || {
            let outcome = action.perform(&tools, typed.as_ref());
            info!(command = action.name(), ok = outcome.ok; "recovery action ended");
            drop(done.send(Done::Finished(outcome)));
        }));
    }

    fn done(&mut self, done: Done) {
        let now = clock::mono();
        match done {
            Done::Checked(right) => {
                self.menu.checked(right, now);
                if !right {
                    let attempts = self.menu.wrong();
                    warn!(attempts, path:% = self.setup.tty.display(); "wrong recovery code");
                }
            }
            Done::Finished(outcome) => self.menu.finished(outcome, now),
        }
        self.painter.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::{OpenptyResult, Winsize, openpty};
    use nix::sys::termios::{LocalFlags, tcgetattr};
    use std::os::fd::OwnedFd;
    use std::thread::JoinHandle;

    /// Nothing here takes so long; a test that waits for it has failed.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A page on a terminal of its own, with no machine behind it.
    struct Desk {
        master: OwnedFd,
        slave: OwnedFd,
        seen: String,
        stop: Stop,
        page: Option<JoinHandle<()>>,
        dir: tempfile::TempDir,
        /// The terminal before the page came.
        before: LocalFlags,
    }

    impl Desk {
        fn new(columns: u16, lines: u16) -> Self {
            let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
            let dir = tempfile::tempdir().unwrap();
            let (nowhere, code) = (dir.path().join("nowhere"), dir.path().join("code"));
            std::fs::write(&code, code::hash_of("12345678")).unwrap();
            let setup = Setup {
                tty: nix::unistd::ttyname(&slave).unwrap(),
                places: Places::none(&nowhere),
                tools: Tools {
                    understudy: "/bin/echo".into(),
                    config: "/c.toml".into(),
                    systemctl: "/bin/false".into(),
                    journalctl: "/bin/false".into(),
                },
                code: vec![code],
            };
            let before = tcgetattr(&slave).unwrap().local_flags;
            let stop = Stop::default();
            let ended = stop.clone();
            let page = Some(std::thread::spawn(move || run(&setup, &ended)));
            Self { master, slave, seen: String::new(), stop, page, dir, before }
        }

        fn press(&self, keys: &str) {
            assert_eq!(nix::unistd::write(&self.master, keys.as_bytes()), Ok(keys.len()));
        }

        /// Reads until `text` has come; what came before it is forgotten.
        fn wait_for(&mut self, text: &str) {
            let until = clock::mono().after(PATIENCE);
            loop {
                if let Some((_, after)) = self.seen.split_once(text) {
                    self.seen = after.to_owned();
                    return;
                }
                assert!(clock::mono() < until, "no {text:?} in {:?}", self.seen);
                use nix::poll::{PollFd, PollFlags, poll};
                use std::os::fd::AsFd;
                let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
                if poll(&mut fds, 200_u16).unwrap() > 0 {
                    let mut buffer = [0; 4096];
                    let n = nix::unistd::read(&self.master, &mut buffer).unwrap();
                    self.seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
                }
            }
        }

        fn end(&mut self) {
            self.stop.store(true, Ordering::Relaxed);
            self.page.take().unwrap().join().unwrap();
        }
    }

    #[test]
    fn a_person_reads_changes_the_language_and_uses_the_menu() {
        let mut desk = Desk::new(80, 24);
        assert!(desk.before.contains(LocalFlags::ECHO));
        desk.wait_for("recovery menu");
        assert!(!tcgetattr(&desk.slave).unwrap().local_flags.contains(LocalFlags::ECHO));
        desk.press("\x1b[[B");
        desk.wait_for("Notfallmenü");
        desk.press("l");
        desk.wait_for("recovery menu");
        desk.press("\x03\x04\x1a\x00\u{9b}xyz q");
        desk.wait_for("recovery menu");
        desk.press("r");
        desk.wait_for("Type the recovery code");
        desk.press("87654321\r");
        desk.wait_for("That was not the code (1)");
        desk.wait_for("Type the recovery code");
        desk.press("1234-5678\r");
        desk.wait_for("6  Make a token");
        assert!(!desk.seen.contains("1234"), "what is typed shows");
        desk.press("6");
        desk.wait_for("Do it?");
        desk.press("y");
        desk.wait_for("--config /c.toml pair token");
        desk.press(" ");
        desk.wait_for("6  Make a token");
        desk.press("8y");
        desk.wait_for("NOT DONE");
        desk.press(" \x1b");
        desk.wait_for("[space] redraw");
        desk.end();
        assert_eq!(tcgetattr(&desk.slave).unwrap().local_flags, desk.before);
        desk.wait_for("\x1b[?25h");
    }

    #[test]
    fn a_window_that_changes_its_size_is_drawn_anew() {
        let mut desk = Desk::new(80, 24);
        desk.wait_for("\x1b[24;1H");
        let size = rustix::termios::Winsize { ws_row: 37, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&desk.master, size).unwrap();
        desk.wait_for("\x1b[37;1H");
        desk.end();
    }

    #[test]
    fn a_serial_line_is_asked_for_its_size_and_may_stay_silent() {
        let mut asked = Desk::new(0, 0);
        asked.wait_for("\x1b[6n");
        asked.press("\x1b[30;90R");
        asked.wait_for("\x1b[30;1H");
        asked.end();
        let mut silent = Desk::new(0, 0);
        silent.wait_for("\x1b[24;1H");
        silent.end();
    }

    #[test]
    fn without_a_code_the_menu_says_how_to_turn_it_on() {
        let mut desk = Desk::new(80, 24);
        std::fs::remove_file(desk.dir.path().join("code")).unwrap();
        desk.wait_for("recovery menu");
        desk.press("r");
        desk.wait_for("recovery_code = ");
        desk.press(" r");
        desk.wait_for("recovery_code = ");
        desk.end();
    }
}

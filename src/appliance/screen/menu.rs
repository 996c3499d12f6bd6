//! What keys do: the page, the recovery menu behind its code, and what asks once more.
//!
//! ```text
//! Page ─r─► Code ──right──► List ─1..9─► Confirm ─y─► Busy ─► Outcome ─any─► List
//!   └─u (disk locked)─► Passphrase ─Enter─► [new disk: Again ─Enter─►] Busy ─► Outcome ─any─► Page
//! ```
//!
//! Invariants: pure; a key gives at most one [`Effect`]. Nothing but unlocking happens without the
//! code, and nothing at all without a second word. Wrong codes are counted, and each makes the next
//! wait longer; what is typed meanwhile is lost. Left alone, the menu closes itself.

use super::action::{ALL, Action, Outcome};
use super::keys::Key;
use crate::base::secret::Secret;
use std::time::Duration;
use understudy_proto::time::Mono;

/// Longest code or passphrase, in bytes.
const TYPED_LEN_MAX: usize = 512;
/// After so long without a key the menu closes itself.
const IDLE: Duration = Duration::from_secs(180);
/// The wait after the first wrong code; it doubles with each.
const WRONG_WAIT: Duration = Duration::from_secs(2);
/// The longest wait after a wrong code.
const WRONG_WAIT_MAX: Duration = Duration::from_secs(300);

/// What is shown.
#[derive(Debug)]
pub enum Mode {
    /// The status page.
    Page,
    /// The menu is off: site.toml has no recovery code.
    Off,
    /// The recovery code is typed.
    Code,
    /// The code is being compared.
    Checking,
    /// The list of actions.
    List,
    /// An action says what it will do, and asks.
    Confirm(Action),
    /// The passphrase of the data disk is typed.
    Passphrase,
    /// It is typed for the first time, for a new disk.
    First,
    /// It is typed once more.
    Again,
    /// The two were not the same; nothing was done.
    Differs,
    /// An action is under way.
    Busy(Action),
    /// What came of it.
    Outcome(Action, Outcome),
}

/// What is to be done.
#[derive(Debug)]
pub enum Effect {
    /// Nothing.
    None,
    /// Draw everything anew.
    Redraw,
    /// The other language.
    Language,
    /// Compare this with the recovery code; the answer goes to [`Menu::checked`].
    Check(Secret<String>),
    /// Do this; what comes of it goes to [`Menu::finished`].
    Run(Action, Option<Secret<String>>),
}

/// What of the facts the keys depend on.
#[derive(Clone, Copy, Debug)]
pub struct Around {
    /// The data disk waits for a passphrase.
    pub locked: bool,
    /// That will be the first one of a new disk.
    pub new: bool,
    /// There is a recovery code.
    pub code: bool,
}

/// The state.
#[derive(Debug)]
pub struct Menu {
    mode: Mode,
    typed: Secret<String>,
    /// What [`Mode::Again`] must equal.
    first: Secret<String>,
    chosen: usize,
    /// The code was right; the menu has not been closed since.
    open: bool,
    wrong: u32,
    blocked_until: Mono,
    last_key: Mono,
}

impl Menu {
    /// Shows the page.
    #[must_use]
    pub fn new(now: Mono) -> Self {
        Self {
            mode: Mode::Page,
            typed: Secret::default(),
            first: Secret::default(),
            chosen: 0,
            open: false,
            wrong: 0,
            blocked_until: now,
            last_key: now,
        }
    }

    /// What is shown.
    #[must_use]
    pub const fn mode(&self) -> &Mode {
        &self.mode
    }

    /// The chosen action's place in the list.
    #[must_use]
    pub const fn chosen(&self) -> usize {
        self.chosen
    }

    /// Wrong codes since the last right one.
    #[must_use]
    pub const fn wrong(&self) -> u32 {
        self.wrong
    }

    /// Seconds until a code is taken again; 0 for now.
    #[must_use]
    pub fn blocked_s(&self, now: Mono) -> u64 {
        self.blocked_until.since(now).as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX)
    }

    /// A key was pressed.
    pub fn key(&mut self, key: Key, around: Around, now: Mono) -> Effect {
        self.last_key = now;
        if matches!(key, Key::F2) {
            return Effect::Language;
        }
        match &self.mode {
            Mode::Page => self.on_page(key, around),
            Mode::Off => self.close(),
            Mode::Code => self.on_code(key, now),
            Mode::Passphrase | Mode::First | Mode::Again => self.on_passphrase(key),
            Mode::List => self.on_list(key, around),
            Mode::Confirm(action) => {
                let action = *action;
                self.on_confirm(key, action)
            }
            Mode::Checking | Mode::Busy(_) => Effect::Redraw,
            Mode::Outcome(..) | Mode::Differs => {
                self.mode = if self.open { Mode::List } else { Mode::Page };
                Effect::Redraw
            }
        }
    }

    /// Time passes: a menu that was left alone closes itself.
    pub fn tick(&mut self, now: Mono) {
        let working = matches!(self.mode, Mode::Page | Mode::Busy(_) | Mode::Checking);
        if !working && now.since(self.last_key) >= IDLE {
            self.close();
        }
    }

    /// Who was there may have gone: the menu closes, unless an action is under way.
    pub fn leave(&mut self) {
        if !matches!(self.mode, Mode::Busy(_)) {
            self.close();
        }
        self.open = false;
    }

    /// Whether the code was right.
    pub fn checked(&mut self, right: bool, now: Mono) {
        if !matches!(self.mode, Mode::Checking) {
            return;
        }
        if right {
            (self.wrong, self.chosen, self.open) = (0, 0, true);
            self.mode = Mode::List;
            return;
        }
        let wait = WRONG_WAIT.saturating_mul(2_u32.saturating_pow(self.wrong)).min(WRONG_WAIT_MAX);
        self.wrong = self.wrong.saturating_add(1);
        self.blocked_until = now.after(wait);
        self.mode = Mode::Code;
    }

    /// What came of the action.
    pub fn finished(&mut self, outcome: Outcome, now: Mono) {
        if let Mode::Busy(action) = self.mode {
            self.last_key = now;
            self.mode = Mode::Outcome(action, outcome);
        }
    }

    fn on_page(&mut self, key: Key, around: Around) -> Effect {
        match key {
            Key::Char('l' | 'L') => return Effect::Language,
            Key::Char('r' | 'R') if around.code => self.mode = Mode::Code,
            Key::Char('r' | 'R') => self.mode = Mode::Off,
            Key::Char('u' | 'U') if around.locked => self.mode = passphrase(around),
            _ => {}
        }
        Effect::Redraw
    }

    fn on_code(&mut self, key: Key, now: Mono) -> Effect {
        if matches!(key, Key::Escape) {
            return self.close();
        }
        if now < self.blocked_until {
            self.typed = Secret::default();
            return Effect::None;
        }
        match self.take(key) {
            Some(typed) => {
                self.mode = Mode::Checking;
                Effect::Check(typed)
            }
            None => Effect::None,
        }
    }

    fn on_passphrase(&mut self, key: Key) -> Effect {
        if matches!(key, Key::Escape) {
            (self.typed, self.first) = (Secret::default(), Secret::default());
            self.mode = if self.open { Mode::List } else { Mode::Page };
            return Effect::Redraw;
        }
        let Some(typed) = self.take(key) else { return Effect::None };
        match self.mode {
            Mode::First => {
                (self.first, self.mode) = (typed, Mode::Again);
                Effect::Redraw
            }
            Mode::Again => {
                let first = std::mem::take(&mut self.first);
                if first.expose() != typed.expose() {
                    self.mode = Mode::Differs;
                    return Effect::Redraw;
                }
                self.run(Action::SetPassphrase, Some(typed))
            }
            // Typing it was the second word.
            _ => self.run(Action::Unlock, Some(typed)),
        }
    }

    fn on_list(&mut self, key: Key, around: Around) -> Effect {
        let last = ALL.len().saturating_sub(1);
        match key {
            Key::Escape | Key::Char('q') => return self.close(),
            Key::Up => self.chosen = self.chosen.checked_sub(1).unwrap_or(last),
            Key::Down => self.chosen = if self.chosen >= last { 0 } else { self.chosen + 1 },
            Key::Enter => self.choose(around),
            Key::Char(c) => {
                let number = c.to_digit(10).and_then(|d| usize::try_from(d).ok());
                if let Some(at) = number.and_then(|n| n.checked_sub(1)).filter(|at| *at <= last) {
                    self.chosen = at;
                    self.choose(around);
                }
            }
            _ => {}
        }
        Effect::Redraw
    }

    fn choose(&mut self, around: Around) {
        self.mode = match ALL.get(self.chosen) {
            Some(Action::Unlock) => passphrase(around),
            Some(action) => Mode::Confirm(*action),
            None => Mode::List,
        };
    }

    fn on_confirm(&mut self, key: Key, action: Action) -> Effect {
        match key {
            // Yes or ja, whatever the language: a German keyboard may be driven in English.
            Key::Char('y' | 'Y' | 'j' | 'J') => self.run(action, None),
            _ => {
                self.mode = Mode::List;
                Effect::Redraw
            }
        }
    }

    fn run(&mut self, action: Action, typed: Option<Secret<String>>) -> Effect {
        self.mode = Mode::Busy(action);
        Effect::Run(action, typed)
    }

    fn close(&mut self) -> Effect {
        (self.typed, self.first) = (Secret::default(), Secret::default());
        (self.mode, self.open) = (Mode::Page, false);
        Effect::Redraw
    }

    /// Adds to what is typed; gives it at Enter, unless it is nothing.
    fn take(&mut self, key: Key) -> Option<Secret<String>> {
        match key {
            Key::Char(c) if self.typed.expose().len() + c.len_utf8() <= TYPED_LEN_MAX => {
                // Grown by a new allocation each time would leave pieces behind; this one stays.
                let mut longer = String::with_capacity(TYPED_LEN_MAX);
                longer.push_str(self.typed.expose());
                longer.push(c);
                self.typed = Secret::new(longer);
                None
            }
            Key::Backspace => {
                let shorter = self.typed.expose();
                let mut chars = shorter.chars();
                chars.next_back();
                let shorter = chars.as_str().to_owned();
                self.typed = Secret::new(shorter);
                None
            }
            Key::Enter if !self.typed.expose().is_empty() => Some(std::mem::take(&mut self.typed)),
            _ => None,
        }
    }
}

/// A slip in the first passphrase of a new disk would lock it for ever.
const fn passphrase(around: Around) -> Mode {
    if around.new { Mode::First } else { Mode::Passphrase }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AROUND: Around = Around { locked: false, new: false, code: true };

    fn at(seconds: u64) -> Mono {
        Mono(1_000_000_000).after(Duration::from_secs(seconds))
    }

    fn type_in(menu: &mut Menu, text: &str, around: Around, now: Mono) -> Effect {
        for c in text.chars() {
            menu.key(Key::Char(c), around, now);
        }
        menu.key(Key::Enter, around, now)
    }

    fn opened() -> Menu {
        let mut menu = Menu::new(at(0));
        menu.key(Key::Char('r'), AROUND, at(0));
        let effect = type_in(&mut menu, "1234-5678", AROUND, at(0));
        assert!(matches!(effect, Effect::Check(code) if code.expose() == "1234-5678"));
        menu.checked(true, at(0));
        assert!(matches!(menu.mode(), Mode::List));
        menu
    }

    fn done(text: &str) -> Outcome {
        Outcome { ok: true, text: Secret::new(text.to_owned()) }
    }

    #[test]
    fn every_action_asks_once_more() {
        for (i, action) in ALL.iter().enumerate() {
            let mut menu = opened();
            let digit = char::from_digit(u32::try_from(i).unwrap() + 1, 10).unwrap();
            assert!(matches!(menu.key(Key::Char(digit), AROUND, at(1)), Effect::Redraw));
            if *action == Action::Unlock {
                assert!(matches!(menu.mode(), Mode::Passphrase));
                continue;
            }
            assert!(matches!(menu.mode(), Mode::Confirm(a) if a == action), "{action:?}");
            menu.key(Key::Enter, AROUND, at(1));
            assert!(matches!(menu.mode(), Mode::List), "Enter is no yes");
            menu.key(Key::Char(digit), AROUND, at(1));
            let effect = menu.key(Key::Char('y'), AROUND, at(1));
            assert!(matches!(effect, Effect::Run(a, None) if a == *action), "{action:?}");
            assert!(matches!(menu.key(Key::Char('y'), AROUND, at(1)), Effect::Redraw), "only once");
            menu.finished(done("so"), at(2));
            assert!(matches!(menu.mode(), Mode::Outcome(a, _) if a == action));
            menu.key(Key::Other, AROUND, at(3));
            assert!(matches!(menu.mode(), Mode::List));
        }
    }

    #[test]
    fn arrows_go_round() {
        let mut menu = opened();
        menu.key(Key::Up, AROUND, at(1));
        assert_eq!(menu.chosen(), 8);
        menu.key(Key::Down, AROUND, at(1));
        menu.key(Key::Down, AROUND, at(1));
        menu.key(Key::Enter, AROUND, at(1));
        assert!(matches!(menu.mode(), Mode::Confirm(Action::RestartMail)));
        menu.key(Key::Escape, AROUND, at(1));
        menu.key(Key::Char('0'), AROUND, at(1));
        assert!(matches!(menu.mode(), Mode::List));
        menu.key(Key::Escape, AROUND, at(1));
        assert!(matches!(menu.mode(), Mode::Page));
        menu.key(Key::Char('8'), AROUND, at(1));
        assert!(matches!(menu.mode(), Mode::Page), "closed is closed");
    }

    #[test]
    fn wrong_codes_take_ever_longer() {
        let mut menu = Menu::new(at(0));
        menu.key(Key::Char('r'), AROUND, at(0));
        let mut now = at(0);
        for wait in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            assert!(matches!(type_in(&mut menu, "guess", AROUND, now), Effect::Check(_)));
            menu.checked(false, now);
            assert_eq!(menu.blocked_s(now), wait);
            let early = now.after(Duration::from_millis(wait * 1_000 - 1));
            assert!(matches!(type_in(&mut menu, "right", AROUND, early), Effect::None));
            now = now.after(Duration::from_secs(wait));
            // Closing and opening it again does not help.
            menu.key(Key::Escape, AROUND, early);
            menu.key(Key::Char('r'), AROUND, early);
            assert!(matches!(type_in(&mut menu, "right", AROUND, early), Effect::None));
        }
        assert_eq!(menu.wrong(), 10);
        let effect = type_in(&mut menu, "right", AROUND, now);
        assert!(matches!(effect, Effect::Check(code) if code.expose() == "right"));
        menu.checked(true, now);
        assert_eq!(menu.wrong(), 0);
    }

    #[test]
    fn without_a_code_there_is_no_menu_but_unlocking() {
        let around = Around { locked: true, new: false, code: false };
        let mut menu = Menu::new(at(0));
        menu.key(Key::Char('r'), around, at(0));
        assert!(matches!(menu.mode(), Mode::Off));
        menu.key(Key::Other, around, at(0));
        menu.key(Key::Char('u'), around, at(0));
        assert!(matches!(menu.mode(), Mode::Passphrase));
        let effect = type_in(&mut menu, "pass wörd", around, at(0));
        let Effect::Run(Action::Unlock, Some(typed)) = effect else { panic!("{effect:?}") };
        assert_eq!(typed.expose(), "pass wörd");
        menu.finished(done(""), at(1));
        menu.key(Key::Enter, around, at(1));
        assert!(matches!(menu.mode(), Mode::Page), "unlocking opens no menu");
        let open = Around { locked: false, new: false, code: false };
        menu.key(Key::Char('u'), open, at(2));
        assert!(matches!(menu.mode(), Mode::Page), "nothing is locked");
    }

    #[test]
    fn the_first_passphrase_of_a_disk_is_typed_twice() {
        let around = Around { locked: true, new: true, code: false };
        let mut menu = Menu::new(at(0));
        for wrong in ["pass wort", "", "pass"] {
            menu.key(Key::Char('u'), around, at(0));
            assert!(matches!(menu.mode(), Mode::First));
            assert!(matches!(type_in(&mut menu, "pass word", around, at(0)), Effect::Redraw));
            assert!(matches!(menu.mode(), Mode::Again));
            type_in(&mut menu, wrong, around, at(0));
            if wrong.is_empty() {
                assert!(matches!(menu.mode(), Mode::Again), "nothing is not typed");
                menu.key(Key::Escape, around, at(0));
            } else {
                assert!(matches!(menu.mode(), Mode::Differs));
                menu.key(Key::Enter, around, at(0));
            }
            assert!(matches!(menu.mode(), Mode::Page));
        }
        menu.key(Key::Char('u'), around, at(0));
        type_in(&mut menu, "pass word", around, at(0));
        let effect = type_in(&mut menu, "pass word", around, at(0));
        let Effect::Run(Action::SetPassphrase, Some(typed)) = effect else { panic!("{effect:?}") };
        assert_eq!(typed.expose(), "pass word");
    }

    #[test]
    fn a_menu_that_is_left_alone_closes_itself() {
        let mut menu = opened();
        menu.tick(at(179));
        assert!(matches!(menu.mode(), Mode::List));
        menu.tick(at(180));
        assert!(matches!(menu.mode(), Mode::Page));
        let mut menu = opened();
        menu.key(Key::Char('6'), AROUND, at(1));
        menu.key(Key::Char('y'), AROUND, at(1));
        menu.tick(at(900));
        assert!(matches!(menu.mode(), Mode::Busy(Action::Token)), "work is not left");
        menu.finished(done("token"), at(900));
        menu.tick(at(1_081));
        assert!(matches!(menu.mode(), Mode::Page), "a token does not stay on the screen");
    }

    #[test]
    fn what_is_typed_is_bounded_and_shows_nowhere() {
        let mut menu = Menu::new(at(0));
        menu.key(Key::Char('r'), AROUND, at(0));
        let Effect::Check(code) = type_in(&mut menu, &"ü".repeat(9_000), AROUND, at(0)) else {
            panic!("no check")
        };
        assert_eq!(code.expose().len(), TYPED_LEN_MAX);
        assert!(!format!("{menu:?}").contains('ü'));
        let mut menu = Menu::new(at(0));
        menu.key(Key::Char('r'), AROUND, at(0));
        menu.key(Key::Char('ß'), AROUND, at(0));
        menu.key(Key::Backspace, AROUND, at(0));
        menu.key(Key::Backspace, AROUND, at(0));
        assert!(matches!(menu.key(Key::Enter, AROUND, at(0)), Effect::None), "nothing is no code");
    }

    fn any_key() -> impl Strategy<Value = Key> {
        prop_oneof![
            any::<char>().prop_map(Key::Char),
            "[a-z0-9]".prop_map(|s| Key::Char(s.chars().next().unwrap_or('x'))),
            Just(Key::Enter),
            Just(Key::Escape),
            Just(Key::Backspace),
            Just(Key::Up),
            Just(Key::Down),
            Just(Key::F2),
            Just(Key::Other),
        ]
    }

    proptest! {
        #[test]
        fn without_the_right_code_nothing_runs(
            keys in proptest::collection::vec(any_key(), 0..200),
            locked in any::<bool>(),
            new in any::<bool>(),
        ) {
            let mut menu = Menu::new(at(0));
            let around = Around { locked, new: locked && new, code: true };
            for (i, key) in keys.into_iter().enumerate() {
                let now = at(i as u64 * 40);
                match menu.key(key, around, now) {
                    Effect::Check(_) => menu.checked(false, now),
                    Effect::Run(action, typed) => {
                        let wanted = if new { Action::SetPassphrase } else { Action::Unlock };
                        prop_assert!(locked && action == wanted && typed.is_some());
                        menu.finished(done(""), now);
                    }
                    Effect::None | Effect::Redraw | Effect::Language => {}
                }
                menu.tick(now);
            }
        }
    }
}

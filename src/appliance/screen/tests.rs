//! The page in the situations that staff meet: `golden/` holds it as it is shown
//! (`BLESS=1 cargo test --lib appliance::screen` writes it anew; read it as an operator would).

use super::*;
use crate::appliance::report::{BootReport, DataOutcome, SiteOutcome, Slot, Trouble};
use crate::base::secret::Secret;
use crate::ops::status::{
    AddressReport, Holder, Lag, PathReport, ProblemReport, Role, Sessions, State, StatusReport,
    VrrpState, WitnessReport,
};
use action::Outcome;
use menu::{Around, Menu};
use proptest::prelude::*;
use std::path::Path;
use understudy_proto::time::{Mono, UnixMs};

const NOW: UnixMs = UnixMs(1_785_153_600_000);

fn boot() -> BootReport {
    BootReport {
        at: NOW,
        language: Language::En,
        slot: Some(Slot::A),
        trial: false,
        site: SiteOutcome::Applied,
        data: DataOutcome::Mounted { what: "/dev/nvme0n1p6, 931 GiB, encrypted (TPM)".into() },
        troubles: Vec::new(),
    }
}

fn status(state: State, role: Role) -> StatusReport {
    let here = role == Role::Primary;
    StatusReport {
        hostname: "mx1.example.net".into(),
        version: "0.1.0".into(),
        at: NOW,
        uptime_s: 600,
        state,
        rpo_zero: state == State::Pair,
        role,
        node: Some(1),
        epoch: 7,
        insync: vec![0, 1],
        committed: 1_234,
        applied: 1_234,
        durable: 1_234,
        lag: Some(Lag { records: 0 }),
        paths: vec![PathReport {
            peer: "10.0.1.2:7400".into(),
            reachable: true,
            heard_ms_ago: Some(12),
            session: true,
        }],
        copy: None,
        merge: None,
        update: None,
        witness: Some(WitnessReport {
            address: "192.0.2.7:7401".into(),
            reachable: true,
            round_trip_us: Some(1_350),
            epoch: Some(7),
            holder: Some(0),
        }),
        addresses: vec![AddressReport {
            address: "203.0.113.25/24".into(),
            interface: "eth0".into(),
            vrid: 51,
            vrrp: if here { VrrpState::Active } else { VrrpState::Backup },
            holder: if here { Holder::Here } else { Holder::Other("203.0.113.11".into()) },
        }],
        queue_depth: 2,
        sessions: Sessions { smtp: 3, submission: 0, imap: 12 },
        tenants: 4,
        last_move: None,
        waiting_for: None,
        problems: Vec::new(),
    }
}

fn interface(name: &str, address: &str) -> Interface {
    Interface {
        name: name.into(),
        on: true,
        carrier: true,
        speed: Some(10_000),
        addresses: vec![address.into()],
    }
}

fn facts() -> Facts {
    Facts {
        now: NOW,
        up_s: 3 * 86_400 + 4 * 3_600 + 12 * 60 + 9,
        version: "0.1.0".into(),
        hostname: "mx1.example.net".into(),
        boot: Some(boot()),
        configured: true,
        program: Program::Answers(Box::new(status(State::Pair, Role::Standby))),
        interfaces: vec![
            interface("eth0", "203.0.113.12/24"),
            interface("eth1", "10.0.1.1/30"),
            interface("eth2", "192.168.7.12/24"),
        ],
        silent_s: 0,
        management: Some("192.168.7.12".into()),
        service: vec!["203.0.113.12".into()],
        disk: Some(DiskUse { total: 915 << 30, free: 810 << 30, lost: false }),
        clock: Clock::Set { ago_s: 190 },
    }
}

fn silent(site: SiteOutcome, data: DataOutcome, troubles: Vec<Trouble>) -> Facts {
    Facts {
        boot: Some(BootReport { site, data, troubles, ..boot() }),
        program: Program::Silent,
        silent_s: 3_600,
        management: None,
        service: Vec::new(),
        ..facts()
    }
}

fn problem(what: &str, runbook: &str) -> ProblemReport {
    ProblemReport { what: what.into(), runbook: runbook.into() }
}

fn first_boot() -> Facts {
    let mounted = boot().data;
    Facts {
        configured: false,
        hostname: "understudy".into(),
        up_s: 75,
        clock: Clock::Unset,
        interfaces: vec![Interface {
            on: false,
            carrier: false,
            speed: None,
            addresses: Vec::new(),
            ..interface("eth0", "")
        }],
        ..silent(SiteOutcome::Missing, mounted, vec![Trouble::SiteMissing])
    }
}

fn refused() -> Facts {
    let lines = vec![
        "line 4: there is no key `adress`; did you mean `address`?".to_owned(),
        "line 9: `203.0.113.12` has no prefix length; write `203.0.113.12/24`".to_owned(),
        "line 17: the peer's address is this machine's own".to_owned(),
    ];
    let troubles = vec![Trouble::SiteRefused(lines)];
    Facts { configured: false, ..silent(SiteOutcome::Refused, boot().data, troubles) }
}

fn solo() -> Facts {
    let mut report = status(State::Solo, Role::Primary);
    report.insync = vec![1];
    report.lag = None;
    report.problems = vec![
        problem("the peer is missing: what is acknowledged now is on one disk only", "peer-lost"),
        problem(
            "the witness 192.0.2.7:7401 is not reachable: it has not answered yet",
            "witness-lost",
        ),
    ];
    if let Some(witness) = &mut report.witness {
        witness.reachable = false;
    }
    Facts { program: Program::Answers(Box::new(report)), ..facts() }
}

fn recovering() -> Facts {
    let mut report = status(State::Recovering, Role::None);
    report.lag = None;
    report.rpo_zero = false;
    report.addresses[0].holder = Holder::Nobody;
    report.waiting_for = Some("the peer, which may know more than this appliance".into());
    report.problems = vec![problem("who may serve is not decided yet", "recovering")];
    Facts { program: Program::Answers(Box::new(report)), ..facts() }
}

fn trial() -> Facts {
    let boot = BootReport { slot: Some(Slot::B), trial: true, ..boot() };
    Facts { boot: Some(boot), up_s: 240, ..facts() }
}

fn site_changed() -> Facts {
    let troubles = vec![Trouble::SiteChanged];
    Facts { boot: Some(BootReport { site: SiteOutcome::Changed, troubles, ..boot() }), ..facts() }
}

fn site_trial() -> Facts {
    let until = UnixMs(NOW.0 + 600_000);
    let troubles = vec![Trouble::SiteOnTrial { until, minutes: 10 }];
    Facts { boot: Some(BootReport { site: SiteOutcome::Trial, troubles, ..boot() }), ..facts() }
}

fn site_taken() -> Facts {
    Facts { boot: Some(BootReport { site: SiteOutcome::Taken, ..boot() }), ..facts() }
}

fn link_down() -> Facts {
    let mut facts = facts();
    facts.interfaces[1].carrier = false;
    facts.interfaces[1].speed = None;
    facts
}

fn starting() -> Facts {
    Facts {
        boot: None,
        disk: None,
        up_s: 14,
        configured: false,
        clock: Clock::Unset,
        ..not_running()
    }
}

fn not_running() -> Facts {
    silent(SiteOutcome::Applied, boot().data, Vec::new())
}

fn standalone() -> Facts {
    let mut report = status(State::Standalone, Role::Primary);
    (report.node, report.witness, report.addresses) = (None, None, Vec::new());
    Facts { program: Program::Answers(Box::new(report)), ..facts() }
}

fn crowded() -> Facts {
    let mut facts = solo();
    facts.interfaces =
        (0..9).map(|i| interface(&format!("enp129s0f{i}np0"), "10.0.1.1/30")).collect();
    facts.interfaces[2].carrier = false;
    facts.disk = Some(DiskUse { total: 100 << 30, free: 3 << 30, lost: false });
    facts.boot = Some(BootReport { trial: true, troubles: vec![Trouble::SiteMissing], ..boot() });
    if let Program::Answers(report) = &mut facts.program {
        report.addresses = vec![report.addresses[0].clone(); 30];
    }
    facts
}

fn situations() -> Vec<(&'static str, Facts)> {
    let locked =
        Facts { disk: None, ..silent(SiteOutcome::Applied, DataOutcome::Locked, Vec::new()) };
    let pulled = DiskUse { total: 915 << 30, free: 810 << 30, lost: true };
    let data_lost = Facts { disk: Some(pulled), ..not_running() };
    let data_new =
        Facts { disk: None, ..silent(SiteOutcome::Applied, DataOutcome::New, Vec::new()) };
    let missing = vec![Trouble::DataDiskMissing("nvme-Samsung_PM9A3_S64XNE0R".into())];
    let no_disk =
        Facts { disk: None, ..silent(SiteOutcome::Applied, DataOutcome::Absent, missing) };
    let primary = Facts {
        program: Program::Answers(Box::new(status(State::Pair, Role::Primary))),
        ..facts()
    };
    vec![
        ("starting", starting()),
        ("first-boot", first_boot()),
        ("site-refused", refused()),
        ("standby", facts()),
        ("primary", primary),
        ("standalone", standalone()),
        ("solo", solo()),
        ("recovering", recovering()),
        ("no-data-disk", no_disk),
        ("data-locked", locked),
        ("data-new", data_new),
        ("data-lost", data_lost),
        ("not-running", not_running()),
        ("stuck", Facts { program: Program::Stuck, silent_s: 40, ..facts() }),
        ("restarting", Facts { silent_s: 12, ..not_running() }),
        ("trial", trial()),
        ("site-changed", site_changed()),
        ("site-trial", site_trial()),
        ("site-taken", site_taken()),
        ("link-down", link_down()),
        ("crowded", crowded()),
    ]
}

fn shown(screen: &Screen) -> String {
    screen.lines.iter().map(|l| format!("{}\n", l.text.trim_end())).collect()
}

#[test]
fn the_page_reads_as_it_was_read() {
    for (name, facts) in situations() {
        let mut text = String::new();
        for (language, columns, lines) in
            [(Language::En, 80, 24), (Language::De, 80, 24), (Language::En, 100, 37)]
        {
            if lines == 24 || matches!(name, "standby" | "crowded") {
                text += &format!("{:-<columns$}\n", format!("{language:?} {columns}x{lines} "));
                text += &shown(&render(&facts, language, columns, lines));
            }
        }
        golden(name, &text);
    }
}

#[test]
fn the_menu_reads_as_it_was_read() {
    let mut text = String::new();
    for menu in menus("Jul 27 12:00:00 store stopped path=/data\nJul 27 12:00:01 ended") {
        for language in [Language::En, Language::De] {
            let screen = view(&facts(), &menu, language, (80, 24), Mono(1));
            let lines: Vec<_> = screen.lines.iter().map(|l| l.text.trim_end()).collect();
            let full = lines.iter().filter(|l| !l.is_empty()).copied().collect::<Vec<_>>();
            text += &format!("{}\n{:-<80}\n", full.join("\n"), "");
        }
    }
    golden("menu", &text);
}

/// Compares with what is kept, or keeps it.
fn golden(name: &str, text: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/appliance/screen/golden");
    let path = golden.join(format!("{name}.txt"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(&golden).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(committed, text, "{name}: BLESS=1 cargo test --lib appliance::screen");
}

/// What no language changes: numbers, addresses, names, pages, in their order line by line.
fn facts_of(screen: &Screen) -> Vec<String> {
    let text = shown(screen);
    let words = text.split([' ', '\n', '(', ')', ',']);
    let is_fact = |w: &&str| w.chars().any(|c| c.is_ascii_digit()) || w.contains("eth");
    let mut found: Vec<String> =
        words.filter(is_fact).map(|w| w.trim_end_matches(['.', ':']).to_owned()).collect();
    found.sort();
    found
}

#[test]
fn both_languages_show_the_same_facts() {
    for (name, facts) in situations() {
        // Wide and high enough that neither language leaves anything out.
        let (en, de) =
            (render(&facts, Language::En, 300, 200), render(&facts, Language::De, 300, 200));
        assert_eq!(facts_of(&en), facts_of(&de), "{name}");
        let signs = |s: &Screen| s.lines.iter().map(|l| l.style).collect::<Vec<_>>();
        assert_eq!(signs(&en), signs(&de), "{name}");
        let pages = |s: &Screen, word: &str| shown(s).matches(word).count();
        assert_eq!(pages(&en, "(page: "), pages(&de, "(Seite: "), "{name}");
    }
}

#[test]
fn the_state_is_told_in_words_and_signs_too() {
    for (name, facts) in situations() {
        let level = verdict::verdict(&facts, Language::En).level;
        let sign = match level {
            Level::Good => "[OK]",
            Level::Wait => "[..]",
            Level::Attention => "[!!]",
            Level::Bad => "[XX]",
        };
        let screen = render(&facts, Language::En, 80, 24);
        let band = screen.lines.iter().find(|l| matches!(l.style, Style::Band(_))).unwrap();
        assert!(band.text.contains(sign), "{name}: {band:?}");
        assert_eq!(band.style, Style::Band(level), "{name}");
        assert_eq!(band.text.chars().count(), 80, "{name}");
    }
}

#[test]
fn nothing_that_is_wrong_is_called_fine() {
    let fine = ["standby", "primary", "standalone", "trial", "site-taken"];
    for (name, facts) in situations() {
        let english = shown(&render(&facts, Language::En, 80, 24));
        let german = shown(&render(&facts, Language::De, 80, 24));
        assert_eq!(english.contains("Everything is fine"), fine.contains(&name), "{name}");
        assert_eq!(german.contains("Alles in Ordnung"), fine.contains(&name), "{name}");
    }
}

#[test]
fn a_restart_is_not_hidden_by_what_is_wrong_besides() {
    let facts = Facts { silent_s: 12, clock: Clock::Unset, ..not_running() };
    let text = shown(&render(&facts, Language::En, 80, 24));
    assert!(text.contains("[..]   N O   A N S W E R\nThe mail program does not answer"), "{text}");
    assert!(text.contains("Also wrong (1):") && text.contains("(page: clock-unset)"), "{text}");
    let facts = Facts { silent_s: 30, ..facts };
    assert!(shown(&render(&facts, Language::En, 80, 24)).contains("M A I L   S T O P P E D"));
}

#[test]
fn a_full_page_keeps_what_matters_and_counts_the_rest() {
    let text = shown(&render(&crowded(), Language::En, 80, 24));
    for part in ["A L O N E", "(page: peer-lost)", "RPO 0      NO", "more lines", "[r] recovery"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(text.lines().count(), 24);
}

/// A menu in every one of its modes.
fn menus(text: &str) -> Vec<Menu> {
    let now = Mono(1);
    let around = Around { locked: true, new: false, code: true };
    let opened = || {
        let mut menu = Menu::new(now);
        for key in [Key::Char('r'), Key::Char('x'), Key::Enter] {
            menu.key(key, around, now);
        }
        menu.checked(true, now);
        menu
    };
    let pressed = |mut menu: Menu, keys: &str| {
        for key in keys.chars() {
            menu.key(Key::Char(key), around, now);
        }
        menu
    };
    let mut off = Menu::new(now);
    off.key(Key::Char('r'), Around { locked: false, new: false, code: false }, now);
    let mut wrong = pressed(Menu::new(now), "rx");
    wrong.key(Key::Enter, around, now);
    wrong.checked(false, now);
    let mut menus = vec![off, pressed(Menu::new(now), "r"), wrong, opened()];
    menus.push(pressed(Menu::new(now), "u"));
    for digit in ["1", "2", "3", "4", "6", "7", "8", "9"] {
        menus.push(pressed(opened(), digit));
    }
    menus.push(pressed(opened(), "8y"));
    for ok in [true, false] {
        let mut menu = pressed(opened(), "1y");
        menu.finished(Outcome { ok, text: Secret::new(text.to_owned()) }, now);
        menus.push(menu);
    }
    menus
}

#[test]
fn the_menu_says_the_same_in_both_languages_and_fits_a_small_terminal() {
    let text = "one\ntwo \x1b[2J\nthree";
    for (i, menu) in menus(text).into_iter().enumerate() {
        let show = |language| view(&facts(), &menu, language, (80, 24), Mono(1));
        let (en, de) = (show(Language::En), show(Language::De));
        assert_ne!(shown(&en), shown(&de), "menu {i}");
        for screen in [en, de] {
            assert_eq!(screen.lines.len(), 24, "menu {i}");
            // Nothing of the menu itself is ever cut.
            assert!(
                screen.lines.iter().all(|l| !l.text.ends_with("...") || l.text.ends_with(" ...")),
                "menu {i}: {}",
                shown(&screen)
            );
            assert!(!shown(&screen).contains('\x1b'));
        }
    }
    let last = menus(&"line\n".repeat(90)).pop().unwrap();
    let outcome = shown(&view(&facts(), &last, Language::En, (80, 24), Mono(1)));
    assert!(outcome.contains("NOT DONE") && outcome.contains("[any key]"), "{outcome}");
}

fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,60}",
        "[a-z ]{0,400}",
        Just("\x1b[2J\x1b]0;x\x07\u{9b}31m\r\n".repeat(20)),
        Just("x".repeat(3_000)),
        Just("日本語🦀".repeat(30)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn the_page_fits_whatever_the_facts(
        texts in proptest::collection::vec(hostile(), 8),
        counts in proptest::collection::vec(0_usize..40, 4),
        numbers in proptest::collection::vec(any::<u64>(), 6),
        columns in 0_usize..140,
        lines in 0_usize..60,
        which in any::<proptest::sample::Index>(),
    ) {
        let mut all = situations();
        let (_, mut facts) = all.swap_remove(which.index(all.len()));
        facts.hostname.clone_from(&texts[0]);
        facts.version.clone_from(&texts[1]);
        (facts.up_s, facts.now) = (numbers[0], UnixMs(numbers[1]));
        facts.disk = Some(DiskUse { total: numbers[2], free: numbers[3], lost: false });
        facts.clock = Clock::Set { ago_s: numbers[4] };
        facts.interfaces = vec![interface(&texts[2], &texts[3]); counts[0]];
        if let Some(boot) = &mut facts.boot {
            boot.data = DataOutcome::Mounted { what: texts[4].clone() };
            boot.troubles = vec![Trouble::SiteRefused(vec![texts[5].clone(); 3]); counts[1]];
        }
        if let Program::Answers(report) = &mut facts.program {
            report.problems = vec![problem(&texts[6], &texts[7]); counts[2]];
            let mut address = status(State::Pair, Role::Primary).addresses.remove(0);
            address.address.clone_from(&texts[2]);
            address.holder = Holder::Other(texts[5].clone());
            report.addresses = vec![address; counts[3]];
            report.epoch = numbers[5];
            report.waiting_for = Some(texts[1].clone());
        }
        for language in [Language::En, Language::De] {
            let screen = render(&facts, language, columns, lines);
            prop_assert_eq!(screen.lines.len(), lines);
            for line in &screen.lines {
                prop_assert!(line.text.chars().count() <= columns, "{:?}", line);
                let safe = line.text.chars().all(|c| matches!(c, ' '..='~' | '¡'..='ÿ'));
                prop_assert!(safe, "{:?}", line);
            }
            for menu in menus(&texts[6]) {
                let screen = view(&facts, &menu, language, (columns, lines), Mono(1));
                prop_assert_eq!(screen.lines.len(), lines);
                let fits = screen.lines.iter().all(|l| l.text.chars().count() <= columns);
                prop_assert!(fits, "{:?}", menu);
            }
        }
    }
}

#[test]
fn a_disk_check_is_no_stopped_mail() {
    let checking = Facts { up_s: 600, ..starting() };
    let word = |facts: &Facts| verdict::verdict(facts, Language::En).word;
    assert_eq!(word(&checking), word(&starting()));
    let never = Facts { up_s: 31 * 60, ..starting() };
    assert_ne!(word(&never), word(&starting()));
}

//! The screen fits, says the truth in both languages, and lets nothing through that it should not.

use super::*;

fn report() -> StatusReport {
    StatusReport {
        hostname: "mx.example.net".into(),
        version: "0.1.0".into(),
        at: UnixMs(1_785_153_600_000),
        uptime_s: 3 * 86_400 + 4 * 3_600 + 12 * 60,
        state: State::Pair,
        rpo_zero: true,
        role: Role::Primary,
        node: Some(0),
        epoch: 7,
        insync: vec![0, 1],
        committed: 1_234,
        applied: 1_234,
        durable: 1_235,
        lag: Some(Lag { records: 1 }),
        paths: vec![
            PathReport {
                peer: "10.0.1.2:7400".into(),
                reachable: true,
                heard_ms_ago: Some(12),
                session: true,
            },
            PathReport {
                peer: "10.0.0.2:7400".into(),
                reachable: false,
                heard_ms_ago: None,
                session: false,
            },
        ],
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
            address: "10.0.0.100/24".into(),
            interface: "eth0".into(),
            vrid: 51,
            vrrp: VrrpState::Active,
            holder: Holder::Here,
        }],
        queue_depth: 2,
        sessions: Sessions { smtp: 3, submission: 0, imap: 12 },
        tenants: 4,
        last_move: Some(Move {
            at: UnixMs(1_785_153_600_000),
            kind: MoveKind::Takeover,
            to: 0,
            epoch: 7,
            took_ms: Some(231),
            reason: "no heartbeat on any path and master-down".into(),
            asked_by: None,
        }),
        waiting_for: None,
        problems: vec![ProblemReport {
            what: "path 10.0.0.2:7400 is silent".into(),
            runbook: "peer-lost".into(),
        }],
    }
}

#[test]
fn a_move_says_whose_word_it_was() {
    let mut report = report();
    let last = report.last_move.as_mut().unwrap();
    (last.reason, last.asked_by) = ("an operator said so".into(), Some(1_000));
    let english = render(&report, Language::En, false);
    assert!(english.contains("why: an operator said so (uid 1000)\n"), "{english}");
    let german = render(&report, Language::De, false);
    assert!(german.contains("Grund: ein Mensch hat es gesagt (uid 1000)\n"), "{german}");
}

#[test]
fn the_screen_reads_well() {
    assert_eq!(
        render(&report(), Language::En, false),
        "\
understudy 0.1.0 · mx.example.net · node 0 · up 3 d 04:12:00
PAIR  primary  epoch 7  RPO 0: yes, losing one appliance loses nothing
Pair        in sync: node 0+1; 1 records behind
            10.0.1.2:7400            reachable    12 ms ago · carries the log
            10.0.0.2:7400            SILENT       never heard
Witness     192.0.2.7:7401           reachable    1.3 ms · epoch 7, node 0
Log         committed 1234, applied 1234, durable 1235
Addresses   10.0.0.100/24       here               Active     eth0 vrid 51
Sessions    smtp 3, submission 0, imap 12
Queue       2 messages wait for others; 4 tenants
Last move   takeover 2026-07-27 12:00:00 UTC, to node 0, epoch 7, 231 ms
            why: no heartbeat on any path and master-down
Problems    [peer-lost] path 10.0.0.2:7400 is silent
"
    );
}

fn copy(stopped: Option<String>) -> CopyReport {
    CopyReport {
        sending: true,
        bytes_done: 400 << 20,
        bytes_total: 1_000 << 20,
        tenants_done: 2,
        tenants_total: 9,
        bytes_per_s: 50 << 20,
        eta_s: Some(12),
        stopped,
    }
}

#[test]
fn a_full_copy_shows_how_far_it_is() {
    let shown = |copy| render(&StatusReport { copy: Some(copy), ..report() }, Language::En, false);
    let line = "Full copy   to the peer: 40 %, 400/1000 MiB, 2/9 tenants, 50 MiB/s, 00:00:12\n";
    assert!(shown(copy(None)).contains(line), "{}", shown(copy(None)));
    let stopped = shown(copy(Some("no room".into())));
    assert!(stopped.contains("2/9 tenants: no room"), "{stopped}");
}

#[test]
fn a_merge_shows_how_far_it_is() {
    let mut merge = MergeStatus {
        branch: "1204-3".into(),
        leading: true,
        records_done: 40,
        records_total: 90,
        ..MergeStatus::default()
    };
    let shown = |merge: &MergeStatus, language| {
        render(&StatusReport { merge: Some(merge.clone()), ..report() }, language, false)
    };
    let english = shown(&merge, Language::En);
    let line = "Merge       from the peer: branch 1204-3, 40/90 records\n";
    assert!(english.contains(line), "{english}");
    (merge.records_done, merge.tenants_done, merge.tenants_total) = (90, 1, 4);
    (merge.tasks_done, merge.tasks_total) = (100, 250);
    let german = shown(&merge, Language::De);
    let line = "Zweig 1204-3, 1/4 Mandanten, 100/250 Schritte\n";
    assert!(german.contains(line), "{german}");
    (merge.leading, merge.stopped) = (false, Some("no room".into()));
    let stopped = shown(&merge, Language::En);
    assert!(stopped.contains("to the peer: branch 1204-3"), "{stopped}");
    assert!(stopped.contains(": no room"), "{stopped}");
}

#[test]
fn german_shows_the_same_facts() {
    let (en, de) = (render(&report(), Language::En, false), render(&report(), Language::De, false));
    assert_eq!(en.lines().count(), de.lines().count());
    assert!(de.contains("RPO 0: ja") && de.contains("vor 12 ms") && de.contains("Grund: "), "{de}");
    let numbers = |s: &str| -> String { s.chars().filter(char::is_ascii_digit).collect() };
    assert_eq!(numbers(&en), numbers(&de));
}

#[test]
fn the_worst_case_fits_the_screen() {
    let mut r = report();
    r.state = State::Recovering;
    r.rpo_zero = false;
    r.hostname = "x".repeat(200);
    r.waiting_for = Some("which branch holds? \x1b[2J ".repeat(20));
    r.lag = None;
    r.copy = Some(copy(Some("because ".repeat(40))));
    r.paths = vec![r.paths[0].clone(); 9];
    r.addresses = vec![r.addresses[0].clone(); 60];
    r.problems = vec![ProblemReport { what: "ü".repeat(200), runbook: "branched".into() }; 40];
    for language in [Language::En, Language::De] {
        let screen = render(&r, language, false);
        assert!(screen.lines().count() <= LINES_MAX, "{screen}");
        assert!(screen.lines().all(|l| l.chars().count() <= COLUMNS_MAX), "{screen}");
        assert!(!screen.contains('\x1b'));
        assert!(screen.contains("branched") || screen.contains('…'));
    }
}

#[test]
fn a_long_sentence_is_broken_between_words_and_the_next_keeps_its_line() {
    let mut r = report();
    let what = "the peer at 10.0.1.2 shows key 0123456789abcdef…, pinned is fedcba9876543210…: if \
                you replaced that appliance, run `understudy pair token` here and `understudy pair \
                join` there; if not, somebody else answers there";
    let problem = |what: &str| ProblemReport { what: what.into(), runbook: "pair-refused".into() };
    r.problems = vec![problem(what), problem("the path to 10.0.0.2:7400 is silent")];
    let screen = render(&r, Language::En, false);
    let all = screen.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        all.contains(&format!("Problems [pair-refused] {what} [pair-refused] the path")),
        "{screen}"
    );
    assert!(screen.lines().all(|l| l.chars().count() <= COLUMNS_MAX), "{screen}");
    let german = render(&r, Language::De, false);
    let all = german.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(all.contains("antwortet dort jemand anderes [pair-refused] der Weg zu"), "{german}");
    assert!(german.lines().count() <= LINES_MAX, "{german}");
}

#[test]
fn colour_only_when_asked() {
    assert!(!render(&report(), Language::En, false).contains('\x1b'));
    assert!(render(&report(), Language::En, true).contains("\x1b[32mPAIR"));
}

#[test]
fn json_keeps_every_fact() {
    let json = serde_json::to_string(&report()).unwrap();
    assert!(json.contains(r#""state":"PAIR""#) && json.contains(r#""holder":"here""#), "{json}");
    let back: StatusReport = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&back).unwrap(), json);
}

#[test]
fn languages_are_found_by_locale() {
    for (locale, language) in [
        ("de_DE.UTF-8", Language::De),
        ("de", Language::De),
        ("DE-at", Language::De),
        ("en_GB", Language::En),
        ("C.UTF-8", Language::En),
        ("", Language::En),
        ("dexter", Language::En),
    ] {
        assert_eq!(Language::of_locale(locale), language, "{locale}");
    }
}

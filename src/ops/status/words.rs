//! The screen's words in each language. A missing word does not compile.

use super::german::german;
use super::{Role, RollStep};
use serde::{Deserialize, Serialize};

/// A language of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    En,
    /// German.
    De,
}

impl Language {
    /// The language of a locale name such as `de_DE.UTF-8`; English for all that are not known.
    #[must_use]
    pub fn of_locale(locale: &str) -> Self {
        let language = locale.split(['_', '.', '-', '@']).next().unwrap_or_default();
        if language.eq_ignore_ascii_case("de") { Self::De } else { Self::En }
    }

    /// A sentence that came in English; what is not known stays as it is.
    #[must_use]
    pub fn sentence(self, english: &str) -> String {
        (self.words().sentence)(english)
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::En => Self::De,
            Self::De => Self::En,
        }
    }

    pub(super) const fn words(self) -> &'static Words {
        match self {
            Self::En => &EN,
            Self::De => &DE,
        }
    }
}

pub(super) struct Words {
    pub(super) node: &'static str,
    pub(super) up: &'static str,
    pub(super) epoch: &'static str,
    pub(super) rpo_yes: &'static str,
    pub(super) rpo_no: &'static str,
    pub(super) rpo_alone: &'static str,
    role_primary: &'static str,
    role_standby: &'static str,
    role_none: &'static str,
    pub(super) pair: &'static str,
    pub(super) insync: &'static str,
    pub(super) records_behind: &'static str,
    pub(super) lag_unknown: &'static str,
    pub(super) reachable: &'static str,
    pub(super) silent: &'static str,
    pub(super) never_heard: &'static str,
    pub(super) carries_log: &'static str,
    pub(super) witness: &'static str,
    pub(super) holds_nothing: &'static str,
    pub(super) holds_unknown: &'static str,
    ago: (&'static str, &'static str),
    pub(super) copy: &'static str,
    pub(super) merge: &'static str,
    pub(super) branch: &'static str,
    pub(super) records: &'static str,
    pub(super) tasks: &'static str,
    pub(super) update: &'static str,
    pub(super) stopped: &'static str,
    /// In the order of [`RollStep`].
    steps: [&'static str; 9],
    pub(super) to_peer: &'static str,
    pub(super) from_peer: &'static str,
    pub(super) log: &'static str,
    pub(super) committed: &'static str,
    pub(super) applied: &'static str,
    pub(super) durable: &'static str,
    pub(super) addresses: &'static str,
    pub(super) here: &'static str,
    pub(super) at: &'static str,
    pub(super) nobody: &'static str,
    pub(super) sessions: &'static str,
    pub(super) queue: &'static str,
    pub(super) messages_wait: &'static str,
    pub(super) tenants: &'static str,
    pub(super) last_move: &'static str,
    pub(super) takeover: &'static str,
    pub(super) handover: &'static str,
    pub(super) to_node: &'static str,
    pub(super) reason: &'static str,
    pub(super) waiting: &'static str,
    pub(super) problems: &'static str,
    pub(super) more: &'static str,
    pub(super) none: &'static str,
    /// A sentence that came in English.
    pub(super) sentence: fn(&str) -> String,
}

impl Words {
    pub(super) const fn role(&self, role: Role) -> &'static str {
        match role {
            Role::Primary => self.role_primary,
            Role::Standby => self.role_standby,
            Role::None => self.role_none,
        }
    }

    pub(super) const fn step(&self, step: RollStep) -> &'static str {
        let [
            waiting,
            shipping,
            writes_here,
            writes_there,
            restarts_here,
            restarts_there,
            rest @ ..,
        ] = self.steps;
        let [trial_here, trial_there, handover] = rest;
        match step {
            RollStep::Waiting => waiting,
            RollStep::Shipping => shipping,
            RollStep::InstallingHere => writes_here,
            RollStep::InstallingThere => writes_there,
            RollStep::RestartingHere => restarts_here,
            RollStep::RestartingThere => restarts_there,
            RollStep::TryingHere => trial_here,
            RollStep::TryingThere => trial_there,
            RollStep::Handover => handover,
        }
    }

    pub(super) fn ago(&self, ms: u64) -> String {
        let (before, after) = self.ago;
        format!("{before}{ms} ms{after}")
    }
}

static EN: Words = Words {
    node: "node",
    up: "up",
    epoch: "epoch",
    rpo_yes: "RPO 0: yes, losing one appliance loses nothing",
    rpo_no: "RPO 0: NO, a second copy is missing",
    rpo_alone: "RPO 0: no, there is one appliance",
    role_primary: "primary",
    role_standby: "standby",
    role_none: "no role yet",
    pair: "Pair",
    insync: "in sync: node",
    records_behind: "records behind",
    lag_unknown: "how far behind is not known",
    reachable: "reachable",
    silent: "SILENT",
    never_heard: "never heard",
    carries_log: "· carries the log",
    witness: "Witness",
    holds_nothing: "holds nothing",
    holds_unknown: "what it holds is not known",
    ago: ("", " ago"),
    copy: "Full copy",
    merge: "Merge",
    branch: "branch",
    records: "records",
    tasks: "tasks",
    update: "Update",
    stopped: "STOPPED, see `understudy update status`",
    steps: [
        "waits until the two are a pair",
        "goes to the peer",
        "is written here",
        "is written on the peer",
        "this appliance restarts",
        "the peer restarts",
        "is tried here",
        "is tried on the peer",
        "handover",
    ],
    to_peer: "to the peer:",
    from_peer: "from the peer:",
    log: "Log",
    committed: "committed",
    applied: "applied",
    durable: "durable",
    addresses: "Addresses",
    here: "here",
    at: "at",
    nobody: "NOBODY",
    sessions: "Sessions",
    queue: "Queue",
    messages_wait: "messages wait for others",
    tenants: "tenants",
    last_move: "Last move",
    takeover: "takeover",
    handover: "handover",
    to_node: "to node",
    reason: "why",
    waiting: "Waiting for",
    problems: "Problems",
    more: "and more:",
    none: "none",
    sentence: str::to_owned,
};

static DE: Words = Words {
    node: "Knoten",
    up: "läuft seit",
    epoch: "Epoche",
    rpo_yes: "RPO 0: ja, ein Gerät darf ausfallen",
    rpo_no: "RPO 0: NEIN, die zweite Kopie fehlt",
    rpo_alone: "RPO 0: nein, es gibt nur ein Gerät",
    role_primary: "Primary",
    role_standby: "Standby",
    role_none: "noch keine Rolle",
    pair: "Paar",
    insync: "gleichauf: Knoten",
    records_behind: "Sätze zurück",
    lag_unknown: "Rückstand unbekannt",
    reachable: "erreichbar",
    silent: "STUMM",
    never_heard: "nie gehört",
    carries_log: "· trägt das Log",
    witness: "Zeuge",
    holds_nothing: "hält nichts",
    holds_unknown: "was er hält, ist unbekannt",
    ago: ("vor ", ""),
    copy: "Vollkopie",
    merge: "Merge",
    branch: "Zweig",
    records: "Sätze",
    tasks: "Schritte",
    update: "Update",
    stopped: "ANGEHALTEN, siehe `understudy update status`",
    steps: [
        "wartet, bis beide ein Paar sind",
        "geht zum Peer",
        "wird hier geschrieben",
        "wird auf dem Peer geschrieben",
        "dieses Gerät startet neu",
        "der Peer startet neu",
        "wird hier erprobt",
        "wird auf dem Peer erprobt",
        "Handover",
    ],
    to_peer: "zum Peer:",
    from_peer: "vom Peer:",
    log: "Log",
    committed: "bestätigt",
    applied: "sichtbar",
    durable: "auf Platte",
    addresses: "Adressen",
    here: "hier",
    at: "bei",
    nobody: "NIEMAND",
    sessions: "Sitzungen",
    queue: "Ausgang",
    messages_wait: "Nachrichten warten",
    tenants: "Mandanten",
    last_move: "Wechsel",
    takeover: "Takeover",
    handover: "Handover",
    to_node: "zu Knoten",
    reason: "Grund",
    waiting: "Wartet auf",
    problems: "Probleme",
    more: "und weitere:",
    none: "keine",
    sentence: german,
};

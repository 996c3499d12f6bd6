//! What `understudy status` shows: one screen that answers the questions of three in the morning.
//!
//! Does it serve, is RPO 0 now, who is primary, how far is the peer behind, who holds which address,
//! what moved last and why, what waits for an operator, what is wrong and which runbook helps.
//!
//! Invariants: [`render`] fits [`LINES_MAX`] lines of [`COLUMNS_MAX`] columns whatever it is given
//! and shows the same facts in every language. Deliberately absent: finding the facts out.

mod german;
mod words;

use serde::{Deserialize, Serialize};
use std::fmt;
use understudy_proto::time::UnixMs;

use crate::base::clock;
use crate::pair::MergeStatus;
pub use words::Language;
use words::Words;

/// Lines that the screen has.
pub const LINES_MAX: usize = 24;
/// Columns that the screen has.
pub const COLUMNS_MAX: usize = 80;
/// Columns of a line's label, with the space after it.
const LABEL_COLUMNS: usize = 12;
/// Lines of what waits for an operator.
const QUESTION_LINES_MAX: usize = 2;
/// Floating addresses shown; the rest is counted.
const ADDRESSES_SHOWN: usize = 4;
/// Paths to the peer shown; as many as there may be.
const PATHS_SHOWN: usize = 4;
/// Problems shown; the rest is counted.
const PROBLEMS_SHOWN: usize = 3;

/// Everything about one appliance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusReport {
    /// The name that it greets with.
    pub hostname: String,
    /// Version of the running program.
    pub version: String,
    /// When the report was made.
    pub at: UnixMs,
    /// Seconds since the process started.
    pub uptime_s: u64,
    /// Where the pair stands.
    pub state: State,
    /// Whether losing one appliance now loses nothing that was acknowledged.
    pub rpo_zero: bool,
    /// This node's data role.
    pub role: Role,
    /// This node: 0 or 1; `None` when it stands alone.
    pub node: Option<u8>,
    /// The reign that this node knows.
    pub epoch: u64,
    /// Nodes that every acknowledged change is durable on.
    pub insync: Vec<u8>,
    /// Position committed: durable on every insync node.
    pub committed: u64,
    /// Position applied: visible to readers.
    pub applied: u64,
    /// Position durable on this node.
    pub durable: u64,
    /// What the standby still lacks; `None` when that is not known.
    pub lag: Option<Lag>,
    /// Paths to the peer, in the order of the configuration.
    pub paths: Vec<PathReport>,
    /// A full copy of one node's data for the other that is under way.
    pub copy: Option<CopyReport>,
    /// A branch that is being merged.
    #[serde(default)]
    pub merge: Option<MergeStatus>,
    /// An update that is under way, or was stopped.
    #[serde(default)]
    pub update: Option<RollReport>,
    /// The third vote; `None` where none is configured.
    pub witness: Option<WitnessReport>,
    /// Floating addresses.
    pub addresses: Vec<AddressReport>,
    /// Messages that wait for delivery to others, as of some seconds ago.
    pub queue_depth: u64,
    /// Sessions open now.
    pub sessions: Sessions,
    /// Number of tenants.
    pub tenants: u64,
    /// The last move of the primary role that this node knows of.
    pub last_move: Option<Move>,
    /// What waits for an operator's word: a question, and the command that answers it.
    pub waiting_for: Option<String>,
    /// What is wrong, worst first.
    pub problems: Vec<ProblemReport>,
}

/// Where the pair stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Everything acknowledged is on both nodes.
    Pair,
    /// The peer is coming back and does not count yet.
    Joining,
    /// This node goes on alone; the peer is missing.
    Solo,
    /// Just booted: who may serve is being found out.
    Recovering,
    /// Both nodes went on alone; what they did waits to be merged.
    Branched,
    /// An appliance without a peer, as configured.
    Standalone,
}

/// Who may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Serves and writes.
    Primary,
    /// Keeps a copy, ready to take over.
    Standby,
    /// Not decided.
    None,
}

/// How far the standby is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lag {
    /// Records that it has not yet acknowledged.
    pub records: u64,
}

/// How far a full copy is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyReport {
    /// This node gives it; else it receives it.
    pub sending: bool,
    /// Bytes done.
    pub bytes_done: u64,
    /// Bytes in all, about.
    pub bytes_total: u64,
    /// Tenants that are complete, the system among them.
    pub tenants_done: u32,
    /// Tenants in all.
    pub tenants_total: u32,
    /// Bytes a second.
    pub bytes_per_s: u64,
    /// Seconds that are left, about.
    pub eta_s: Option<u64>,
    /// Why it stands still.
    pub stopped: Option<String>,
}

/// How far an update of the appliance, or of the pair, is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollReport {
    /// Which one.
    pub id: String,
    /// The version that it brings.
    pub version: String,
    /// Whether only this appliance is updated.
    pub only_here: bool,
    /// When it began, by this machine's clock.
    pub began: UnixMs,
    /// Whether it goes on.
    pub state: RollState,
    /// What it is at, or was when it was stopped.
    pub step: RollStep,
    /// Bytes done of this step, and in all; where it counts bytes.
    pub bytes: Option<(u64, u64)>,
    /// Why it was stopped, in a sentence.
    pub why: Option<String>,
    /// What to do about that.
    #[serde(rename = "do")]
    pub advice: Option<String>,
    /// The version that the peer runs; `None` when it has not said.
    pub peer_running: Option<String>,
}

/// Whether an update goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RollState {
    /// It does.
    UnderWay,
    /// It is through.
    Done,
    /// It is not through, and goes no further.
    Stopped,
}

/// What an update is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RollStep {
    /// Waits until the two appliances are a pair.
    Waiting,
    /// The file goes to the peer.
    Shipping,
    /// This appliance writes its other slot.
    InstallingHere,
    /// The peer does.
    InstallingThere,
    /// This appliance restarts.
    RestartingHere,
    /// The peer does.
    RestartingThere,
    /// This appliance is on trial.
    TryingHere,
    /// The peer is.
    TryingThere,
    /// The primary role moves.
    Handover,
}

/// One path to the peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathReport {
    /// The peer's address on it.
    pub peer: String,
    /// Whether its heartbeats arrive.
    pub reachable: bool,
    /// Age of the last heartbeat; `None` when there was none.
    pub heard_ms_ago: Option<u64>,
    /// Whether the log is shipped over it.
    pub session: bool,
}

/// One floating address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressReport {
    /// The address with its prefix length.
    pub address: String,
    /// Network interface.
    pub interface: String,
    /// Virtual router id.
    pub vrid: u8,
    /// This node's VRRP state: RFC 9568 6.4.
    pub vrrp: VrrpState,
    /// Who holds it.
    pub holder: Holder,
}

/// RFC 9568 6.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VrrpState {
    /// Not taking part.
    Initialize,
    /// Listening to the one who is active.
    Backup,
    /// Answers for the address.
    Active,
}

/// Who holds an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holder {
    /// This node.
    Here,
    /// Whoever sends adverts from this address.
    Other(String),
    /// Nobody that this node hears.
    Nobody,
}

/// The witness, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessReport {
    /// Where it is said to be.
    pub address: String,
    /// Whether it answers.
    pub reachable: bool,
    /// Microseconds from the last question to its answer.
    pub round_trip_us: Option<u64>,
    /// The reign that it holds; 0 for a witness that holds nothing, `None` where that is not known.
    pub epoch: Option<u64>,
    /// The node that it says holds that reign.
    pub holder: Option<u8>,
}

/// Sessions open now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// Port 25.
    pub smtp: u32,
    /// Submission.
    pub submission: u32,
    /// IMAP.
    pub imap: u32,
}

/// A move of the primary role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// When.
    pub at: UnixMs,
    /// `takeover` (unplanned) or `handover` (planned).
    pub kind: MoveKind,
    /// The node that is primary since.
    pub to: u8,
    /// The reign that began.
    pub epoch: u64,
    /// How long it took from suspicion to serving; `None` when this node cannot know.
    pub took_ms: Option<u64>,
    /// Why, in a sentence.
    pub reason: String,
    /// The user of the system whose word it was, if it was one's here.
    #[serde(default)]
    pub asked_by: Option<u32>,
}

/// Planned or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MoveKind {
    /// Unplanned.
    Takeover,
    /// Planned.
    Handover,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemReport {
    /// What, in a sentence.
    pub what: String,
    /// `docs/runbook/<name>.md`.
    pub runbook: String,
}

impl RollStep {
    /// In words that follow the version.
    #[must_use]
    pub const fn words(self, language: Language) -> &'static str {
        language.words().step(self)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pair => "PAIR",
            Self::Joining => "JOINING",
            Self::Solo => "SOLO",
            Self::Recovering => "RECOVERING",
            Self::Branched => "BRANCHED",
            Self::Standalone => "STANDALONE",
        })
    }
}

/// The screen, with a line feed after each line. `colour` adds terminal sequences.
#[must_use]
pub fn render(report: &StatusReport, language: Language, colour: bool) -> String {
    let words = language.words();
    let mut screen = Screen { lines: Vec::new(), colour };
    head(&mut screen, report, words);
    peer(&mut screen, report, words);
    addresses(&mut screen, report, words);
    traffic(&mut screen, report, words);
    last_move(&mut screen, report, words);
    trouble(&mut screen, report, words);
    screen.finish()
}

fn head(screen: &mut Screen, r: &StatusReport, w: &Words) {
    let node = r.node.map(|n| format!(" · {} {n}", w.node)).unwrap_or_default();
    let uptime = duration(r.uptime_s);
    screen.plain(format!("understudy {} · {}{node} · {} {uptime}", r.version, r.hostname, w.up));
    let healthy = r.rpo_zero || r.state == State::Standalone;
    let paint = if healthy { Paint::Good } else { Paint::Bad };
    let rpo = match (r.rpo_zero, r.state) {
        (true, _) => w.rpo_yes,
        (false, State::Standalone) => w.rpo_alone,
        (false, _) => w.rpo_no,
    };
    screen
        .painted(paint, format!("{}  {}  {} {}  {rpo}", r.state, w.role(r.role), w.epoch, r.epoch));
}

fn peer(screen: &mut Screen, r: &StatusReport, w: &Words) {
    if r.node.is_some() {
        let insync: Vec<String> = r.insync.iter().map(ToString::to_string).collect();
        let lag = match r.lag {
            Some(lag) => format!("{} {}", lag.records, w.records_behind),
            None => w.lag_unknown.to_owned(),
        };
        screen.row(w.pair, format!("{} {}; {lag}", w.insync, insync.join("+")));
    }
    for path in r.paths.iter().take(PATHS_SHOWN) {
        let state = if path.reachable { w.reachable } else { w.silent };
        let heard = match path.heard_ms_ago {
            Some(ms) => w.ago(ms),
            None => w.never_heard.to_owned(),
        };
        let session = if path.session { w.carries_log } else { "" };
        let text = format!("{:<24} {state:<12} {heard} {session}", path.peer);
        screen.painted_row(Paint::of(path.reachable), "", text);
    }
    if let Some(copy) = &r.copy {
        screen.row(w.copy, copy_text(copy, w));
    }
    if let Some(merge) = &r.merge {
        screen.row(w.merge, merge_text(merge, w));
    }
    if let Some(update) = r.update.as_ref().filter(|u| u.state != RollState::Done) {
        screen.painted_row(
            Paint::of(update.state == RollState::UnderWay),
            w.update,
            update_text(update, w),
        );
    }
    if let Some(witness) = &r.witness {
        let state = if witness.reachable { w.reachable } else { w.silent };
        let trip = witness.round_trip_us.filter(|_| witness.reachable);
        let trip = trip.map(|us| format!(" {}.{} ms ·", us / 1_000, us % 1_000 / 100));
        let holds = match (witness.epoch, witness.holder) {
            (None, _) => w.holds_unknown.to_owned(),
            (Some(epoch), Some(node)) => format!("{} {epoch}, {} {node}", w.epoch, w.node),
            (Some(_), None) => w.holds_nothing.to_owned(),
        };
        let text =
            format!("{:<24} {state:<12}{} {holds}", witness.address, trip.unwrap_or_default());
        screen.painted_row(Paint::of(witness.reachable), w.witness, text);
    }
    screen.row(
        w.log,
        format!(
            "{} {}, {} {}, {} {}",
            w.committed, r.committed, w.applied, r.applied, w.durable, r.durable
        ),
    );
}

fn copy_text(c: &CopyReport, w: &Words) -> String {
    let percent = c.bytes_done.saturating_mul(100).checked_div(c.bytes_total).unwrap_or(0).min(100);
    let (done, total) = (c.bytes_done >> 20, c.bytes_total >> 20);
    let head = format!(
        "{} {percent} %, {done}/{total} MiB, {}/{} {}",
        if c.sending { w.to_peer } else { w.from_peer },
        c.tenants_done,
        c.tenants_total,
        w.tenants
    );
    match (&c.stopped, c.eta_s) {
        (Some(why), _) => format!("{head}: {}", (w.sentence)(why)),
        (None, Some(left)) => format!("{head}, {} MiB/s, {}", c.bytes_per_s >> 20, duration(left)),
        (None, None) => head,
    }
}

fn update_text(u: &RollReport, w: &Words) -> String {
    let step = w.step(u.step);
    match (&u.state, &u.bytes) {
        (RollState::Stopped, _) => format!("{} {}: {step}", u.version, w.stopped),
        (_, Some((done, total))) => {
            let (done, total) = (done >> 20, total >> 20);
            format!("{}: {step}, {done}/{total} MiB", u.version)
        }
        (_, None) => format!("{}: {step}", u.version),
    }
}

fn merge_text(m: &MergeStatus, w: &Words) -> String {
    let side = if m.leading { w.from_peer } else { w.to_peer };
    let mut text = format!("{side} {} {}, ", w.branch, m.branch);
    text += &if m.tenants_total == 0 {
        format!("{}/{} {}", m.records_done, m.records_total, w.records)
    } else {
        let (tenants, tasks) = (w.tenants, w.tasks);
        let (done, total) = (m.tasks_done, m.tasks_total);
        format!("{}/{} {tenants}, {done}/{total} {tasks}", m.tenants_done, m.tenants_total)
    };
    if let Some(why) = &m.stopped {
        text += &format!(": {why}");
    }
    text
}

fn addresses(screen: &mut Screen, r: &StatusReport, w: &Words) {
    if r.addresses.is_empty() {
        screen.row(w.addresses, w.none.to_owned());
    }
    for (i, a) in r.addresses.iter().take(ADDRESSES_SHOWN).enumerate() {
        let label = if i == 0 { w.addresses } else { "" };
        let vrrp = match a.vrrp {
            VrrpState::Initialize => "Initialize",
            VrrpState::Backup => "Backup",
            VrrpState::Active => "Active",
        };
        let holder = match &a.holder {
            Holder::Here => w.here.to_owned(),
            Holder::Other(who) => format!("{} {who}", w.at),
            Holder::Nobody => w.nobody.to_owned(),
        };
        let text =
            format!("{:<19} {holder:<18} {vrrp:<10} {} vrid {}", a.address, a.interface, a.vrid);
        screen.painted_row(Paint::of(a.holder != Holder::Nobody), label, text);
    }
    screen.more(r.addresses.len(), ADDRESSES_SHOWN, w);
}

fn traffic(screen: &mut Screen, r: &StatusReport, w: &Words) {
    let s = r.sessions;
    screen
        .row(w.sessions, format!("smtp {}, submission {}, imap {}", s.smtp, s.submission, s.imap));
    screen.row(
        w.queue,
        format!("{} {}; {} {}", r.queue_depth, w.messages_wait, r.tenants, w.tenants),
    );
}

fn last_move(screen: &mut Screen, r: &StatusReport, w: &Words) {
    let Some(m) = &r.last_move else {
        screen.row(w.last_move, w.none.to_owned());
        return;
    };
    let at: String = clock::rfc3339(m.at).chars().take(19).collect::<String>().replace('T', " ");
    let kind = match m.kind {
        MoveKind::Takeover => w.takeover,
        MoveKind::Handover => w.handover,
    };
    let took = m.took_ms.map(|ms| format!(", {ms} ms")).unwrap_or_default();
    let text = format!("{kind} {at} UTC, {} {}, {} {}{took}", w.to_node, m.to, w.epoch, m.epoch);
    screen.row(w.last_move, text);
    let by = m.asked_by.map(|uid| format!(" (uid {uid})")).unwrap_or_default();
    screen.row("", format!("{}: {}{by}", w.reason, (w.sentence)(&m.reason)));
}

fn trouble(screen: &mut Screen, r: &StatusReport, w: &Words) {
    if let Some(question) = &r.waiting_for {
        screen.sentence(Paint::Bad, w.waiting, &(w.sentence)(question), QUESTION_LINES_MAX);
    }
    if r.problems.is_empty() {
        screen.painted_row(Paint::Good, w.problems, w.none.to_owned());
    }
    for (i, p) in r.problems.iter().take(PROBLEMS_SHOWN).enumerate() {
        let label = if i == 0 { w.problems } else { "" };
        let text = format!("[{}] {}", p.runbook, (w.sentence)(&p.what));
        // Each of those after it, and the count of those not shown, gets a line at least.
        let after = r.problems.len().min(PROBLEMS_SHOWN + 1).saturating_sub(i + 1);
        let room = LINES_MAX.saturating_sub(screen.lines.len()).saturating_sub(after);
        screen.sentence(Paint::Bad, label, &text, room.max(1));
    }
    screen.more(r.problems.len(), PROBLEMS_SHOWN, w);
}

/// What a line says at a glance.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Paint {
    Plain,
    Good,
    Bad,
}

impl Paint {
    const fn of(good: bool) -> Self {
        if good { Self::Plain } else { Self::Bad }
    }
}

struct Screen {
    lines: Vec<String>,
    colour: bool,
}

impl Screen {
    fn plain(&mut self, text: String) {
        self.painted(Paint::Plain, text);
    }

    fn row(&mut self, label: &str, text: String) {
        self.painted_row(Paint::Plain, label, text);
    }

    fn painted_row(&mut self, paint: Paint, label: &str, text: String) {
        self.painted(paint, format!("{label:<width$} {text}", width = LABEL_COLUMNS - 1));
    }

    /// Adds a sentence, broken between words into at most `lines` lines.
    fn sentence(&mut self, paint: Paint, label: &str, text: &str, lines: usize) {
        let width = COLUMNS_MAX.saturating_sub(LABEL_COLUMNS);
        let mut label = label;
        let mut rest = text;
        for left in (0..lines).rev() {
            let fits = rest.char_indices().nth(width).map(|(at, _)| at);
            let cut = fits.filter(|_| left > 0).and_then(|at| {
                rest.get(..=at).and_then(|head| head.rfind(' ')).filter(|at| *at > 0)
            });
            let (line, after) = cut.and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, ""));
            self.painted_row(paint, label, line.to_owned());
            (label, rest) = ("", after.trim_start());
            if rest.is_empty() {
                return;
            }
        }
    }

    fn more(&mut self, all: usize, shown: usize, w: &Words) {
        if let Some(more) = all.checked_sub(shown).filter(|m| *m > 0) {
            self.row("", format!("… {} {more}", w.more));
        }
    }

    /// Adds a line, cut to the screen. Texts may come from a peer: no control characters pass.
    fn painted(&mut self, paint: Paint, text: String) {
        let text = text.trim_end();
        let mut line: String = text.chars().filter(|c| !c.is_control()).take(COLUMNS_MAX).collect();
        if text.chars().count() > COLUMNS_MAX {
            line.pop();
            line.push('…');
        }
        self.lines.push(match (self.colour, paint) {
            (false, _) | (_, Paint::Plain) => line,
            (true, Paint::Good) => format!("\x1b[32m{line}\x1b[0m"),
            (true, Paint::Bad) => format!("\x1b[31m{line}\x1b[0m"),
        });
    }

    fn finish(self) -> String {
        let mut text = String::new();
        for line in self.lines.iter().take(LINES_MAX) {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

/// `3 d 04:12:55`.
fn duration(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3_600, rest / 60 % 60, rest % 60);
    if days > 0 { format!("{days} d {clock}") } else { clock }
}

#[cfg(test)]
mod tests;

//! Finds the facts out: files under `/run`, the mail program's socket, network, disk, clock.
//!
//! Invariants: whatever is missing or unreadable is a fact that is not known, never an end. The mail
//! program is given [`ANSWER_WAIT`] to answer. Deliberately absent: changing anything.

use super::facts::{Clock, DiskUse, Facts, Interface, Program};
use crate::appliance::report::{self, BootReport, Trouble};
use crate::appliance::update::driver::{SETTLED, Settled};
use crate::base::clock;
use crate::config;
use crate::ops::control::{self, SOCKET_NAME};
use crate::ops::request::{Answer, Reply, Request};
use crate::ops::status::Language;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::statvfs::{FsFlags, statvfs};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use understudy_proto::time::UnixMs;

/// How long the mail program may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(3);
/// Longest file that is read, in bytes.
const FILE_LEN_MAX: u64 = 1024 * 1024;
/// Most interfaces and addresses of each that are kept.
const INTERFACES_MAX: usize = 64;
const ADDRESSES_MAX: usize = 32;
/// Most arrays that are looked at; we make one.
const ARRAYS_MAX: usize = 16;

/// Where the facts lie.
#[derive(Clone, Debug)]
pub struct Places {
    /// What the start came to.
    pub boot: PathBuf,
    /// What became of the slot since.
    pub settled: PathBuf,
    /// The mail program's configuration.
    pub config: PathBuf,
    /// Where the data disk is mounted.
    pub data: PathBuf,
    /// Touched by timesyncd whenever a server has answered.
    pub clock: PathBuf,
    /// The kernel's interfaces.
    pub net: PathBuf,
    /// The kernel's disks and arrays.
    pub block: PathBuf,
    /// The machine's name.
    pub name: PathBuf,
}

impl Places {
    /// Where nothing is.
    #[cfg(test)]
    pub(super) fn none(nowhere: &Path) -> Self {
        let nowhere = nowhere.to_owned();
        Self {
            boot: nowhere.clone(),
            settled: nowhere.clone(),
            config: nowhere.clone(),
            data: nowhere.clone(),
            clock: nowhere.clone(),
            net: nowhere.clone(),
            block: nowhere.clone(),
            name: nowhere,
        }
    }

    /// Those of the image.
    #[must_use]
    pub fn of_image(config: &Path) -> Self {
        Self {
            boot: report::PATH.into(),
            settled: SETTLED.into(),
            config: config.to_owned(),
            data: "/data".into(),
            clock: "/run/systemd/timesync/synchronized".into(),
            net: "/sys/class/net".into(),
            block: "/sys/block".into(),
            name: "/proc/sys/kernel/hostname".into(),
        }
    }
}

/// Everything that can be found out now; how long the mail program is silent is the caller's to know.
#[must_use]
pub fn gather(places: &Places) -> Facts {
    let now = clock::now_ms();
    let config = config::load(&places.config).ok();
    let program = config.as_ref().map_or(Program::Silent, |c| ask(&c.data_dir.join(SOCKET_NAME)));
    let service = config.as_ref().map_or(Vec::new(), |c| {
        c.listen.addresses.iter().filter(|a| !a.is_unspecified()).map(ToString::to_string).collect()
    });
    let management = config.as_ref().map(|c| c.management.address.ip());
    let management = management.filter(|a| !a.is_unspecified() && !a.is_loopback());
    let hostname = match &config {
        Some(config) => config.hostname.clone(),
        None => read(&places.name).unwrap_or_default().trim().to_owned(),
    };
    Facts {
        now,
        up_s: Duration::from_micros(clock::mono().0).as_secs(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname,
        boot: boot(places),
        configured: config.is_some(),
        program,
        silent_s: 0,
        interfaces: interfaces(&places.net),
        management: management.map(|a| a.to_string()),
        service,
        disk: disk(&places.data),
        clock: clock_of(&places.clock, now),
    }
}

/// What is wrong with this machine now, besides its mail program, and the language of its site; `None`
/// where it is no appliance of ours.
#[must_use]
pub fn troubles(places: &Places) -> Option<(Language, Vec<Trouble>)> {
    let mut boot = boot(places)?;
    let up_s = Duration::from_micros(clock::mono().0).as_secs();
    let lost = disk(&places.data).is_some_and(|disk| disk.lost);
    boot.troubles.extend(lost.then_some(Trouble::DataLost));
    boot.troubles.extend(clock_of(&places.clock, clock::now_ms()).trouble(up_s));
    Some((boot.language, boot.troubles))
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(FILE_LEN_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

/// What the start came to, with what has become since of the slot, the mirror and the clock.
fn boot(places: &Places) -> Option<BootReport> {
    let boot: BootReport = serde_json::from_str(&read(&places.boot)?).ok()?;
    let settled = read(&places.settled);
    let settled = settled.and_then(|text| serde_json::from_str::<Settled>(&text).ok());
    let mut boot = match settled {
        Some(settled) => settled.join(boot),
        None => boot,
    };
    for (array, state) in mirrors(&places.block) {
        let at_start = |t: &Trouble| matches!(t, Trouble::MirrorDegraded(name) if *name == array);
        boot.troubles.retain(|t| !at_start(t));
        boot.troubles.extend(match state {
            Mirror::Whole => None,
            Mirror::Degraded => Some(Trouble::MirrorDegraded(array)),
            Mirror::Filling => Some(Trouble::MirrorFilling(array)),
        });
    }
    // Whatever it was, a time server has said since what it is.
    if places.clock.exists() {
        boot.troubles.retain(|t| !matches!(t, Trouble::ClockFar { .. }));
    }
    Some(boot)
}

/// How many of its disks a mirror has.
enum Mirror {
    Whole,
    Degraded,
    /// One of them is not complete yet.
    Filling,
}

/// The arrays that run, by name; one that does not say how it is, is left out.
fn mirrors(block: &Path) -> BTreeMap<String, Mirror> {
    let said = |file: PathBuf| read(&file).map(|text| text.trim().to_owned());
    let state = |name: String| {
        let md = block.join(&name).join("md");
        let state = said(md.join("array_state"))?;
        if matches!(state.as_str(), "clear" | "inactive") {
            return None;
        }
        let missing: u32 = said(md.join("degraded"))?.parse().ok()?;
        let filling = || said(md.join("sync_action")).as_deref() == Some("recover");
        Some(match missing {
            0 => (name, Mirror::Whole),
            _ if filling() => (name, Mirror::Filling),
            _ => (name, Mirror::Degraded),
        })
    };
    let entries = std::fs::read_dir(block).into_iter().flatten().flatten();
    let names = entries.filter_map(|e| e.file_name().into_string().ok());
    names.filter(|name| name.starts_with("md")).take(ARRAYS_MAX).filter_map(state).collect()
}

fn ask(socket: &Path) -> Program {
    match control::ask(socket, &Request::Status, ANSWER_WAIT) {
        Ok(Reply::Ok(Answer::Status(report))) => Program::Answers(report),
        Ok(_) => Program::Stuck,
        Err(e) => match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Program::Silent,
            _ => Program::Stuck,
        },
    }
}

fn interfaces(net: &Path) -> Vec<Interface> {
    let mut found: BTreeMap<String, Interface> = BTreeMap::new();
    for address in getifaddrs().into_iter().flatten() {
        if address.flags.contains(InterfaceFlags::IFF_LOOPBACK) {
            continue;
        }
        let name = address.interface_name.clone();
        if found.len() >= INTERFACES_MAX && !found.contains_key(&name) {
            continue;
        }
        let entry = found.entry(name).or_insert_with_key(|name| Interface {
            name: name.clone(),
            on: address.flags.contains(InterfaceFlags::IFF_UP),
            carrier: address.flags.contains(InterfaceFlags::IFF_RUNNING),
            speed: speed(&net.join(name).join("speed")),
            addresses: Vec::new(),
        });
        if let Some(text) = with_prefix(&address).filter(|_| entry.addresses.len() < ADDRESSES_MAX)
        {
            entry.addresses.push(text);
        }
    }
    found.into_values().collect()
}

/// -1 and 0 are how drivers say that they do not know.
fn speed(file: &Path) -> Option<u32> {
    read(file)?.trim().parse().ok().filter(|s| *s > 0)
}

/// `10.0.0.2/24`; `None` for what is no address of use (link-local IPv6).
fn with_prefix(address: &nix::ifaddrs::InterfaceAddress) -> Option<String> {
    let ip = address.address.as_ref().and_then(ip_of)?;
    let mask = address.netmask.as_ref().and_then(ip_of);
    let prefix = match mask {
        Some(IpAddr::V4(mask)) => mask.to_bits().leading_ones(),
        Some(IpAddr::V6(mask)) => mask.to_bits().leading_ones(),
        None => return Some(ip.to_string()),
    };
    let local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    (!local).then(|| format!("{ip}/{prefix}"))
}

fn ip_of(address: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(IpAddr::V4(v4.ip()));
    }
    address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()))
}

/// Room on the disk that is mounted at `path`; `None` where nothing is mounted there.
fn disk(path: &Path) -> Option<DiskUse> {
    let (here, above) = (std::fs::metadata(path).ok()?, std::fs::metadata(path.parent()?).ok()?);
    if here.dev() == above.dev() {
        return None;
    }
    let s = statvfs(path).ok()?;
    let block = s.fragment_size();
    Some(DiskUse {
        total: s.blocks().saturating_mul(block),
        free: s.blocks_available().saturating_mul(block),
        // It is mounted with errors=remount-ro, and never read-only by us.
        lost: s.flags().contains(FsFlags::ST_RDONLY),
    })
}

fn clock_of(file: &Path, now: UnixMs) -> Clock {
    let Ok(touched) = std::fs::metadata(file) else { return Clock::Unset };
    let touched = u64::try_from(touched.mtime()).unwrap_or(0);
    Clock::Set { ago_s: (now.0 / 1_000).saturating_sub(touched) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn an_empty_machine_gives_facts_too() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::none(&dir.path().join("nowhere"));
        let facts = gather(&places);
        assert!(matches!(facts.program, Program::Silent));
        assert!(facts.boot.is_none() && facts.disk.is_none() && !facts.configured);
        assert_eq!(facts.clock, Clock::Unset);
        assert!(facts.up_s > 0 && facts.now.0 > 0);
    }

    fn written(places: &Places, troubles: Vec<Trouble>) -> BootReport {
        use crate::appliance::report::{DataOutcome, SiteOutcome, Slot};
        let report = BootReport {
            at: UnixMs(1),
            language: Language::De,
            slot: Some(Slot::B),
            trial: true,
            site: SiteOutcome::Applied,
            data: DataOutcome::Absent,
            troubles,
        };
        std::fs::write(&places.boot, serde_json::to_vec(&report).unwrap()).unwrap();
        report
    }

    fn in_folder(dir: &Path) -> Places {
        let (boot, settled) = (dir.join("boot.json"), dir.join("settle.json"));
        let (block, clock) = (dir.join("block"), dir.join("synchronized"));
        Places { boot, settled, block, clock, ..Places::none(&dir.join("nowhere")) }
    }

    #[test]
    fn a_slot_that_was_settled_is_on_trial_no_more() {
        use crate::appliance::report::Slot;
        let dir = tempfile::tempdir().unwrap();
        let places = in_folder(dir.path());
        assert_eq!(troubles(&places), None);
        let start = written(&places, vec![Trouble::SiteMissing]);
        assert_eq!(boot(&places), Some(start.clone()));
        let dead = Trouble::SlotDead(Slot::A);
        let now = Settled { trial: false, troubles: vec![Trouble::SiteMissing, dead.clone()] };
        std::fs::write(&places.settled, serde_json::to_vec(&now).unwrap()).unwrap();
        let all = vec![Trouble::SiteMissing, dead];
        assert_eq!(boot(&places), Some(BootReport { trial: false, troubles: all, ..start }));
        let (language, found) = troubles(&places).unwrap();
        assert!(language == Language::De && found.contains(&Trouble::SlotDead(Slot::A)));
        std::fs::write(&places.boot, "{}").unwrap();
        assert_eq!(boot(&places), None);
    }

    /// A mirror as the kernel shows it.
    fn mirror(places: &Places, files: &[(&str, &str)]) {
        let md = places.block.join("md127/md");
        std::fs::create_dir_all(&md).unwrap();
        std::fs::create_dir_all(places.block.join("sda")).unwrap();
        for (name, text) in files {
            std::fs::write(md.join(name), format!("{text}\n")).unwrap();
        }
    }

    #[test]
    fn a_mirror_is_what_the_kernel_says_now() {
        let dir = tempfile::tempdir().unwrap();
        let places = in_folder(dir.path());
        let (degraded, filling) =
            (Trouble::MirrorDegraded("md127".into()), Trouble::MirrorFilling("md127".into()));
        let now = || boot(&places).unwrap().troubles;
        // Unknown: what the start found.
        written(&places, vec![degraded.clone(), Trouble::SiteMissing]);
        assert_eq!(now(), [degraded.clone(), Trouble::SiteMissing]);
        mirror(&places, &[("array_state", "inactive"), ("degraded", "0")]);
        assert_eq!(now(), [degraded.clone(), Trouble::SiteMissing]);
        mirror(&places, &[("array_state", "clean"), ("degraded", "1"), ("sync_action", "idle")]);
        assert_eq!(now(), [Trouble::SiteMissing, degraded.clone()], "once");
        mirror(&places, &[("sync_action", "recover")]);
        assert_eq!(now(), [Trouble::SiteMissing, filling]);
        mirror(&places, &[("degraded", "0"), ("sync_action", "idle")]);
        assert_eq!(now(), [Trouble::SiteMissing], "whole again");
        // Lost while the machine runs.
        written(&places, vec![]);
        assert_eq!(now(), []);
        mirror(&places, &[("array_state", "active"), ("degraded", "1")]);
        assert_eq!(now(), std::slice::from_ref(&degraded));
        let (_, found) = troubles(&places).unwrap();
        assert_eq!(found.iter().filter(|t| **t == degraded).count(), 1);
        assert!(gather(&places).boot.unwrap().troubles.contains(&degraded));
        mirror(&places, &[("degraded", "nonsense")]);
        assert_eq!(now(), []);
    }

    #[test]
    fn a_clock_that_a_time_server_has_set_is_not_far_ahead() {
        let dir = tempfile::tempdir().unwrap();
        let places = in_folder(dir.path());
        let far = Trouble::ClockFar { at: UnixMs(2_208_988_800_000), years: 13 };
        written(&places, vec![far.clone()]);
        assert_eq!(boot(&places).unwrap().troubles, [far]);
        std::fs::write(&places.clock, "").unwrap();
        assert_eq!(boot(&places).unwrap().troubles, []);
    }

    #[test]
    fn a_program_that_says_nonsense_is_stuck_and_one_that_is_gone_is_silent() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        assert!(matches!(ask(&socket), Program::Silent));
        let listener = UnixListener::bind(&socket).unwrap();
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = [0; 17];
            stream.read_exact(&mut line).unwrap();
            assert_eq!(&line, b"{\"cmd\":\"status\"}\n");
            io::Write::write_all(&mut stream, b"{\"ok\":\"done\"}\n").unwrap();
        });
        assert!(matches!(ask(&socket), Program::Stuck));
        answering.join().unwrap();
        assert!(matches!(ask(&socket), Program::Silent), "a socket that was left");
    }

    #[test]
    fn a_disk_is_one_only_where_it_is_mounted() {
        assert!(disk(Path::new("/proc")).is_some());
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("data");
        std::fs::create_dir(&inside).unwrap();
        assert!(disk(&inside).is_none());
    }
}

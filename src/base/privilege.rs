//! What the kernel grants to this process beyond the ordinary: priority, memory, capabilities.
//!
//! Invariants: everything here is asked for, never needed: where the kernel says no, the caller goes
//! on without. Capabilities are only ever given up. Deliberately absent: gaining anything.

use crate::base::notify::SOCKET_VARIABLE;
use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::prctl::{set_no_new_privs, set_pdeathsig};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Real-time priority of threads that must run in time: the lowest, above all ordinary threads.
const REALTIME_PRIORITY: libc::c_int = 1;
/// The nice value of work that may wait: a tenth of an ordinary thread's share.
const STEPS_BACK: libc::c_int = 10;
/// `linux/mman.h`; lock pages when they are first touched, not all of the program at once.
const MCL_ONFAULT: libc::c_int = 4;
/// `linux/capability.h`: the version with 64 capabilities.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
/// `linux/capability.h`.
const CAP_NET_ADMIN: u32 = 12;
/// `linux/capability.h`.
const CAP_NET_RAW: u32 = 13;

/// Runs this thread before all ordinary ones (SCHED_FIFO), but neither threads nor commands that it
/// starts. It must sleep by itself: nothing else stops it.
///
/// # Errors
/// Needs CAP_SYS_NICE or a limit of real-time priority (`LimitRTPRIO=` of systemd) of at least 1.
#[expect(unsafe_code, reason = "no crate that we use wraps sched_setscheduler(2)")]
pub fn realtime_alone() -> Result<(), Errno> {
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    let parameters = libc::sched_param { sched_priority: REALTIME_PRIORITY };
    // SAFETY: the kernel reads one `sched_param` that outlives the call; 0 is the calling thread.
    let answer = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &parameters) };
    Errno::result(answer).map(drop)
}

/// Has this thread, and those that it starts from now on, step back behind all others. Not to the very
/// end: it would hold locks for long that others wait for.
///
/// # Errors
/// None on Linux.
#[expect(unsafe_code, reason = "no crate that we use wraps setpriority(2) for a thread")]
pub fn background() -> Result<(), Errno> {
    // SAFETY: a bare system call on numbers; 0 is the calling thread.
    let answer = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, STEPS_BACK) };
    Errno::result(answer).map(drop)
}

/// Starts `command` as somebody else's: with no signal blocked, whatever this thread blocks (it would
/// inherit that, and could not be told to end), without any capability, unable to gain one
/// (`PR_SET_NO_NEW_PRIVS`, which also holds for root), and killed when this *thread* ends. What it
/// starts itself is not killed with it. It is not told where the service manager listens, which would
/// believe it.
#[expect(unsafe_code, reason = "what runs between fork and exec is unsafe to name")]
pub fn confine(command: &mut Command) {
    let confine = || {
        SigSet::empty().thread_set_mask()?;
        set_pdeathsig(Signal::SIGKILL)?;
        set_no_new_privs()?;
        capabilities(|_, _| 0)?;
        Ok(())
    };
    command.env_remove(SOCKET_VARIABLE);
    // SAFETY: these are bare system calls, and making an error of a number is safe in a forked
    // child, too: no allocation, no lock.
    unsafe {
        command.pre_exec(confine);
    }
}

/// Keeps the memory that this process has now, as far as it touches it, from being swapped out.
/// What it maps later is not bound: a limit must not make an allocation fail.
///
/// # Errors
/// Needs CAP_IPC_LOCK or a limit of locked memory (`LimitMEMLOCK=`) above the process's size.
pub fn lock_memory() -> Result<(), Errno> {
    let on_fault = MlockAllFlags::from_bits_retain(MCL_ONFAULT);
    mlockall(MlockAllFlags::MCL_CURRENT | on_fault)
}

/// No core is dumped when this process ends badly: its memory holds keys and mail, and its end must
/// not wait for a disk.
///
/// # Errors
/// None on Linux.
pub fn no_core() -> Result<(), Errno> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
}

/// Lets this process open `wanted` files at once, or as many as it may have at most. Returns how many.
///
/// # Errors
/// None on Linux.
pub fn open_files(wanted: u64) -> Result<u64, Errno> {
    let (now, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let enough = wanted.min(most).max(now);
    setrlimit(Resource::RLIMIT_NOFILE, enough, most)?;
    Ok(enough)
}

/// Gives up raw sockets and the administration of the network (CAP_NET_RAW, CAP_NET_ADMIN), for the
/// calling thread and those that it starts. To be called before there are others.
///
/// # Errors
/// None on Linux.
pub fn drop_network_administration() -> Result<(), Errno> {
    let gone = |word| if word == 0 { 1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW } else { 0 };
    capabilities(|word, had| had & !gone(word))
}

/// Sets each word of this thread's capabilities to what `kept` makes of what it has; allocates
/// nothing.
#[expect(unsafe_code, reason = "no crate that we use wraps capset(2)")]
fn capabilities(kept: impl Fn(usize, u32) -> u32) -> Result<(), Errno> {
    /// `struct __user_cap_header_struct`.
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    /// `struct __user_cap_data_struct`.
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let mut header = Header { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 reads a header and writes two data structures; both outlive the call.
    let answer = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    Errno::result(answer)?;
    for (word, set) in data.iter_mut().enumerate() {
        set.effective = kept(word, set.effective);
        set.permitted = kept(word, set.permitted);
        set.inheritable = kept(word, set.inheritable);
    }
    // SAFETY: version 3 reads a header and two data structures; both outlive the call.
    let answer = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) };
    Errno::result(answer).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The capabilities of this thread, as the kernel shows them.
    fn effective() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    }

    #[test]
    fn files_are_asked_for_and_never_taken_away() {
        let had = open_files(0).unwrap();
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(open_files(had + 1).unwrap(), (had + 1).min(most));
        assert_eq!(open_files(0).unwrap(), (had + 1).min(most));
        assert_eq!(open_files(u64::MAX).unwrap(), most);
    }

    #[test]
    fn a_command_can_be_told_to_end() {
        crate::base::task::thread("tests-signals", || {
            SigSet::all().thread_block().unwrap();
            let mut command = Command::new("grep");
            command.args(["-c", "SigBlk:\t0000000000000000", "/proc/self/status"]);
            assert!(!command.output().unwrap().status.success(), "inherited");
            confine(&mut command);
            assert!(command.output().unwrap().status.success());
        })
        .join()
        .unwrap();
    }

    /// Also root's, which exec(2) would give back.
    #[test]
    fn a_confined_command_has_no_capability_and_dies_with_its_thread() {
        let shown = |line: &str| {
            let mut command = Command::new("grep");
            command.args(["-c", line, "/proc/self/status"]);
            confine(&mut command);
            command.output().unwrap().status.success()
        };
        for line in ["CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"] {
            assert!(shown(line), "{line}");
        }
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        crate::base::task::thread("tests-confine", move || {
            let mut command = Command::new("sleep");
            command.arg("60");
            confine(&mut command);
            sender.send(command.spawn().unwrap()).unwrap();
        })
        .join()
        .unwrap();
        let status = receiver.recv().unwrap().wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }

    #[test]
    fn a_thread_gives_up_the_network_and_keeps_the_rest() {
        crate::base::task::thread("tests-caps", || {
            let before = effective();
            drop_network_administration().unwrap();
            assert_eq!(effective(), before & !(1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW));
        })
        .join()
        .unwrap();
    }
}

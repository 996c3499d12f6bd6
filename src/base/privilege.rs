//! What the kernel grants to this process beyond the ordinary: priority, memory, capabilities.
//!
//! Invariants: everything here is asked for, never needed: where the kernel says no, the caller goes
//! on without. Capabilities are only ever given up. Deliberately absent: gaining anything.

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{Resource, setrlimit};

/// Real-time priority of threads that must run in time: the lowest, above all ordinary threads.
const REALTIME_PRIORITY: libc::c_int = 1;
/// `linux/mman.h`; lock pages when they are first touched, not all of the program at once.
const MCL_ONFAULT: libc::c_int = 4;
/// `linux/capability.h`: the version with 64 capabilities.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
/// `linux/capability.h`.
const CAP_NET_ADMIN: u32 = 12;
/// `linux/capability.h`.
const CAP_NET_RAW: u32 = 13;

/// Runs this thread, and those that it starts from now on, before all ordinary ones (SCHED_FIFO).
/// They must sleep by themselves: nothing else stops them.
///
/// # Errors
/// Needs CAP_SYS_NICE or a limit of real-time priority (`LimitRTPRIO=` of systemd) of at least 1.
pub fn realtime() -> Result<(), Errno> {
    first_in_first_out(libc::SCHED_FIFO)
}

/// As [`realtime`], for this thread alone: those that it starts are ordinary.
///
/// # Errors
/// As [`realtime`].
pub fn realtime_alone() -> Result<(), Errno> {
    first_in_first_out(libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK)
}

#[expect(unsafe_code, reason = "no crate that we use wraps sched_setscheduler(2)")]
fn first_in_first_out(policy: libc::c_int) -> Result<(), Errno> {
    let parameters = libc::sched_param { sched_priority: REALTIME_PRIORITY };
    // SAFETY: the kernel reads one `sched_param` that outlives the call; 0 is the calling thread.
    let answer = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &parameters) };
    Errno::result(answer).map(drop)
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

/// Gives up raw sockets and the administration of the network (CAP_NET_RAW, CAP_NET_ADMIN), for the
/// calling thread and those that it starts. To be called before there are others.
///
/// # Errors
/// None on Linux.
#[expect(unsafe_code, reason = "no crate that we use wraps capset(2)")]
pub fn drop_network_administration() -> Result<(), Errno> {
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
    let keep = !(1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW);
    if let Some(low) = data.first_mut() {
        low.effective &= keep;
        low.permitted &= keep;
        low.inheritable &= keep;
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

//! Two keepalived in the places of the appliances: the measure that the field knows.
//!
//! The first has priority 200 and takes the address back when it returns, the second 100. Behind
//! each stands a server that says `220` and nothing else, so that only the address' move is
//! measured. Processes are ended by the ids in their own pid files.

use crate::net::{self, FLOATING, Host};
use crate::{Context, Result, fail, interrupt, now, wait_for};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long an address may take to arrive where it should be.
const SETTLE_MAX: Duration = Duration::from_secs(15);
/// How often the server looks whether it is to end.
const LOOK: u16 = 20;

/// Both of them.
pub(crate) struct Rivals {
    program: PathBuf,
    dir: PathBuf,
    first: Option<Node>,
    second: Option<Node>,
}

/// How one is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Both plugs out and SIGKILL.
    Power,
    /// SIGKILL, with its network alive.
    Crash,
    /// SIGTERM: it says goodbye.
    Planned,
}

/// A keepalived's parent process. Its child ends with it; both end with the lab.
struct Daemon(Child);

impl Daemon {
    fn kill(&mut self) -> std::io::Result<()> {
        self.0.kill()?;
        self.0.wait().map(drop)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Err(e) = self.kill() {
            crate::timeline::error(&format!("keepalived may still run: {e}"));
        }
    }
}

/// One: a keepalived and the server behind it.
struct Node {
    daemon: Daemon,
    vrrp_pid: PathBuf,
    banner: Banner,
}

impl Rivals {
    /// Both at work in the hosts of the appliances; `None` where keepalived is not installed.
    ///
    /// # Errors
    /// They cannot be started.
    pub(crate) fn new(work: &Path) -> Result<Option<Self>> {
        let places = ["/usr/sbin/keepalived", "/usr/local/sbin/keepalived", "/sbin/keepalived"];
        let Some(program) = places.map(PathBuf::from).into_iter().find(|p| p.is_file()) else {
            return Ok(None);
        };
        let dir = work.join("keepalived");
        fs::create_dir_all(&dir).context(dir.display())?;
        let mut rivals = Self { program, dir, first: None, second: None };
        for host in [Host::A, Host::B] {
            // What a killed appliance left is not for its rival.
            clear(host)?;
        }
        rivals.second = Some(rivals.start(Host::B, 100)?);
        rivals.first = Some(rivals.start(Host::A, 200)?);
        Ok(Some(rivals))
    }

    fn start(&self, host: Host, priority: u8) -> Result<Node> {
        let path = |what: &str| self.dir.join(format!("{}.{what}", host.name()));
        fs::write(path("conf"), configuration(priority)).context("keepalived's configuration")?;
        let vrrp_pid = path("vrrp.pid");
        let log = File::options().create(true).append(true).open(path("log")).context("log")?;
        let mut command = net::command(host, &self.program);
        command.args(["--dont-fork", "--log-console", "--vrrp", "--use-file"]).arg(path("conf"));
        command.arg("--pid").arg(path("pid")).arg("--vrrp_pid").arg(&vrrp_pid);
        command.process_group(0).stdin(Stdio::null());
        command.stdout(log.try_clone().context("log")?).stderr(log);
        let daemon = Daemon(interrupt::unblocked(|| command.spawn()).context("keepalived")?);
        Ok(Node { daemon, vrrp_pid, banner: Banner::start(host)? })
    }

    /// Waits until the first holds the address and the second does not.
    pub(crate) fn settle(&mut self) -> Result<()> {
        wait_for("the first keepalived holds the address", SETTLE_MAX, || {
            Ok(holds(Host::A)? && !holds(Host::B)?)
        })
    }

    /// The first is lost; says when. A crash's clock starts after its server was closed, to
    /// keepalived's advantage.
    pub(crate) fn lose_first(&mut self, loss: Loss) -> Result<Instant> {
        let Some(node) = self.first.take() else { return fail("the first keepalived is dead") };
        let Node { mut daemon, vrrp_pid, banner } = node;
        let child = read_pid(&vrrp_pid)?;
        let at = match loss {
            Loss::Planned => {
                let at = now();
                let pid = Pid::from_raw(i32::try_from(daemon.0.id()).context("process id")?);
                kill(pid, Signal::SIGTERM).context("keepalived")?;
                wait_for("keepalived stops", SETTLE_MAX, || {
                    Ok(daemon.0.try_wait().context("keepalived")?.is_some())
                })?;
                banner.finish()?;
                return Ok(at);
            }
            Loss::Crash => {
                banner.finish()?;
                now()
            }
            Loss::Power => {
                let at = now();
                net::cut_off(Host::A)?;
                banner.stop();
                at
            }
        };
        // The child first: with its parent gone it would say goodbye (priority 0).
        end(child)?;
        daemon.kill().context("keepalived")?;
        Ok(at)
    }

    /// Starts the first again, in a host without traces of it.
    pub(crate) fn revive_first(&mut self, loss: Loss) -> Result<()> {
        clear(Host::A)?;
        if loss == Loss::Power {
            net::mend_all(Host::A)?;
        }
        for name in ["a.pid", "a.vrrp.pid"] {
            let path = self.dir.join(name);
            if path.exists() {
                fs::remove_file(&path).context(path.display())?;
            }
        }
        self.first = Some(self.start(Host::A, 200)?);
        Ok(())
    }
}

fn configuration(priority: u8) -> String {
    format!(
        "global_defs {{\n  router_id lab\n  vrrp_version 3\n}}\n\
         vrrp_instance lab {{\n  interface service\n  state BACKUP\n  virtual_router_id 52\n  \
         priority {priority}\n  advert_int 0.1\n  \
         virtual_ipaddress {{\n    {FLOATING}/24 dev service\n  }}\n}}\n"
    )
}

fn read_pid(path: &Path) -> Result<Pid> {
    let text = fs::read_to_string(path).context(path.display())?;
    Ok(Pid::from_raw(text.trim().parse().context(path.display())?))
}

fn end(pid: Pid) -> Result<()> {
    match kill(pid, Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(e) => fail(format!("kill {pid}: {e}")),
    }
}

fn holds(host: Host) -> Result<bool> {
    let output = net::command(host, Path::new("ip"))
        .args(["-brief", "address", "show", "dev", "service"])
        .output()
        .context("ip")?;
    Ok(String::from_utf8_lossy(&output.stdout).contains(&format!(" {FLOATING}/")))
}

fn clear(host: Host) -> Result<()> {
    if holds(host)? {
        net::ip_in(host, &format!("addr del {FLOATING}/24 dev service"))
    } else {
        Ok(())
    }
}

/// A server on port 25 that greets and hangs up.
struct Banner {
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<Result<Result<()>>>,
}

impl Banner {
    fn start(host: Host) -> Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let its = Arc::clone(&stopping);
        let thread = net::thread(host, "banner", move || {
            let listener = TcpListener::bind("0.0.0.0:25").context("port 25")?;
            listener.set_nonblocking(true).context("port 25")?;
            while !its.load(Relaxed) {
                greet(&listener)?;
            }
            Ok(())
        })?;
        Ok(Self { stopping, thread })
    }

    /// Lets it end by itself.
    fn stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    fn finish(self) -> Result<()> {
        self.stop();
        net::join(self.thread)?
    }
}

fn greet(listener: &TcpListener) -> Result<()> {
    let mut waits = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    match poll(&mut waits, PollTimeout::from(LOOK)) {
        Ok(0) | Err(Errno::EINTR) => return Ok(()),
        other => other.context("poll")?,
    };
    let Ok((mut client, _)) = listener.accept() else { return Ok(()) };
    // A client that has gone again does not matter.
    drop(client.write_all(b"220 lab\r\n"));
    Ok(())
}

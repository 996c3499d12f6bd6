//! An appliance as a machine: the flashed image in QEMU, plugged into the lab's networks.
//!
//! Invariants: a machine is ended by the id of its own process, and ends with the lab; its disk is a
//! copy of the image that nobody else writes. What an operator would do goes through `site.toml` on
//! the disk, through SSH, or through the power switch. The processor is emulated: a start takes a
//! minute, and nothing here judges times.

use crate::net::{self, Host};
use crate::{Context, LabError, Result, fail, interrupt, now, pause};
use serde_json::Value;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a start may take until SSH answers, on a processor that is emulated and shared.
pub(crate) const START_MAX: Duration = Duration::from_secs(600);
/// Bytes of a machine's disk.
const DISK_LEN: u64 = 6 << 30;
/// Memory of a machine, in MiB.
const MEMORY_MIB: u32 = 1_024;
/// How long a command over SSH may take to connect, in seconds.
const SSH_CONNECT_S: u32 = 10;
/// The firmware: UEFI without Secure Boot.
const FIRMWARE: [&str; 2] = ["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"];

/// One machine.
#[derive(Debug)]
pub(crate) struct Machine {
    host: Host,
    dir: PathBuf,
    child: Option<Child>,
}

impl Machine {
    /// Flashes `image` on a new disk in `dir/<host>` and puts `site` on it.
    ///
    /// # Errors
    /// The folder is there already, or the image is none of ours.
    pub(crate) fn flash(host: Host, dir: &Path, image: &Path, site: &str) -> Result<Self> {
        let dir = dir.join(host.name());
        fs::create_dir(&dir).context(dir.display())?;
        let machine = Self { host, dir, child: None };
        machine.flash_again(image, site)?;
        Ok(machine)
    }

    /// The same on a disk that was in use: everything on it is gone.
    ///
    /// # Errors
    /// As [`Self::flash`].
    pub(crate) fn flash_again(&self, image: &Path, site: &str) -> Result<()> {
        let disk = self.disk();
        run(Command::new("cp").args(["--sparse=always", "--"]).arg(image).arg(&disk))?;
        let file = File::options().write(true).open(&disk).context(disk.display())?;
        file.set_len(DISK_LEN).context("disk")?;
        fs::copy(FIRMWARE[1], self.variables()).context(FIRMWARE[1])?;
        self.put_site(site)
    }

    /// Puts `site.toml` on the disk of a machine that is off.
    ///
    /// # Errors
    /// The disk is not one of ours.
    pub(crate) fn put_site(&self, site: &str) -> Result<()> {
        let file = self.dir.join("site.toml");
        fs::write(&file, site).context(file.display())?;
        let at = self.partition("UNDERSTUDY")?;
        let image = format!("{}@@{at}", self.disk().display());
        run(Command::new("mcopy").args(["-o", "-i", &image]).arg(&file).arg("::site.toml"))
    }

    /// What a file on its FAT partition says, while it is off.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) fn read_fat(&self, name: &str) -> Result<String> {
        let image = format!("{}@@{}", self.disk().display(), self.partition("UNDERSTUDY")?);
        output(Command::new("mtype").args(["-i", &image]).arg(format!("::{name}")))
    }

    /// Where a partition begins, in bytes.
    fn partition(&self, name: &str) -> Result<u64> {
        let table = output(Command::new("sfdisk").arg("--json").arg(self.disk()))?;
        let table: Value = serde_json::from_str(&table).context("sfdisk")?;
        let all = table.pointer("/partitiontable/partitions").and_then(Value::as_array);
        let found = all.into_iter().flatten().find(|p| p.get("name").is_some_and(|n| n == name));
        let start = found.and_then(|p| p.get("start")).and_then(Value::as_u64);
        let start = start.ok_or_else(|| LabError(format!("no partition {name}: {table}")))?;
        Ok(start * 512)
    }

    fn disk(&self) -> PathBuf {
        self.dir.join("disk.img")
    }

    fn variables(&self) -> PathBuf {
        self.dir.join("firmware.fd")
    }

    /// What came over its serial line, over several starts.
    pub(crate) fn serial(&self) -> PathBuf {
        self.dir.join("serial.txt")
    }

    /// Switches it on. Both cables are in.
    ///
    /// # Errors
    /// QEMU is not there (Debian packages qemu-system-x86 and ovmf).
    pub(crate) fn switch_on(&mut self) -> Result<()> {
        let [code, _] = FIRMWARE;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        command.args(["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"]);
        command.args(["-m", &MEMORY_MIB.to_string(), "-display", "none", "-no-reboot"]);
        // A restart of the guest ends QEMU otherwise.
        command.args(["-action", "reboot=reset"]);
        let drive = |n: u32, file: &Path, more: &str| {
            format!("if=pflash,unit={n},format=raw,file={}{more}", file.display())
        };
        command.args(["-drive", &drive(0, Path::new(code), ",readonly=on")]);
        command.args(["-drive", &drive(1, &self.variables(), "")]);
        let disk = format!("if=none,id=disk,format=raw,file={}", self.disk().display());
        command.args(["-drive", &disk, "-device", "nvme,drive=disk,serial=understudy"]);
        for net in ["service", "link"] {
            let port = net::port(self.host, net);
            let mac = net::mac(self.host, net);
            command
                .args(["-netdev", &format!("tap,id={net},ifname={port},script=no,downscript=no")]);
            command.args(["-device", &format!("virtio-net-pci,netdev={net},mac={mac}")]);
        }
        let serial = format!("file,id=serial,append=on,path={}", self.serial().display());
        command.args(["-chardev", &serial, "-serial", "chardev:serial"]);
        let errors = File::options().create(true).append(true).open(self.dir.join("qemu.txt"));
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(errors.context("qemu.txt")?);
        let child = interrupt::unblocked(|| command.spawn());
        self.child =
            Some(child.context("qemu-system-x86_64 (Debian packages qemu-system-x86, ovmf)")?);
        Ok(())
    }

    /// Pulls the plug: what the disk has not been told is gone.
    ///
    /// # Errors
    /// It is off already.
    pub(crate) fn cut_power(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return fail(format!("{} is off", self.host));
        };
        child.kill().context("kill")?;
        child.wait().context("wait")?;
        Ok(())
    }

    /// A command over SSH, as the operator; what it prints.
    ///
    /// # Errors
    /// Nobody answers there, or the command fails.
    pub(crate) fn ssh(&self, arguments: &[&str]) -> Result<String> {
        output(&mut self.to_ssh(arguments))
    }

    /// The program over SSH, with the file at `path` as its input.
    ///
    /// # Errors
    /// As [`Self::ssh`].
    pub(crate) fn feed(&self, path: &Path, arguments: &[&str]) -> Result<String> {
        let file = File::open(path).context(path.display())?;
        let all: Vec<&str> = ["understudy"].iter().chain(arguments).copied().collect();
        told(self.to_ssh(&all).stdin(file))
    }

    fn to_ssh(&self, arguments: &[&str]) -> Command {
        let mut ssh = net::command(Host::Client, Path::new("ssh"));
        ssh.args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]);
        ssh.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]);
        ssh.args(["-o", &format!("ConnectTimeout={SSH_CONNECT_S}"), "-F", "none"]);
        ssh.arg("-i").arg(self.key());
        ssh.arg(format!("operator@{}", self.host.service())).arg("--");
        ssh.args(arguments);
        ssh
    }

    /// [`Self::ssh`] for the program.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Result<String> {
        let mut all = vec!["understudy"];
        all.extend(arguments);
        self.ssh(&all)
    }

    fn key(&self) -> PathBuf {
        self.dir.with_file_name("key")
    }

    /// Waits until the program on it answers, and fails as soon as QEMU ends.
    ///
    /// # Errors
    /// Not in time; what the serial line said last has been printed then.
    pub(crate) fn wait(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) -> Result<()> {
        let end = now() + START_MAX;
        while !done(self) {
            if let Some(child) = self.child.as_mut()
                && let Some(status) = child.try_wait().context("wait")?
            {
                return fail(format!("QEMU of {} has ended ({status})", self.host));
            }
            if now() > end {
                return fail(format!("{}: {what}: not in time\n{}", self.host, self.last_lines()));
            }
            pause(Duration::from_secs(2))?;
        }
        Ok(())
    }

    /// The end of its serial line.
    pub(crate) fn last_lines(&self) -> String {
        let mut text = Vec::new();
        let read = File::open(self.serial()).and_then(|mut f| f.read_to_end(&mut text));
        if let Err(e) = read {
            return e.to_string();
        }
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().rev().take(60).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It ends with the lab at the latest.
            child.kill().and_then(|()| child.wait().map(drop)).unwrap_or_default();
        }
    }
}

/// A key for SSH in `dir`: `key` and `key.pub`.
///
/// # Errors
/// There is no ssh-keygen (Debian package openssh-client).
pub(crate) fn make_key(dir: &Path) -> Result<()> {
    let mut make = Command::new("ssh-keygen");
    run(make.args(["-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f"]).arg(dir.join("key")))
}

fn run(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

fn output(command: &mut Command) -> Result<String> {
    told(command.stdin(Stdio::null()))
}

/// What `command` says; its stdin is the caller's to give.
fn told(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().context(&name)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    fail(format!("{name}: {}: {said}", output.status))
}

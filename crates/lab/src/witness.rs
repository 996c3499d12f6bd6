//! The pair's witness: the same binary on a third host of the bench.

use crate::net::{self, Host};
use crate::{Context, LabError, Options, Result, fail, interrupt};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// Its port.
const PORT: u16 = 7401;

/// The witness. It ends with the lab, and must be started by the main thread.
#[derive(Debug)]
pub(crate) struct Witness {
    dir: PathBuf,
    binary: PathBuf,
    child: Option<Child>,
    /// Pairs in its file: ours, and others that never come.
    pairs: usize,
}

impl Witness {
    /// Makes its key under `dir/witness`; gives what the appliances' files need.
    ///
    /// # Errors
    /// The program refuses, or knows no witness.
    pub(crate) fn init(options: &Options, dir: &Path) -> Result<(Self, String)> {
        let dir = dir.join("witness");
        fs::create_dir(&dir).context(dir.display())?;
        let pairs = options.pairs.unwrap_or(1).max(1);
        let witness = Self { dir, binary: options.binary.clone(), child: None, pairs };
        let mut command = net::command(Host::Witness, &witness.binary);
        command.args(["witness", "init", "--dir"]).arg(witness.dir.join("data"));
        let output =
            interrupt::unblocked(|| command.output()).context("understudy witness init")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return fail(format!("understudy witness init: {why}"));
        }
        let mut words = said.split(|c: char| !c.is_ascii_hexdigit());
        let pin = words
            .find(|w| w.len() == 64)
            .ok_or_else(|| LabError(format!("understudy witness init printed no pin: {said}")))?;
        let section = format!(
            "\n[pair.witness]\naddress = \"{}:{PORT}\"\npin = \"{pin}\"\n",
            Host::Witness.service()
        );
        Ok((witness, section))
    }

    /// Writes its configuration; `shown` is what `understudy pair show` prints on an appliance.
    ///
    /// # Errors
    /// There is no section in it, or the file cannot be written.
    pub(crate) fn admit(&self, shown: &str) -> Result<()> {
        let Some(at) = shown.find("[[pair]]") else {
            return fail(format!("understudy pair show has nothing for a witness: {shown}"));
        };
        let pair = shown.get(at..).unwrap_or_default();
        let dir = self.dir.join("data");
        let mut text =
            format!("listen = \"0.0.0.0:{PORT}\"\ndir = \"{}\"\n\n{pair}\n", dir.display());
        for other in 1..self.pairs {
            let pins = format!("\"{other:064x}\", \"{:064x}\"", other.saturating_add(1 << 20));
            text.push_str(&format!("\n[[pair]]\nid = \"{other:032x}\"\npins = [{pins}]\n"));
        }
        fs::write(self.config(), text).context("the witness's configuration")
    }

    fn config(&self) -> PathBuf {
        self.dir.join("witness.toml")
    }

    /// Starts it.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(&mut self) -> Result<()> {
        let path = self.dir.join("log.txt");
        let log = File::options().create(true).append(true).open(path).context("log")?;
        let mut command = net::command(Host::Witness, &self.binary);
        command.arg("witness").arg("--config").arg(self.config());
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(interrupt::unblocked(|| command.spawn()).context("witness")?);
        Ok(())
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().context("witness")?;
            child.wait().context("witness")?;
        }
        Ok(())
    }

    /// What it takes of memory, in words.
    ///
    /// # Errors
    /// It does not run.
    pub(crate) fn memory(&self) -> Result<String> {
        let Some(child) = self.child.as_ref() else { return fail("the witness does not run") };
        let path = format!("/proc/{}/status", child.id());
        let status = fs::read_to_string(&path).context(path)?;
        let of =
            |key| mib(&status, key).ok_or_else(|| LabError(format!("no {key} of the witness")));
        let (now, most) = (of("VmRSS:")?, of("VmHWM:")?);
        let pairs = self.pairs;
        Ok(format!(
            "memory of the witness, {pairs} pairs in its file: {now:.1} MiB, {most:.1} at most"
        ))
    }

    /// Fails when it has ended by itself.
    ///
    /// # Errors
    /// It has.
    pub(crate) fn must_live(&mut self) -> Result<()> {
        let Some(child) = self.child.as_mut() else { return Ok(()) };
        match child.try_wait().context("wait")? {
            None => Ok(()),
            Some(status) => {
                let said = fs::read_to_string(self.dir.join("log.txt")).unwrap_or_default();
                let last = said.lines().last().unwrap_or_default();
                fail(format!("the witness ended by itself ({status}): {last}"))
            }
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        if let Err(e) = self.kill() {
            crate::timeline::error(&format!("the witness may still run: {e}"));
        }
    }
}

/// A line of proc_pid_status(5), which counts in KiB.
fn mib(status: &str, key: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u32 = line.split_whitespace().next()?.parse().ok()?;
    Some(f64::from(kib) / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read() {
        let status = "VmHWM:\t    5120 kB\nVmRSS:\t    4608 kB\n";
        assert_eq!(mib(status, "VmRSS:"), Some(4.5));
        assert_eq!(mib(status, "VmHWM:"), Some(5.0));
        assert_eq!(mib(status, "VmSwap:"), None);
    }
}

//! The folder in which a run keeps data and logs. It goes when all went well, and stays to be read
//! when not.

use crate::{Context, Result, interrupt, timeline};
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of a run.
#[derive(Debug)]
pub(crate) struct Workdir {
    path: PathBuf,
    keep: bool,
}

impl Workdir {
    /// `keep`, made where it is missing, or a fresh folder that is removed at the end.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn new(keep: Option<&Path>) -> Result<Self> {
        let path = match keep {
            Some(path) => std::path::absolute(path).context(path.display())?,
            None => {
                let name = format!("understudy-lab-{}", std::process::id());
                std::env::temp_dir().join(name)
            }
        };
        fs::create_dir_all(&path).context(path.display())?;
        Ok(Self { path, keep: keep.is_some() })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Lets it stay, and says where it is; unless nobody wants to know any more.
    pub(crate) fn stays(&mut self) {
        if interrupt::came() {
            return;
        }
        self.keep = true;
        timeline::print(&format!("data and logs: {}", self.path.display()));
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        if !self.keep
            && let Err(e) = fs::remove_dir_all(&self.path)
        {
            timeline::error(&format!("{} could not be removed: {e}", self.path.display()));
        }
    }
}

//! The export or import of a tenant that an operator asked for: one at a time, beside all else.

use super::failure;
use crate::base::task;
use crate::directory::{Arrival, CarryError, CarryProgress, Directory, Exported};
use crate::ops::request::{Carried, Export, Failure, Import, Outcome};
use crate::ops::status::{Role, State};
use crate::store::PrimaryLease;
use crate::store::disk::RealDisk;
use std::sync::{Arc, Mutex, PoisonError};
use understudy_proto::directory::Tenant;

/// What came of a job, once it is over.
type Came = Arc<Mutex<Option<Result<String, Failure>>>>;

/// The last job.
#[derive(Default)]
pub(super) struct Jobs(Mutex<Option<(Arc<CarryProgress>, Came)>>);

impl Jobs {
    pub(super) fn export(
        &self,
        directory: &Directory,
        tenant: Tenant,
        export: &Export,
        place: impl Fn() -> Place + Send + 'static,
    ) -> Outcome<Carried> {
        let (progress, came) = self.begin()?;
        let directory = directory.clone();
        let (file, passphrase) = (export.file.clone(), export.passphrase.clone());
        let before = place();
        drop(task::spawn("tenant-export", async move {
            let write = move || {
                let disk = Arc::new(RealDisk);
                directory.export_tenant(disk, &tenant, &file, &passphrase, &progress)
            };
            let said = match tokio::task::spawn_blocking(write).await {
                Ok(Ok(came)) => Ok(exported(came, [before, place()])),
                Ok(Err(e)) => Err(refused(&e)),
                Err(e) => Err(failure("the export ended", &e)),
            };
            *came.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
        }));
        self.progress()
    }

    pub(super) fn import(
        &self,
        directory: &Directory,
        lease: PrimaryLease,
        import: &Import,
    ) -> Outcome<Carried> {
        let (progress, came) = self.begin()?;
        let directory = directory.clone();
        let (file, passphrase) = (import.file.clone(), import.passphrase.clone());
        let (name, without_domains) = (import.name.clone(), import.without_domains);
        drop(task::spawn("tenant-import", async move {
            let disk = Arc::new(RealDisk);
            let arrival = Arrival { name, without_domains };
            let import =
                directory.import_tenant(&lease, disk, &file, passphrase, &arrival, &progress);
            let said = import.await.map(|tenant| imported(&tenant, &arrival));
            let said = said.map_err(|e| refused(&e));
            *came.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
        }));
        self.progress()
    }

    /// How far the last job is.
    pub(super) fn progress(&self) -> Outcome<Carried> {
        let job = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((progress, came)) = &*job else {
            return Err(Failure::new("no tenant was exported or imported", "Begin with one."));
        };
        let finished = match &*came.lock().unwrap_or_else(PoisonError::into_inner) {
            None => None,
            Some(Ok(said)) => Some(said.clone()),
            Some(Err(failure)) => return Err(failure.clone()),
        };
        let (done, total) = progress.get();
        Ok(Carried { done, total, finished })
    }

    fn begin(&self) -> Outcome<(Arc<CarryProgress>, Came)> {
        let mut job = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let busy = job
            .as_ref()
            .is_some_and(|(_, came)| came.lock().unwrap_or_else(PoisonError::into_inner).is_none());
        if busy {
            let advice = "Wait until it is through; it goes on without the command that began it.";
            return Err(Failure::new("another export or import is under way", advice));
        }
        let new = (Arc::new(CarryProgress::default()), Came::default());
        *job = Some(new.clone());
        Ok(new)
    }
}

/// What the appliance was when an export was asked for, or was through.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) role: Role,
    pub(super) state: State,
    /// It is primary, and nobody else can be.
    pub(super) leads: bool,
}

/// The snapshot was taken between two `looks`: it is the primary's if both say so.
fn exported(came: Exported, looks: [Place; 2]) -> String {
    let Exported { len, lsn } = came;
    let [before, after] = looks;
    let from = if before.leads { after } else { before };
    let role = match from.role {
        Role::Primary => "primary",
        Role::Standby => "standby",
        Role::None => "without a role",
    };
    let state = from.state;
    let said = format!(
        "exported as of record {lsn}, {len} bytes; this appliance was {role}, state {state}"
    );
    if from.leads {
        return said;
    }
    format!(
        "{said}\nWARNING: this appliance could not be sure to be the primary. What was acknowledged \
         elsewhere after record {lsn} is not in the file. For a backup or a move, export on the \
         primary: `understudy status` says who it is."
    )
}

fn imported(tenant: &Tenant, arrival: &Arrival) -> String {
    let said = format!("imported as tenant {} ({})", tenant.name, tenant.id);
    if !arrival.without_domains {
        return said;
    }
    let suffix = Arrival::suffix(tenant.id);
    format!("{said}, beside whoever has its domains: all its addresses end in .{suffix}")
}

fn refused(e: &CarryError) -> Failure {
    log::warn!(err:% = e, runbook = "tenant-move"; "a tenant was not carried");
    Failure::new(e.to_string(), "docs/runbook/tenant-move.md says how a tenant is moved.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_proto::id::Lsn;

    #[test]
    fn an_export_says_where_it_was_made_and_warns_elsewhere_than_on_the_primary() {
        let came = Exported { len: 1_234, lsn: Lsn(56) };
        let said = |role, state, leads| exported(came, [Place { role, state, leads }; 2]);
        let good = said(Role::Primary, State::Pair, true);
        assert_eq!(
            good,
            "exported as of record 56, 1234 bytes; this appliance was primary, state PAIR"
        );
        for (role, state, words) in [
            (Role::Standby, State::Joining, "was standby, state JOINING"),
            (Role::None, State::Branched, "was without a role, state BRANCHED"),
            // Its lease has run out: the other one may serve by now.
            (Role::Primary, State::Pair, "was primary, state PAIR"),
        ] {
            let said = said(role, state, false);
            assert!(said.contains(words) && said.contains("WARNING"), "{said}");
            assert!(said.contains("after record 56"), "{said}");
        }
        // A handover went before the snapshot, or behind it.
        let primary = Place { role: Role::Primary, state: State::Pair, leads: true };
        let standby = Place { role: Role::Standby, state: State::Pair, leads: false };
        for looks in [[primary, standby], [standby, primary]] {
            let said = exported(came, looks);
            assert!(said.contains("was standby") && said.contains("WARNING"), "{said}");
        }
    }
}

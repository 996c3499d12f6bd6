//! Watches where both appliances say they stand, and prints each change once.

use crate::appliance::{Control, Pair, Status};
use crate::timeline::{Timeline, Tone};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// Pause between two looks.
const PERIOD: Duration = Duration::from_millis(50);

/// The watcher at work.
pub(crate) struct Watch {
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Begins to watch.
    pub(crate) fn start(pair: &Pair, tale: &Arc<Timeline>) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let (its, tale) = (Arc::clone(&stopping), Arc::clone(tale));
        let controls = [pair.a.control(), pair.b.control()];
        let thread = std::thread::spawn(move || watch(&its, &controls, &tale));
        Self { stopping, thread }
    }

    /// Ends it.
    pub(crate) fn finish(self) {
        self.stopping.store(true, Relaxed);
        // A panic there has been printed; there is nothing to add.
        drop(self.thread.join());
    }
}

fn watch(stopping: &AtomicBool, controls: &[Control; 2], tale: &Timeline) {
    let mut before = String::new();
    while !stopping.load(Relaxed) {
        let [a, b] = controls.each_ref().map(|c| c.status().ok());
        let line = words(a.as_ref(), b.as_ref());
        if line != before {
            let tone = if line.ends_with("yes") { Tone::Good } else { Tone::Plain };
            tale.say(tone, &line);
            before = line;
        }
        std::thread::sleep(PERIOD);
    }
}

/// `A: PAIR primary        B: PAIR standby        RPO 0: yes`.
fn words(a: Option<&Status>, b: Option<&Status>) -> String {
    let one = |s: Option<&Status>| s.map_or_else(|| "—".to_owned(), Status::words);
    let primary = [a, b].into_iter().flatten().find(|s| s.is_primary());
    let rpo = match primary {
        Some(s) if s.rpo_zero => "RPO 0: yes",
        Some(_) => "RPO 0: no",
        None => "nobody serves",
    };
    format!("A: {:<19} B: {:<19} {rpo}", one(a), one(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_who_and_how() {
        let status = |state: &str, role: &str, rpo_zero| Status {
            state: state.into(),
            role: role.into(),
            rpo_zero,
            ..Status::default()
        };
        let solo = status("SOLO", "primary", false);
        assert_eq!(
            words(None, Some(&solo)),
            "A: —                   B: SOLO primary        RPO 0: no"
        );
        let (a, b) = (status("PAIR", "primary", true), status("PAIR", "standby", true));
        assert!(words(Some(&a), Some(&b)).ends_with("RPO 0: yes"));
        assert!(words(None, None).ends_with("nobody serves"));
    }
}

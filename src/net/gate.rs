//! Who may serve, and when everything ends.

use tokio::sync::watch;

/// Says whether this node may serve at this moment.
pub trait Gate: Clone + Send + Sync + 'static {
    /// What a session holds while it may go on: the primary's lease.
    type Pass: Pass;

    /// The pass that is current; `None` while this node must not serve.
    fn current(&self) -> Option<Self::Pass>;
}

/// A permission that can be withdrawn.
pub trait Pass: Clone + Send + Sync + 'static {
    /// Ends when the permission is withdrawn; at once when it already is.
    fn revoked(&self) -> impl Future<Output = ()> + Send;

    /// Whether bytes may leave at this moment. Asked before every write.
    fn leave(&self) -> Leave;

    /// Ends when [`Pass::leave`] says something else than [`Leave::NotYet`]; at once when it does.
    fn decided(&self) -> impl Future<Output = ()> + Send;

    /// Is given before the permission is withdrawn in good order. A session holds it until it has
    /// said what it has to say.
    fn notice(&self) -> Notice {
        Notice::default()
    }
}

/// Tells a session that it ends soon, while it may still speak. The default is never given.
#[derive(Clone, Debug, Default)]
pub struct Notice(Option<watch::Receiver<bool>>);

impl Notice {
    /// Given while `word` is true.
    #[must_use]
    pub fn new(word: watch::Receiver<bool>) -> Self {
        Self(Some(word))
    }

    /// Whether it is given.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.0.as_ref().is_some_and(|word| *word.borrow())
    }

    /// Ends when it is given; at once when it already is.
    pub async fn given(&self) {
        if let Some(mut word) = self.0.clone()
            && word.wait_for(|given| *given).await.is_ok()
        {
            return;
        }
        // Nobody will give it any more: the session ends with its pass.
        std::future::pending().await
    }
}

/// Whether bytes may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// They may.
    Now,
    /// It is not known: they wait.
    NotYet,
    /// The permission is withdrawn.
    Never,
}

/// A gate that is always open: for listeners that serve in every role, and for tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open;

impl Gate for Open {
    type Pass = Self;

    fn current(&self) -> Option<Self> {
        Some(*self)
    }
}

impl Pass for Open {
    async fn revoked(&self) {
        std::future::pending().await
    }

    fn leave(&self) -> Leave {
        Leave::Now
    }

    async fn decided(&self) {}
}

/// The process is shutting down, or not. Clones see the same.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

/// Ends everything that holds the matching [`Stop`]; so does dropping it.
#[derive(Debug)]
pub struct StopControl(watch::Sender<bool>);

/// A fresh pair of control and signal.
#[must_use]
pub fn stop() -> (StopControl, Stop) {
    let (sender, receiver) = watch::channel(false);
    (StopControl(sender), Stop(receiver))
}

impl StopControl {
    /// Stops; a second call changes nothing.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Another signal of this control.
    #[must_use]
    pub fn signal(&self) -> Stop {
        Stop(self.0.subscribe())
    }
}

impl Stop {
    /// Ends when the process stops.
    pub async fn stopped(&self) {
        let mut receiver = self.0.clone();
        // An error means that the control is gone: nobody is left to serve for.
        let _gone = receiver.wait_for(|stopped| *stopped).await.is_err();
    }

    /// Whether the process is stopping.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

//! How the parts of a running peer speak to its node.

use mesh_node::{Answer, Command, CommandError, ErrorKind, Happening};
use tokio::sync::{broadcast, mpsc, oneshot};

/// A question to the node, and where the answer goes.
pub(crate) struct Question {
    pub(crate) command: Command,
    pub(crate) answer: oneshot::Sender<Result<Answer, CommandError>>,
}

/// Cheap to clone. Outlives the node: then every question is answered with an error.
#[derive(Clone)]
pub(crate) struct Handle {
    questions: mpsc::Sender<Question>,
    happenings: broadcast::Sender<Happening>,
}

impl Handle {
    pub(crate) fn new(questions: mpsc::Sender<Question>, happenings: broadcast::Sender<Happening>) -> Self {
        Self { questions, happenings }
    }

    /// Asks the node.
    pub(crate) async fn ask(&self, command: Command) -> Result<Answer, CommandError> {
        let stopped = || CommandError {
            kind: ErrorKind::Unavailable,
            message: "the node is stopping".into(),
            hint: Some("start it again with `mesh up`".into()),
        };
        let (answer, wait) = oneshot::channel();
        self.questions.send(Question { command, answer }).await.map_err(|_| stopped())?;
        wait.await.map_err(|_| stopped())?
    }

    /// Everything that happens from now on. A watcher that is too slow misses some.
    pub(crate) fn watch(&self) -> broadcast::Receiver<Happening> {
        self.happenings.subscribe()
    }
}

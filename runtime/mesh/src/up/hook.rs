//! The owner's program that is asked about each offer.
// spec: PERM-5

use super::driver::Arrival;
use crate::program::Program;
use mesh_node::{HOOK_MS, HookSays, Input, OfferView};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// Most bytes of an answer that are read: a word and two sentences.
const MAX_ANSWER: u64 = 1024;
/// Asked at once: each is a process, and whoever is granted something can send offers as fast as the line allows.
// spec: ARC-7
const AT_ONCE: usize = 8;
/// What of an offer's time is for the program itself; the rest is for starting and reading it.
const PATIENCE: Duration = Duration::from_millis(HOOK_MS - 500);

/// The program.
#[derive(Debug, Clone)]
pub(crate) struct Hook {
    command: Arc<str>,
    asked: Arc<AtomicUsize>,
    arrivals: mpsc::Sender<Arrival>,
}

impl Hook {
    pub(super) fn new(command: &str, arrivals: mpsc::Sender<Arrival>) -> Self {
        Self { command: command.into(), asked: Arc::default(), arrivals }
    }

    /// Asks on a thread of its own; the answer goes to the node.
    // spec: ARC-5
    pub(super) fn ask(&self, offer: OfferView) -> Option<Input> {
        let attempt = offer.attempt;
        if self.asked.fetch_add(1, Ordering::Relaxed) >= AT_ONCE {
            self.asked.fetch_sub(1, Ordering::Relaxed);
            return Some(Input::Hook(attempt, HookSays::Later("too many offers are asked about".into())));
        }
        let this = self.clone();
        let work = move || {
            let says = ask(&this.command, &offer, PATIENCE);
            this.asked.fetch_sub(1, Ordering::Relaxed);
            let _node_gone = this.arrivals.blocking_send(Input::Hook(attempt, says).into());
        };
        match std::thread::Builder::new().name("hook".into()).spawn(work) {
            Ok(_) => None,
            Err(error) => {
                self.asked.fetch_sub(1, Ordering::Relaxed);
                let why = format!("their program could not be asked: {error}");
                Some(Input::Hook(attempt, HookSays::Later(why)))
            }
        }
    }
}

/// Whatever is not clearly a yes is a no: an owner who asks to be asked wants no guess.
fn ask(command: &str, offer: &OfferView, patience: Duration) -> HookSays {
    let program = Program { what: "their program", command, patience, most: MAX_ANSWER };
    let said = serde_json::to_vec(offer)
        .map_err(|error| format!("the offer could not be written: {error}"))
        .and_then(|mut offer| {
            offer.push(b'\n');
            program.run(Some(offer))
        });
    match said {
        Ok(answer) => understood(&answer),
        Err(why) => {
            tracing::warn!(why, "an offer is refused, since the hook gave no answer");
            HookSays::Refuse(why)
        }
    }
}

fn understood(answer: &[u8]) -> HookSays {
    let text = String::from_utf8_lossy(answer);
    let text = text.trim();
    let (word, why) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let why = if why.trim().is_empty() { "no reason given" } else { why.trim() };
    match word.trim_end_matches(':').to_ascii_lowercase().as_str() {
        "accept" => HookSays::Accept,
        "refuse" => HookSays::Refuse(why.into()),
        "later" => HookSays::Later(why.into()),
        _ => HookSays::Refuse("their program said neither accept nor refuse nor later".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_protocol::frame::AttemptId;
    use mesh_protocol::ids::{ModuleHash, TaskId};
    use mesh_protocol::key::{PublicKey, UserKey};
    use mesh_protocol::limits::Limits;
    use mesh_protocol::permissions::Permissions;
    use mesh_protocol::task::{Importance, Sla};

    fn offer() -> OfferView {
        OfferView {
            attempt: AttemptId { task: TaskId([7; 32]), attempt: 2 },
            name: "database-cleanup".into(),
            user: "alice".into(),
            user_key: UserKey(PublicKey([1; 32])),
            device: PublicKey([2; 32]),
            module: ModuleHash([3; 32]),
            bytes: 1000,
            args: vec!["--all".into()],
            sla: Sla::Eco,
            importance: Importance::Low,
            health: false,
            limits: Limits::default(),
            permissions: Permissions::default(),
            created_ms: 5,
            resumes: false,
        }
    }

    fn says(command: &str) -> HookSays {
        ask(command, &offer(), Duration::from_secs(30))
    }

    // spec: PERM-5
    #[test]
    fn the_owners_program_reads_the_offer_and_decides() {
        assert_eq!(says("echo accept"), HookSays::Accept);
        assert_eq!(says("echo 'Refuse: not on a sunday'"), HookSays::Refuse("not on a sunday".into()));
        assert_eq!(
            says("echo later the children do homework"),
            HookSays::Later("the children do homework".into())
        );
        assert_eq!(says("echo refuse"), HookSays::Refuse("no reason given".into()));
        let picky = r#"grep -q '"user":"alice"' && echo accept || echo refuse who are you"#;
        assert_eq!(says(picky), HookSays::Accept);
        let wants = |part: &str| says(&format!("grep -qF '{part}' && echo accept || echo refuse"));
        for part in
            [r#""name":"database-cleanup""#, r#""importance":"LOW""#, r#""sla":"ECO""#, r#""health":false"#]
        {
            assert_eq!(wants(part), HookSays::Accept, "{part}");
        }
    }

    // spec: PERM-5
    #[test]
    fn a_program_that_hangs_fails_or_talks_nonsense_refuses() {
        let refused =
            |says: HookSays| if let HookSays::Refuse(why) = says { why } else { panic!("{says:?}") };
        assert!(refused(says("echo maybe")).contains("neither accept"));
        assert!(refused(says("true")).contains("neither accept"));
        assert!(refused(says("printf '\\377\\376'")).contains("neither accept"));
        assert!(refused(says("echo accept; exit 1")).contains("exit status: 1"));
        assert!(refused(says("yes accepted")).len() < 200);
        let slow = ask("sleep 60", &offer(), Duration::from_millis(50));
        assert!(refused(slow).contains("did not answer"));
    }

    // spec: PERM-5, ARC-5, ARC-7
    #[test]
    fn no_more_are_asked_at_once_than_there_is_room_for() {
        let (sender, mut arrivals) = mpsc::channel(64);
        let hook = Hook::new("sleep 0.3; echo accept", sender);
        let at_once = (0..AT_ONCE + 3).filter_map(|_| hook.ask(offer())).count();
        assert_eq!(at_once, 3);
        for _ in 0..AT_ONCE {
            let arrival = arrivals.blocking_recv().unwrap();
            let Arrival::Node(input) = arrival else { panic!("{arrival:?}") };
            assert!(matches!(*input, Input::Hook(_, HookSays::Accept)), "{input:?}");
        }
        assert!(hook.ask(offer()).is_none(), "there is room again");
    }
}

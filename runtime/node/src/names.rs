//! Who and what is meant by what somebody typed. A name is only what its owner says, so it never stands against a key.
// spec: NET-2, DEL-1

use crate::command::{CommandError, ErrorKind};
use crate::node::{Node, error};
use mesh_protocol::ids::TaskId;
use mesh_protocol::key::{PublicKey, UserKey};
use mesh_protocol::ledger::{check_new_name, reads_like_a_key};
use mesh_protocol::text::sanitise;

/// Digits of a key or id that stand for it at least. 4: one of 65,536 is not met by chance among a few hundred.
const FEWEST_DIGITS: usize = 4;
/// Digits of a whole key or id.
const ALL_DIGITS: usize = 64;
/// Named where several are meant. 5: a line; a list has the rest.
const NAMED: usize = 5;

/// Digits alone, as many as a whole key or id has: then no name is meant by it.
fn is_whole(text: &str) -> bool {
    text.len() == ALL_DIGITS && reads_like_a_key(text)
}

/// Is this the beginning of that key or id?
pub(crate) fn begins(key: &impl ToString, text: &str) -> bool {
    text.len() >= FEWEST_DIGITS && key.to_string().starts_with(&text.to_ascii_lowercase())
}

/// Is something of this key and name meant by the text?
pub(crate) fn is_meant(key: &impl ToString, name: &str, text: &str) -> bool {
    begins(key, text) || (!is_whole(text) && !text.is_empty() && name == text)
}

/// A name and the beginning of a key, since the name alone could be anybody's.
pub(crate) fn with_key(name: &str, key: &impl ToString) -> String {
    let digits: String = key.to_string().chars().take(10).collect();
    format!("{} ({digits})", sanitise(name, false))
}

/// The one that is meant.
pub(crate) fn one<T: Copy + ToString>(
    found: &[(T, String)],
    what: &str,
    text: &str,
    hint: &str,
) -> Result<T, CommandError> {
    match found {
        [] if text.is_empty() => Err(error(
            ErrorKind::Invalid,
            format!("find the {what}: no name and no id was given"),
            Some(hint),
        )),
        [] => Err(error(
            ErrorKind::NotFound,
            format!("find the {what} {text:?}: there is none of that name or id"),
            Some(hint),
        )),
        [(one, _)] => Ok(*one),
        _ => {
            let mut named: Vec<String> =
                found.iter().take(NAMED).map(|(key, name)| with_key(name, key)).collect();
            named.extend((found.len() > NAMED).then(|| "…".to_owned()));
            let named = named.join(", ");
            Err(error(
                ErrorKind::Ambiguous,
                format!("find the {what} {text:?}: {} are meant by that: {named}", found.len()),
                Some("give the beginning of the right one's key or id, or all 64 digits of it"),
            ))
        }
    }
}

/// May a task be called so from now on?
pub(crate) fn check_task_name(name: &str) -> Result<(), CommandError> {
    match check_new_name(name) {
        Err(why) if reads_like_a_key(name) => Err(error(
            ErrorKind::Invalid,
            format!("name the task {name:?}: {why}"),
            Some("give another name with --name"),
        )),
        // What else a task's name must be is checked with the whole task.
        _ => Ok(()),
    }
}

impl Node {
    /// A user as a person can tell them from others of that name.
    pub(crate) fn user_shown(&self, user: &UserKey) -> String {
        with_key(&self.user_name(user), &self.ledger.governance().current(*user))
    }

    /// The same of a device.
    pub(crate) fn device_shown(&self, device: &PublicKey) -> String {
        with_key(&self.device_name(device), device)
    }

    pub(crate) fn find_device(&self, text: &str) -> Result<PublicKey, CommandError> {
        let governance = self.ledger.governance();
        let found: Vec<(PublicKey, String)> = governance
            .devices()
            .keys()
            .filter(|device| governance.owner(device).is_some())
            .map(|device| (*device, self.device_name(device)))
            .filter(|(device, name)| is_meant(device, name, text))
            .collect();
        one(&found, "device", text, "`mesh peers` lists them")
    }

    pub(crate) fn find_user(&self, text: &str) -> Result<UserKey, CommandError> {
        self.find_user_among(text, false)
    }

    /// The same, and where no member of now is meant, one of before.
    pub(crate) fn find_user_ever(&self, text: &str) -> Result<UserKey, CommandError> {
        match self.find_user_among(text, false) {
            Err(failed) if failed.kind == ErrorKind::NotFound => self.find_user_among(text, true),
            found => found,
        }
    }

    fn find_user_among(&self, text: &str, before: bool) -> Result<UserKey, CommandError> {
        let governance = self.ledger.governance();
        // Whoever has their key replaced is still found by the old one.
        let text = match text.parse::<PublicKey>() {
            Ok(key) => governance.current(UserKey(key)).to_string(),
            Err(_) => text.to_owned(),
        };
        let found: Vec<(UserKey, String)> = governance
            .members()
            .iter()
            .filter(|(_, member)| if before { member.is_expelled() } else { member.is_in() })
            .filter(|(user, member)| is_meant(*user, &member.name, &text))
            .map(|(user, member)| (*user, member.name.clone()))
            .collect();
        one(&found, "member", &text, "`mesh members` lists them")
    }

    pub(crate) fn find_task(&self, text: &str) -> Result<TaskId, CommandError> {
        let tasks = self.tasks.iter().filter(|(_, task)| !task.is_twin());
        let found: Vec<(TaskId, String)> = tasks
            .filter(|(id, task)| is_meant(*id, &task.spec().name, text))
            .map(|(id, task)| (*id, task.spec().name.clone()))
            .collect();
        if found.is_empty() && self.runs_for_another(text) {
            return Err(error(
                ErrorKind::NotFound,
                format!("find the task {text:?}: it is another member's, and runs here for them"),
                Some("`mesh status` shows what runs here; its submitter sees the rest"),
            ));
        }
        one(&found, "task", text, "`mesh task ls` lists this device's tasks")
    }

    fn runs_for_another(&self, text: &str) -> bool {
        self.attempts
            .iter()
            .any(|(id, attempt)| attempt.state().is_live() && is_meant(&id.task, &attempt.spec().name, text))
    }
}

//! The lives of tasks and attempts as tables that a person can read and compare.
// spec: DEL-9

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use mesh_node::{AttemptEvent, AttemptState, TaskEvent, TaskState};
use std::collections::BTreeSet;
use std::fmt::Debug;

/// What the table of a life says, by state and event.
fn table<S: Debug + Copy, E: Debug + Copy>(states: &[S], events: &[E], on: fn(S, E) -> Option<S>) -> String {
    let mut rows = vec![[vec![String::new()], names(events)].concat()];
    for state in states {
        let next = events.iter().map(|event| on(*state, *event));
        let next = next.map(|next| next.map_or_else(|| "·".into(), |next| format!("{next:?}")));
        rows.push([vec![format!("{state:?}")], next.collect()].concat());
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<String> =
            row.iter().enumerate().map(|(at, cell)| format!("{cell:<width$}", width = width(at))).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
        if number == 0 {
            let rule: Vec<String> = (0..row.len()).map(|at| "-".repeat(width(at))).collect();
            text.push_str(&format!("| {} |\n", rule.join(" | ")));
        }
    }
    text
}

fn names(list: &[impl Debug]) -> Vec<String> {
    list.iter().map(|it| format!("{it:?}")).collect()
}

fn tasks() -> String {
    table(&TaskState::ALL, &TaskEvent::ALL, TaskState::on)
}

fn attempts() -> String {
    table(&AttemptState::ALL, &AttemptEvent::ALL, AttemptState::on)
}

// spec: DEL-9
#[test]
fn the_table_of_a_tasks_life() {
    insta::assert_snapshot!(tasks());
}

// spec: DEL-9
#[test]
fn the_table_of_an_attempts_life() {
    insta::assert_snapshot!(attempts());
}

/// What each state means to whoever asks.
fn task_sentence(state: TaskState) -> &'static str {
    match state {
        TaskState::Waiting => {
            "No peer has it: it waits for one that may, can and will take it, and is looked at again whenever a peer, a grant or energy changes."
        }
        TaskState::Offered => {
            "One peer was asked: it goes on when that peer takes it, and elsewhere when it does not or says nothing for five seconds."
        }
        TaskState::Running => {
            "A peer has taken it: it ends with a result, waits for another peer when this one loses it or falls silent, and is moved there from its checkpoint when energy gets worse."
        }
        TaskState::Fetching => {
            "A peer has its result: it is done once the result is here and holds, and waits for another peer if it does not hold; where only the line or this device's disk is in the way, it is asked for again."
        }
        TaskState::Done => "Its result is here; nothing can change that.",
        TaskState::Failed => {
            "It was tried as often as the rules allow, or could not be run at all; nothing can change that."
        }
        TaskState::Cancelled => "Its owner took it back; nothing can change that.",
    }
}

fn attempt_sentence(state: AttemptState) -> &'static str {
    match state {
        AttemptState::Held => {
            "The entries that its offer rests on are not all here: it is judged when they come, and refused when they do not come in three seconds."
        }
        AttemptState::Preparing => {
            "This device has taken it: it starts when its module and inputs are here, and is lost if they cannot be had."
        }
        AttemptState::Running => "It computes until it ends, is held or stopped, or its lease runs out.",
        AttemptState::Paused => {
            "The device's owner holds it, its energy is not there, its own owner waits for a cleaner hour, or the device slept: it goes on when it may, unless its lease runs out first."
        }
        AttemptState::Ended => {
            "Its result waits for its owner, who fetches and settles it; it is forgotten then, or when the rules' time for results has passed."
        }
        AttemptState::Releasing => {
            "Its result is its task's: what it changed in this device's shares is put in place, if the originals are as they were; a restart begins that anew."
        }
        AttemptState::Gone => "It is over, and this device keeps no record of it beside the ledger.",
    }
}

fn document() -> String {
    let mut text = String::from(
        "# The lives of tasks and attempts\n\n\
         A task is its submitter's; an attempt is the executing peer's. Down: where it is. Across: what happens. Each cell \
         says\nwhere it is then; `·` changes nothing. This page is written from the code: after a change,\n\
         `MESH_UPDATE_DOCS=1 cargo test -p mesh-node --test states` writes it anew.\n\n## Tasks\n\n",
    );
    text.push_str(&tasks());
    text.push('\n');
    for state in TaskState::ALL {
        text.push_str(&format!("- **{state:?}**: {}\n", task_sentence(state)));
    }
    text.push_str("\n## Attempts\n\n");
    text.push_str(&attempts());
    text.push('\n');
    for state in AttemptState::ALL {
        text.push_str(&format!("- **{state:?}**: {}\n", attempt_sentence(state)));
    }
    text
}

// spec: DEL-9
#[test]
#[allow(clippy::disallowed_methods, reason = "whoever changed a table asks for its page anew")]
fn the_page_about_them_says_what_the_code_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/task-states.md");
    if std::env::var("MESH_UPDATE_DOCS").is_ok() {
        std::fs::write(path, document()).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap();
    assert_eq!(page, document(), "write it anew: MESH_UPDATE_DOCS=1 cargo test -p mesh-node --test states");
}

/// Every state that one can come to from here.
fn reached<S: Copy + Ord, E: Copy>(from: S, events: &[E], on: fn(S, E) -> Option<S>) -> BTreeSet<S> {
    let mut seen = BTreeSet::from([from]);
    let mut next = vec![from];
    while let Some(state) = next.pop() {
        next.extend(events.iter().filter_map(|event| on(state, *event)).filter(|state| seen.insert(*state)));
    }
    seen
}

// spec: DEL-9, DEL-11
#[test]
fn every_task_can_end_in_every_way_and_stays_as_it_ended() {
    let over = [TaskState::Done, TaskState::Failed, TaskState::Cancelled];
    for state in TaskState::ALL {
        assert_eq!(state.is_over(), over.contains(&state));
        let ways = reached(state, &TaskEvent::ALL, TaskState::on);
        if state.is_over() {
            assert_eq!(ways, BTreeSet::from([state]), "{state:?} is final");
            assert!(TaskEvent::ALL.iter().all(|event| state.on(*event).is_none()));
        } else {
            assert!(over.iter().all(|end| ways.contains(end)), "{state:?} cannot end in every way: {ways:?}");
        }
    }
    let from_start = reached(TaskState::Waiting, &TaskEvent::ALL, TaskState::on);
    assert_eq!(from_start, BTreeSet::from(TaskState::ALL), "every state can be come to");
}

// spec: DEL-9, DEL-11
#[test]
fn every_attempt_can_end_and_stays_gone() {
    for state in AttemptState::ALL {
        let ways = reached(state, &AttemptEvent::ALL, AttemptState::on);
        if state == AttemptState::Gone {
            assert_eq!(ways, BTreeSet::from([state]));
        } else {
            assert!(ways.contains(&AttemptState::Gone), "{state:?} cannot end: {ways:?}");
        }
    }
    let from_start = reached(AttemptState::Held, &AttemptEvent::ALL, AttemptState::on);
    assert_eq!(from_start, BTreeSet::from(AttemptState::ALL), "every state can be come to");
}

// spec: DEL-9, DEL-11
#[test]
fn every_event_does_something_somewhere() {
    for event in TaskEvent::ALL {
        assert!(TaskState::ALL.iter().any(|state| state.on(event).is_some()), "{event:?}");
    }
    for event in AttemptEvent::ALL {
        assert!(AttemptState::ALL.iter().any(|state| state.on(event).is_some()), "{event:?}");
    }
    // A result takes effect from one state alone, and only the attempts that take a slot can compute.
    let settled = TaskState::ALL.into_iter().filter(|state| state.on(TaskEvent::Settle).is_some());
    assert_eq!(settled.collect::<Vec<_>>(), [TaskState::Fetching]);
    let ends = AttemptState::ALL.into_iter().filter(|state| state.on(AttemptEvent::End).is_some());
    assert!(ends.into_iter().all(AttemptState::is_live));
}

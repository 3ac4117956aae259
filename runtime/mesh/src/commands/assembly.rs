//! `mesh vote`, `ballots`, `quota`, `reputation`, `contribute`, and rules by vote.
// spec: VOTE-1, QUOTA-4, REP-1, HEALTH-3

use super::shown::{about, count as counted, grams, sheet, table, time, wh};
use super::views::Community;
use crate::args::{Ballots, Contribute, Propose, Quota, Reputation, Show, Stats, Vote, VoteRules};
use crate::client::{Client, named, segment, understand};
use crate::exit_codes;
use crate::failure::{Failure, Result};
use mesh_protocol::ids::{EntryId, TaskId};
use mesh_protocol::rules::Rules;
use mesh_protocol::task::Importance;
use mesh_protocol::text::sanitise;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const TASKS: &str = "`mesh task ls` and `mesh ballots` list tasks";

pub(super) fn vote(vote: &Vote) -> Result<u8> {
    let client = Client::find()?;
    let task = named("task", &vote.task, TASKS)?;
    match vote.importance {
        Some(importance) => {
            let asked = json!({ "importance": importance, "comment": vote.why });
            let answer = client.post(&format!("/v1/votes/{task}"), &asked)?;
            crate::say!(
                "you voted {} on {}; it counts once others have seen it: `mesh ballots` shows the ballot",
                word(&importance),
                about(&answer, &vote.task)
            );
        }
        None => {
            let answer = client.post(&format!("/v1/votes/{task}/dispute"), &json!({ "why": vote.why }))?;
            crate::say!("you dispute that {} is a matter of public health", about(&answer, &vote.task));
        }
    }
    Ok(exit_codes::OK)
}

/// A level as the rules write it.
fn word(level: &impl Serialize) -> String {
    serde_json::to_value(level).ok().and_then(|value| Some(value.as_str()?.to_owned())).unwrap_or_default()
}

#[derive(Deserialize)]
struct Ballot {
    task: TaskId,
    name: String,
    user: String,
    state: String,
    importance: Option<Importance>,
    confidence: Option<String>,
    weights: Vec<(Importance, u64)>,
    votes: Vec<OneVote>,
    unseen: Vec<Unseen>,
    closes_ms: u64,
    disputed_claim: Option<Importance>,
    left_out: Vec<EntryId>,
    health: bool,
    disputes: Vec<(String, String)>,
    dispute_upheld: bool,
}

#[derive(Deserialize)]
struct OneVote {
    user: String,
    importance: Importance,
    comment: String,
}

#[derive(Deserialize)]
struct Unseen {
    user: String,
    importance: Importance,
    seen_by: usize,
    needed: usize,
}

pub(super) fn ballots(ballots: &Ballots) -> Result<u8> {
    let path = match &ballots.task {
        Some(task) => format!("/v1/votes/{}", named("task", task, TASKS)?),
        None => "/v1/votes".into(),
    };
    let value = Client::find()?.get(&path)?;
    if ballots.json {
        super::print_json(&value)?;
        return Ok(exit_codes::OK);
    }
    let list: Vec<Ballot> = understand(value)?;
    match (ballots.task.is_some(), list.as_slice()) {
        (true, [one]) => super::print(&sheet(&told(one)))?,
        _ => {
            let rows = list.iter().map(|it| {
                vec![
                    it.task.short(),
                    it.name.clone(),
                    it.user.clone(),
                    it.votes.len().to_string(),
                    result(it),
                ]
            });
            super::print(&table(&["TASK", "NAME", "OWNER", "VOTES", "RESULT"], rows))?;
        }
    }
    Ok(exit_codes::OK)
}

fn result(ballot: &Ballot) -> String {
    let share = ballot.confidence.as_ref().map_or_else(String::new, |share| format!(" ({share})"));
    let level = ballot.importance.as_ref().map(word).unwrap_or_default();
    match ballot.state.as_str() {
        _ if ballot.health => "public health: CRITICAL".into(),
        "open" => format!("open until {}", time(ballot.closes_ms)),
        "decided" => format!("{level}{share}"),
        "none" => "nobody is asked".into(),
        "waits for voters" if !ballot.unseen.is_empty() => "waits until others have seen the votes".into(),
        other => other.into(),
    }
}

fn told(ballot: &Ballot) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("task", format!("{} {} of {}", ballot.task, ballot.name, ballot.user)),
        ("result", result(ballot)),
    ];
    // Under some rules a vote weighs more than one.
    let weights: Vec<String> =
        ballot.weights.iter().map(|(level, weight)| format!("{} {weight}", word(level))).collect();
    lines.extend((!weights.is_empty()).then(|| ("weights", weights.join(", "))));
    for vote in &ballot.votes {
        let comment = if vote.comment.is_empty() { String::new() } else { format!(": {}", vote.comment) };
        lines.push(("vote", format!("{} {}{comment}", vote.user, word(&vote.importance))));
    }
    for vote in &ballot.unseen {
        let Unseen { user, importance, seen_by, needed } = vote;
        lines.push((
            "not yet",
            format!(
                "{user} {}: it counts once {needed} others have seen it; {seen_by} have, and who is away does when back",
                word(importance)
            ),
        ));
    }
    lines.extend(ballot.disputes.iter().map(|(user, why)| ("disputed", format!("{user}: {why}"))));
    if ballot.dispute_upheld {
        lines.push(("disputed", "the members took the flag of public health away".into()));
    }
    if let Some(claimed) = &ballot.disputed_claim {
        lines.push(("disputed", format!("its owner says {}, which the votes do not", word(claimed))));
    }
    for entry in &ballot.left_out {
        lines.push(("disputed", format!("its owner left the vote {} out", entry.short())));
    }
    lines
}

pub(super) fn quota(quota: &Quota) -> Result<u8> {
    #[derive(Deserialize)]
    struct Answer {
        user: String,
        tier: String,
        allowed: Option<u64>,
        used: u64,
        #[serde(default)]
        health: u64,
        left: Option<u64>,
        share: u16,
        longest_ms: u64,
        memory_bytes: u64,
        resets_ms: u64,
        next: Option<Next>,
    }
    #[derive(Deserialize)]
    struct Next {
        tier: String,
        any: bool,
        missing: Vec<(u64, String)>,
    }
    let client = Client::find()?;
    if let Some(zone) = &quota.zone {
        client.post("/v1/zone", &json!({ "zone": zone }))?;
        crate::say!("your day begins at midnight in {zone}");
    }
    let value = client.get(&of_user("/v1/quota", quota.user.as_deref()))?;
    if quota.json {
        super::print_json(&value)?;
        return Ok(exit_codes::OK);
    }
    let it: Answer = understand(value)?;
    let count = |count: Option<u64>| count.map_or_else(|| "no limit".into(), |count| count.to_string());
    let mut lines = vec![
        ("member", it.user),
        ("tier", it.tier),
        (
            "tasks a day",
            format!(
                "{} on this device ({} % of the member's)",
                count(it.allowed),
                f64::from(it.share) / 10.0
            ),
        ),
        (
            "used today",
            match it.health {
                0 => it.used.to_string(),
                more => format!("{}, and {more} of public health beyond the quota", it.used),
            },
        ),
        ("left today", count(it.left)),
        ("each task", format!("up to {} min and {}", it.longest_ms / 60_000, super::human(it.memory_bytes))),
        ("resets", time(it.resets_ms)),
    ];
    if let Some(next) = it.next {
        let missing: Vec<String> = next
            .missing
            .iter()
            // What is not counted has no number.
            .map(|(count, what)| if *count > 0 { format!("{count} {what}") } else { what.clone() })
            .collect();
        let joint = if next.any { ", or " } else { ", and " };
        lines.push(("missing", format!("for {}: {}", next.tier, missing.join(joint))));
    }
    super::print(&sheet(&lines))?;
    Ok(exit_codes::OK)
}

fn of_user(path: &str, user: Option<&str>) -> String {
    user.map_or_else(|| path.to_owned(), |user| format!("{path}?user={}", segment(user)))
}

pub(super) fn reputation(reputation: &Reputation) -> Result<u8> {
    #[derive(Deserialize)]
    struct Answer {
        user: String,
        sum: u64,
        terms: Vec<(String, i64)>,
    }
    let value = Client::find()?.get(&of_user("/v1/reputation", reputation.user.as_deref()))?;
    if reputation.json {
        super::print_json(&value)?;
        return Ok(exit_codes::OK);
    }
    let it: Answer = understand(value)?;
    let rows = it.terms.into_iter().map(|(term, points)| vec![term, format!("{points:+}")]);
    let sum = vec![format!("reputation of {}, from 0 to 100", it.user), it.sum.to_string()];
    super::print(&table(&["TERM", "POINTS"], rows.chain([sum])))?;
    Ok(exit_codes::OK)
}

/// What tasks used and saved.
// spec: API-3
pub(super) fn stats(stats: &Stats) -> Result<u8> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        of: Option<String>,
        tasks_executed: u64,
        total_carbon_saved: f64,
        energy_used_clean: f64,
        energy_used_dirty: f64,
        renewable_percent: f64,
        average_deferral_time: f64,
        this_month: Month,
        tasks_unaccounted: u64,
        attempts_unmeasured: u64,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Month {
        tasks_deferred: u64,
        carbon_saved: f64,
    }
    let path = match &stats.peer {
        Some(peer) => format!("/v1/stats?peer={}", segment(peer)),
        None => of_user("/v1/stats", stats.user.as_deref()),
    };
    let value = Client::find()?.get(&path)?;
    if stats.json {
        super::print_json(&value)?;
        return Ok(exit_codes::OK);
    }
    let it: Answer = understand(value)?;
    let carbon = |kg: f64| grams((kg * 1e9) as i64);
    let energy = |hours: f64| wh((hours * 3_600_000.0) as u64);
    super::print(&sheet(&[
        ("of", it.of.unwrap_or_else(|| "the community".into())),
        ("tasks done", it.tasks_executed.to_string()),
        ("carbon saved", carbon(it.total_carbon_saved)),
        ("clean energy", energy(it.energy_used_clean)),
        ("dirty energy", energy(it.energy_used_dirty)),
        ("renewable", format!("{:.1} %", it.renewable_percent)),
        ("mean deferral", format!("{:.2} h", it.average_deferral_time)),
        (
            "this month",
            format!(
                "{} deferred, {} saved",
                it.this_month.tasks_deferred,
                carbon(it.this_month.carbon_saved)
            ),
        ),
        ("saving unknown", counted(it.tasks_unaccounted, "task")),
        ("unmeasured", counted(it.attempts_unmeasured, "attempt")),
    ]))?;
    Ok(exit_codes::OK)
}

pub(super) fn contribute(contribute: &Contribute) -> Result<u8> {
    let (unit, amount) = match (contribute.money, contribute.hours) {
        (Some(cents), _) => ("money", cents),
        (None, minutes) => ("hours", minutes.unwrap_or_default()),
    };
    let asked = json!({ "user": contribute.user, "unit": unit, "amount": amount, "month": contribute.month });
    let answer = Client::find()?.post("/v1/contributions", &asked)?;
    let whom = about(&answer, &contribute.user);
    crate::say!("recorded for {whom}; `mesh quota {}` shows their tier", sanitise(&contribute.user, false));
    Ok(exit_codes::OK)
}

pub(super) fn propose(propose: &Propose) -> Result<u8> {
    let client = Client::find()?;
    let present: Community = client.read("/v1/community")?;
    let rules = super::community::read_rules(&propose.rules, &present.rules)?;
    let changes = super::community::changes(&present.rules, &rules);
    if changes.is_empty() {
        return Err(Failure::new(format!(
            "propose the rules {}: they are those in force",
            propose.rules.display()
        ))
        .hint("write into it what shall differ; `mesh community rules` prints what is in force"));
    }
    let asked = json!({ "rules": rules, "why": propose.why });
    let before: Value = client.get("/v1/proposals")?;
    let answer = client.post("/v1/proposals", &asked)?;
    super::print(&format!("{}\n", answer["entry"].as_str().unwrap_or_default()))?;
    for change in changes {
        crate::say!("{change}");
    }
    crate::say!("proposed; members vote with `mesh community vote ID yes|no`");
    for other in still_open(&before) {
        crate::say!(
            "warning: the proposal {other} is open, too: if both are adopted and change the same rule, the one adopted \
             later holds"
        );
    }
    Ok(exit_codes::OK)
}

/// The beginnings of the ids of proposals that are not decided.
// spec: VOTE-2
fn still_open(proposals: &Value) -> Vec<&str> {
    let all = proposals.as_array().into_iter().flatten();
    let open = all.filter(|it| it["state"] == "open");
    open.filter_map(|it| it["proposal"].as_str()?.get(..10)).collect()
}

pub(super) fn vote_rules(vote: &VoteRules) -> Result<u8> {
    let proposal = named("proposal", &vote.proposal, "`mesh community proposals` lists them")?;
    let path = format!("/v1/proposals/{proposal}/vote");
    Client::find()?.post(&path, &json!({ "yes": vote.answer == "yes" }))?;
    crate::say!("you voted {} on the rules {}", vote.answer, vote.proposal);
    Ok(exit_codes::OK)
}

pub(super) fn proposals(show: &Show) -> Result<u8> {
    #[derive(Deserialize)]
    struct Proposal {
        proposal: EntryId,
        user: String,
        why: String,
        state: String,
        weights: (u64, u64),
        rules: Rules,
    }
    let client = Client::find()?;
    let value: Value = client.get("/v1/proposals")?;
    if show.json {
        super::print_json(&value)?;
        return Ok(exit_codes::OK);
    }
    let list: Vec<Proposal> = understand(value)?;
    let present: Community = client.read("/v1/community")?;
    let is_decided = |state: &str| state == "adopted" || state.starts_with("rejected");
    let undecided = list.iter().filter(|it| !is_decided(&it.state));
    let changes: String = undecided
        .flat_map(|it| {
            let id = it.proposal.short();
            let changes = super::community::changes(&present.rules, &it.rules);
            changes.into_iter().map(move |change| format!("{id} {}\n", sanitise(&change, false)))
        })
        .collect();
    let rows = list.into_iter().map(|it| {
        let (yes, no) = it.weights;
        vec![it.proposal.short(), it.user, it.state, yes.to_string(), no.to_string(), it.why]
    });
    super::print(&table(&["PROPOSAL", "BY", "STATE", "FOR", "AGAINST", "WHY"], rows))?;
    super::print(&changes)?;
    Ok(exit_codes::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: VOTE-2
    #[test]
    fn who_proposes_beside_an_open_proposal_is_told() {
        let id = "278139a5ff278139a5ff";
        let list = json!([{ "proposal": id, "state": "open" }, { "proposal": id, "state": "adopted" }]);
        assert_eq!(still_open(&list), ["278139a5ff"]);
    }
}

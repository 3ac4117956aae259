//! `mesh community`, `invite`, `join`, `members`, `device`: who belongs together.
// spec: NET-2

use super::shown::{about, count, sheet, table, time};
use super::views::{Community, Device};
use crate::args::{self, Invite, Join, Members, MembersVerb, Show};
use crate::client::{Client, named, understand};
use crate::exit_codes;
use crate::failure::{Failure, Result};
use mesh_protocol::invite::{Ticket, TicketKind};
use mesh_protocol::rules::Rules;
use mesh_protocol::text::sanitise;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::Path;

/// Longest file of rules, and longest ticket, read.
const MAX_TEXT: u64 = 64 * 1024;
const MEMBERS: &str = "`mesh members` lists everybody";
const DEVICES: &str = "`mesh device ls` lists your devices";

pub(super) fn run(community: &args::Community) -> Result<u8> {
    match community {
        args::Community::Propose(propose) => super::assembly::propose(propose),
        args::Community::Vote(vote) => super::assembly::vote_rules(vote),
        args::Community::Proposals(show) => super::assembly::proposals(show),
        args::Community::New { name, rules } => new(name, rules.as_deref()),
        args::Community::Show(show) => {
            let value = Client::find()?.get("/v1/community")?;
            if show.json {
                super::print_json(&value)?
            } else {
                super::print(&shown(value)?)?
            }
            Ok(exit_codes::OK)
        }
        args::Community::Rules(show) => {
            let value = Client::find()?.get("/v1/community")?;
            if show.json {
                super::print_json(&value["rules"])?;
            } else {
                super::print(&as_toml(&understand::<Community>(value)?.rules)?)?;
            }
            Ok(exit_codes::OK)
        }
    }
}

fn new(name: &str, rules: Option<&Path>) -> Result<u8> {
    let rules = rules.map(|path| read_rules(path, &Rules::default())).transpose()?;
    let client = Client::find()?;
    let answer = client.post("/v1/community", &json!({ "name": name, "rules": rules }))?;
    super::print(&format!("{}\n", answer["community"].as_str().unwrap_or_default()))?;
    crate::say!("{name:?} begins; `mesh invite` makes a ticket for whoever shall join");
    Ok(exit_codes::OK)
}

/// Rules from a file, which says where they differ from others.
pub(super) fn read_rules(path: &Path, from: &Rules) -> Result<Rules> {
    let failed = |error: std::io::Error| Failure::file("read the rules", path, &error);
    let wrong = |why: &str| Failure::new(format!("read the rules {}: {why}", path.display()));
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(failed)?.take(MAX_TEXT + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_TEXT {
        return Err(wrong("the file is larger than 64 KiB").hint("leave out what stays as it is"));
    }
    let text =
        String::from_utf8(bytes).map_err(|_| wrong("it is not text in UTF-8").hint("save it as UTF-8"))?;
    rules_from(&text, from)
        .map_err(|why| wrong(&why).hint("`mesh community rules` prints rules in the form of such a file"))
}

// spec: VOTE-2
fn rules_from(text: &str, from: &Rules) -> std::result::Result<Rules, String> {
    let plain = |error: toml::de::Error| for_people(error.to_string().trim_end());
    // By itself first, since only so it is said on which line something is wrong.
    let _differing: Rules = toml::from_str(text).map_err(plain)?;
    let differing: toml::Table = toml::from_str(text).map_err(plain)?;
    let present = as_toml(from).map_err(|failure| failure.to_string())?;
    let mut whole: toml::Table = toml::from_str(&present).map_err(plain)?;
    whole.extend(differing);
    let rules: Rules = whole.try_into().map_err(plain)?;
    rules.check().map_err(|error| error.to_string())?;
    Ok(rules)
}

/// An error of the library without the words of this program's language.
fn for_people(error: &str) -> String {
    let kinds = [
        ("expected u8", "expected a whole number from 0 to 255"),
        ("expected u16", "expected a whole number from 0 to 65535"),
        ("expected u32", "expected a whole number from 0 to 4294967295"),
        ("expected u64", "expected a whole number of 0 or more"),
        (" as i128", ""),
        (" as u128", ""),
    ];
    kinds.iter().fold(error.to_owned(), |text, (kind, plain)| text.replace(kind, plain))
}

/// What differs between rules, a line each.
// spec: VOTE-2
pub(super) fn changes(from: &Rules, to: &Rules) -> Vec<String> {
    let value = |rules: &Rules| serde_json::to_value(rules).unwrap_or_default();
    let (from, to) = (value(from), value(to));
    let mut lines = Vec::new();
    differ("", &from, &to, &mut lines);
    lines
}

fn differ(name: &str, from: &Value, to: &Value, lines: &mut Vec<String>) {
    match (from, to) {
        _ if from == to => {}
        (Value::Object(from), Value::Object(to)) => {
            for (key, to) in to {
                let full = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                differ(&full, from.get(key).unwrap_or(&Value::Null), to, lines);
            }
        }
        (Value::Array(from), Value::Array(to)) => {
            let only = |sign: &str, these: &[Value], those: &[Value]| -> Vec<String> {
                let only = these.iter().filter(|it| !those.contains(it));
                only.map(|it| format!("{sign}{}", it.as_str().unwrap_or_default())).collect()
            };
            let words = [only("+", to, from), only("-", from, to)].concat();
            let words = if words.is_empty() { "another order".to_owned() } else { words.join(" ") };
            lines.push(format!("{name}: {words}"));
        }
        _ => {
            let name_of_span = name.strip_suffix("_ms");
            let written = |value: &Value| match (name_of_span, value) {
                (Some(_), Value::Number(ms)) => whole_span(ms.as_u64().unwrap_or_default()),
                (_, Value::String(word)) => word.clone(),
                (_, other) => other.to_string(),
            };
            lines.push(format!("{}: {} -> {}", name_of_span.unwrap_or(name), written(from), written(to)));
        }
    }
}

/// How long, in the largest unit that is exact.
fn whole_span(ms: u64) -> String {
    let units = [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1000, "second")];
    match units.into_iter().find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit)) {
        Some((unit, name)) => count(ms / unit, name),
        None if ms == 0 => "0".into(),
        None => format!("{ms} ms"),
    }
}

/// Rules in the form that `--rules` reads: numbers, words, lists of words, and tiers, which are tables of numbers.
fn as_toml(rules: &Rules) -> Result<String> {
    let value = serde_json::to_value(rules).map_err(|error| Failure::because("write the rules", &error))?;
    let written = |value: &Value| match value.as_object() {
        Some(table) => {
            let cells: Vec<String> = table.iter().map(|(name, value)| format!("{name} = {value}")).collect();
            format!("{{ {} }}", cells.join(", "))
        }
        None => value.to_string(),
    };
    let lines = value.as_object().into_iter().flatten();
    Ok(lines.map(|(rule, value)| format!("{rule} = {}\n", written(value))).collect())
}

fn shown(value: Value) -> Result<String> {
    let community: Community = understand(value)?;
    let (mut inside, mut waiting, mut devices) = (0, 0, 0u64);
    for member in &community.members {
        match (member.pending, member.expelled) {
            (true, _) => waiting += 1,
            (false, false) => {
                inside += 1;
                devices +=
                    member.devices.iter().filter(|device| device.counts_until.is_none()).count() as u64;
            }
            (false, true) => {}
        }
    }
    let mut lines = vec![
        ("community", community.name),
        ("id", community.id.to_string()),
        ("members", format!("{inside} with {}", count(devices, "device"))),
    ];
    if waiting > 0 {
        lines.push(("waiting", format!("{waiting} for one more sponsor: `mesh members` lists them")));
    }
    Ok(sheet(&lines))
}

pub(super) fn invite(invite: &Invite, kind: TicketKind) -> Result<u8> {
    #[derive(Deserialize)]
    struct Answer {
        ticket: String,
    }
    let asked = json!({ "kind": kind, "valid_ms": invite.span });
    let Answer { ticket } = understand(Client::find()?.post("/v1/invites", &asked)?)?;
    let parsed = ticket.parse::<Ticket>().ok();
    let who = parsed.as_ref().map_or(kind, |ticket| ticket.kind);
    let until_ms = parsed.map(|ticket| ticket.until_ms);
    if invite.json {
        super::print_json(&json!({ "ticket": ticket, "kind": who, "until_ms": until_ms }))?;
        return Ok(exit_codes::OK);
    }
    super::print(&format!("{ticket}\n"))?;
    let until = until_ms.map_or_else(|| "it ends".into(), time);
    match who {
        TicketKind::Member => {
            crate::say!(
                "Give it to one person: whoever has it may join, once, until {until}: mesh join TICKET"
            );
        }
        TicketKind::Device => {
            crate::say!(
                "Use it on your other device, once, until {until}: mesh init --device-only, mesh up, mesh join TICKET"
            );
            crate::say!(
                "warning: whoever holds it acts as you: it makes their device yours. Give it to nobody; for another person \
                 `mesh invite` makes a ticket"
            );
        }
    }
    Ok(exit_codes::OK)
}

pub(super) fn join(join: &Join) -> Result<u8> {
    #[derive(Deserialize)]
    struct Answer {
        community: String,
        pending: bool,
        of: Option<String>,
    }
    let mut text = join.ticket.clone();
    if text == "-" {
        text.clear();
        let read = std::io::stdin().take(MAX_TEXT).read_to_string(&mut text);
        read.map_err(|error| Failure::because("read the ticket from standard input", &error))?;
    }
    let ticket: Ticket = text.parse().map_err(|error| {
        Failure::because("join", &error).hint("ask for a new one: a member makes it with `mesh invite`")
    })?;
    let client = Client::find()?;
    let name = sanitise(&ticket.name, false);
    match ticket.kind {
        TicketKind::Member => crate::say!("asking to join {name:?} …"),
        TicketKind::Device => crate::say!(
            "asking to become a device of the user with the key {} in {name:?} …",
            ticket.user.0.short()
        ),
    }
    let asked = json!({ "ticket": text.trim(), "as_device_of": join.as_device_of });
    let answer = client.post_patiently("/v1/join", &asked)?;
    let Answer { community, pending, of } = understand(answer)?;
    let community = sanitise(&community, false);
    if let Some(of) = of {
        crate::say!(
            "this device is now one of {}'s in {community:?}, and acts in that name",
            sanitise(&of, false)
        );
    } else if pending {
        crate::say!("asked to join {community:?}, and waits to be let in");
        crate::say!("hint: leave `mesh up` running; `mesh status` says what for, and when you are in");
    } else {
        crate::say!("joined {community:?}");
        crate::say!(
            "hint: `mesh grant --user NAME` lets a member's tasks run here; `mesh peers` lists devices"
        );
    }
    Ok(exit_codes::OK)
}

pub(super) fn members(members: &Members) -> Result<u8> {
    let client = Client::find()?;
    match &members.verb {
        None => {
            let value = client.get("/v1/community")?;
            if members.show.json {
                super::print_json(&value["members"])?;
            } else {
                super::print(&list(understand(value)?))?;
            }
        }
        Some(MembersVerb::Sponsor { who }) => {
            let named = named("newcomer", who, MEMBERS)?;
            let answer = client.post(&format!("/v1/members/{named}/sponsor"), &json!({}))?;
            crate::say!("you vouched for {}", about(&answer, who));
        }
        Some(MembersVerb::Expel { who, why }) => {
            let named = named("member", who, MEMBERS)?;
            let answer = client.post(&format!("/v1/members/{named}/expel"), &json!({ "why": why }))?;
            crate::say!("{} is a member no longer", about(&answer, who));
        }
    }
    Ok(exit_codes::OK)
}

// spec: QUOTA-4
pub(super) fn share_quota(device: &str, percent: u8) -> Result<u8> {
    let asked = json!({ "permille": u16::from(percent) * 10 });
    let named = named("device", device, DEVICES)?;
    let answer = Client::find()?.post(&format!("/v1/devices/{named}/share"), &asked)?;
    crate::say!("{} has {percent} % of your daily quota", about(&answer, device));
    Ok(exit_codes::OK)
}

// spec: NET-1
pub(super) fn revoke_device(device: &str) -> Result<u8> {
    let named = named("device", device, DEVICES)?;
    let answer = Client::find()?.post(&format!("/v1/devices/{named}/revoke"), &json!({}))?;
    crate::say!("{} is yours no more: what it says from now on counts for nobody", about(&answer, device));
    crate::say!(
        "hint: whoever has it may have your user key, too, if that was on it: `mesh key rotate` replaces it"
    );
    Ok(exit_codes::OK)
}

/// This user's devices.
pub(super) fn devices(show: &Show) -> Result<u8> {
    let value = Client::find()?.get("/v1/community")?;
    let members = value["members"].as_array().into_iter().flatten();
    let devices: Vec<Value> = members
        .filter(|member| member["me"] == true)
        .flat_map(|member| member["devices"].as_array().into_iter().flatten().cloned())
        .collect();
    if show.json {
        super::print_json(&devices)?;
        return Ok(exit_codes::OK);
    }
    let devices: Vec<Device> = understand(Value::Array(devices))?;
    let rows = devices.into_iter().map(|device| {
        let state = if device.counts_until.is_some() { "counts no longer" } else { "in use" };
        let share = format!("{} %", f64::from(device.share) / 10.0);
        vec![device.name, state.to_owned(), share, device.device.short()]
    });
    super::print(&table(&["DEVICE", "STATE", "SHARE OF QUOTA", "KEY"], rows))?;
    Ok(exit_codes::OK)
}

fn list(community: Community) -> String {
    let rows = community.members.into_iter().map(|member| {
        let state = match (member.me, member.expelled, member.pending) {
            (true, ..) => "you",
            (_, true, _) => "expelled",
            (.., true) => "waits for a sponsor",
            _ => "member",
        };
        let devices: Vec<String> = member
            .devices
            .into_iter()
            .map(|device| match device.counts_until {
                Some(_) => format!("{} (counts no longer)", device.name),
                None => device.name,
            })
            .collect();
        vec![
            member.name,
            state.to_owned(),
            devices.join(", "),
            member.sponsors.join(", "),
            time(member.since_ms),
            member.user.0.short(),
        ]
    });
    table(&["MEMBER", "STATE", "DEVICES", "SPONSORS", "SINCE", "KEY"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_are_printed_can_be_read() {
        let rules = Rules { max_attempts: 3, ..Rules::default() };
        let read = |text: &str| rules_from(text, &Rules::default());
        assert_eq!(read(&as_toml(&rules).unwrap()), Ok(rules));
        assert_eq!(read(""), Ok(Rules::default()));
        assert!(read("max_attempts = 0").unwrap_err().contains("max_attempts"));
        assert!(read("colour = 1").unwrap_err().contains("unknown field"));
        for (wrong, plain) in [("voting_window_ms = \"x\"", "a whole number"), ("quorum = 70000", "65535")] {
            let said = read(wrong).unwrap_err();
            assert!(said.contains(plain) && !said.contains("expected u") && !said.contains("i128"), "{said}");
        }
    }

    // spec: VOTE-2
    #[test]
    fn a_file_says_what_differs_from_the_rules_in_force() {
        let present = Rules { max_attempts: 3, vote_after_ms: 0, ..Rules::default() };
        let rules = rules_from("vote_after_ms = 604800000", &present).unwrap();
        assert_eq!(rules, Rules { max_attempts: 3, ..Rules::default() });
        assert_eq!(changes(&present, &rules), ["vote_after: 0 -> 7 days"]);
        let text =
            "health_words = [\"fire\"]\nfree = { tasks = 11, longest_ms = 600000, memory_bytes = 100000000 }";
        let said = changes(&present, &rules_from(text, &present).unwrap());
        assert!(said.contains(&"free.tasks: 10 -> 11".to_owned()), "{said:?}");
        assert!(said.iter().any(|it| it.starts_with("health_words: -health ")), "{said:?}");
        assert!(changes(&present, &present).is_empty());
    }

    // spec: VOTE-2, CLI-5
    #[test]
    fn a_file_of_rules_is_text_of_some_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules.toml");
        for (bytes, why) in [(vec![b'#'; 65_537], "64 KiB"), (b"quorum = 1 # caf\xe9".to_vec(), "UTF-8")] {
            std::fs::write(&path, bytes).unwrap();
            let said = read_rules(&path, &Rules::default()).unwrap_err().to_string();
            assert!(said.contains(why) && said.contains("hint:"), "{said}");
        }
    }
}

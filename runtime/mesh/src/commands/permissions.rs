//! `mesh grant`, `revoke`, `permissions`, `trust`: whose tasks run where.
// spec: PERM-1, PERM-3

use super::shown::{about, table, time};
use super::views::Grant as View;
use crate::args::{Grant, Revoke, Show, Trust};
use crate::client::{Client, named, understand};
use crate::exit_codes;
use crate::failure::Result;
use mesh_node::GrantRequest;
use mesh_protocol::ids::ModuleHash;
use mesh_protocol::permissions::{Access, Permissions};
use mesh_protocol::text::sanitise;
use serde_json::{Value, json};
use std::path::Path;

// spec: PERM-1
pub(super) fn grant(grant: &Grant) -> Result<u8> {
    let request = request(grant)?;
    let client = Client::find()?;
    let answer = client.post("/v1/permissions", &request)?;
    super::print(&format!("{}\n", answer["entry"].as_str().unwrap_or_default()))?;
    let end = grant.until.map_or_else(String::new, |until| format!(" until {}", time(until)));
    let whose = about(&answer, &grant.user);
    crate::say!("tasks {} of {whose} may run{end}; `mesh revoke` ends it", grant.task);
    // What another device shares is known there alone.
    if !grant.shares.is_empty() && grant.device.is_none() {
        for name in not_shared(&grant.shares, &client.get("/v1/config").unwrap_or_default()) {
            crate::say!(
                "warning: this device has no share {name}, and such tasks are refused until it has: `mesh up --share \
                 {name}=FOLDER`"
            );
        }
    }
    Ok(exit_codes::OK)
}

/// Shares that a device whose settings are these does not have as they are granted.
// spec: PERM-2
fn not_shared<'a>(granted: &'a [(String, Access)], settings: &Value) -> Vec<&'a str> {
    let all = settings.as_array().into_iter().flatten();
    let shares = all.filter(|one| one["key"] == "shares").filter_map(|one| one["value"].as_str());
    let there: Vec<&str> =
        shares.flat_map(|list| list.split(", ")).filter_map(|one| Some(one.split_once('=')?.0)).collect();
    granted.iter().map(|(name, _)| name.as_str()).filter(|name| !there.contains(name)).collect()
}

fn request(grant: &Grant) -> Result<GrantRequest> {
    let module = match &grant.module {
        None => None,
        Some(text) => Some(match text.parse::<ModuleHash>() {
            Ok(hash) => hash,
            Err(_) => {
                let path = Path::new(text);
                let bytes = super::read_module(path)?;
                // What is no module would be a grant that nothing ever fits.
                mesh_executor::examine(&bytes).map_err(|refusal| {
                    super::load_failure(path, &mesh_executor::StartError::Refused(refusal))
                })?;
                ModuleHash::of(&bytes)
            }
        }),
    };
    let permissions = Permissions {
        shares: grant.shares.iter().cloned().collect(),
        real_clock: grant.real_clock,
        real_random: grant.real_random,
        ..Permissions::default()
    };
    Ok(GrantRequest {
        user: grant.user.clone(),
        device: grant.device.clone(),
        task: grant.task.clone(),
        module,
        until_ms: grant.until,
        permissions: (permissions != Permissions::default()).then_some(permissions),
    })
}

pub(super) fn revoke(revoke: &Revoke) -> Result<u8> {
    let grant = named("grant", &revoke.id, "`mesh permissions` lists grants")?;
    let answer = Client::find()?.delete(&format!("/v1/permissions/{grant}"))?;
    super::print(&format!("{}\n", answer["entry"].as_str().unwrap_or_default()))?;
    crate::say!("revoked; attempts that rest on it end at their next check");
    Ok(exit_codes::OK)
}

pub(super) fn list(show: &Show) -> Result<u8> {
    let value = Client::find()?.get("/v1/permissions")?;
    if show.json {
        super::print_json(&value)?;
        return Ok(exit_codes::OK);
    }
    let grants: Vec<View> = understand(value)?;
    let rows = grants.into_iter().map(|grant| {
        vec![
            grant.grant.short(),
            grant.device,
            grant.user,
            grant.task,
            grant.module.map_or_else(|| "any code".into(), |module| module.short()),
            grant.until_ms.map_or_else(|| "for good".into(), time),
            grant.why_not.unwrap_or_else(|| "in force".into()),
        ]
    });
    super::print(&table(&["GRANT", "ON", "USER", "TASKS", "MODULE", "UNTIL", "STATE"], rows))?;
    Ok(exit_codes::OK)
}

// spec: PERM-3
pub(super) fn trust(trust: &Trust) -> Result<u8> {
    let client = Client::find()?;
    let value = if trust.all || !trust.users.is_empty() {
        client.put("/v1/trust", &json!({ "users": trust.users }))?
    } else {
        client.get("/v1/trust")?
    };
    if trust.json {
        super::print_json(&value)?;
        return Ok(exit_codes::OK);
    }
    match understand::<Option<Vec<String>>>(value)? {
        None => super::print("all members\n")?,
        Some(names) => {
            let lines: String = names.iter().map(|name| format!("{}\n", sanitise(name, false))).collect();
            super::print(&lines)?;
        }
    }
    Ok(exit_codes::OK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser as _;

    fn typed(args: &[&str]) -> Result<GrantRequest> {
        let args = ["mesh", "grant", "--user", "bob"].iter().chain(args);
        let Command::Grant(grant) = Args::try_parse_from(args).unwrap().command else { panic!("not grant") };
        request(&grant)
    }

    // spec: PERM-2
    #[test]
    fn what_is_granted_and_not_shared_is_noticed() {
        let settings =
            json!([{ "key": "slots", "value": "2" }, { "key": "shares", "value": "logs=/var/log:rw, x=/x" }]);
        let granted = [("logs".to_owned(), Access::Rw), ("photos".to_owned(), Access::Ro)];
        assert_eq!(not_shared(&granted, &settings), ["photos"]);
        assert_eq!(not_shared(&granted, &json!([{ "key": "shares", "value": "none" }])), ["logs", "photos"]);
    }

    // spec: PERM-1
    #[test]
    fn a_grant_is_what_was_typed() {
        let plain = typed(&[]).unwrap();
        assert_eq!((plain.task.as_str(), plain.module, plain.permissions), ("*", None, None));
        let hash = "ab".repeat(32);
        let grant =
            typed(&["--module", &hash, "--share", "logs=rw", "--real-clock", "--task", "log-*"]).unwrap();
        let permissions = grant.permissions.unwrap();
        assert_eq!(permissions.shares["logs"], Access::Rw);
        assert!(permissions.real_clock && !permissions.real_random);
        assert_eq!(grant.module.unwrap().to_string(), hash);
        assert!(typed(&["--module", "/nowhere.wasm"]).unwrap_err().to_string().contains("hint:"));
        let unpinned = ["mesh", "grant", "--user", "bob", "--share", "logs=rw"];
        assert!(Args::try_parse_from(unpinned).unwrap_err().to_string().contains("--module"));
    }
}

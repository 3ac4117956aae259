//! `mesh key`: another user key, another passphrase.
// spec: NET-1

use super::views::Community;
use crate::args::Key;
use crate::client::{Client, understand};
use crate::exit_codes;
use crate::failure::{Failure, Result};
use crate::home::Home;
use crate::keys::{self, RECOVERY, USER};
use crate::passphrase::Lock;
use mesh_protocol::key::UserKey;
use mesh_protocol::ledger::{Hlc, Rotation};
use std::path::Path;

pub(super) fn run(key: &Key) -> Result<u8> {
    match key {
        Key::Rotate { recovery } => rotate(recovery.as_deref()),
        Key::Passphrase { none } => passphrase(*none),
    }
}

fn rotate(recovery: Option<&Path>) -> Result<u8> {
    let home = Home::find()?;
    let what = "replace the user key";
    let identity = keys::identity(&home)?
        .ok_or_else(|| Failure::new(format!("{what}: this peer has none")).hint("mesh init"))?;
    if keys::read(&home, USER)?.is_none() {
        return Err(Failure::new(format!("{what}: it is not on this device"))
            .hint("run it on the device on which `mesh init` made the user key"));
    }
    let beside = home.data().join(RECOVERY);
    let path = recovery.unwrap_or(&beside);
    let word = keys::read_at(path, RECOVERY)?.ok_or_else(|| {
        Failure::new(format!("{what}: the recovery key is not at {}", path.display()))
            .hint("name the file that you moved to a safe place with --recovery FILE")
    })?;
    if Some(word.public()) != identity.recovery {
        return Err(Failure::new(format!(
            "{what}: {} holds another recovery key than yours",
            path.display()
        ))
        .hint("only the one that `mesh init` made with your user key can replace that"));
    }
    let client = Client::find()?;
    let community: Community = understand(client.get("/v1/community")?)?;
    let Some(me) = community.members.iter().find(|member| member.me).map(|member| member.user) else {
        return Err(
            Failure::new(format!("{what}: you are not a member")).hint("`mesh status` says how it stands")
        );
    };
    let next = keys::next(&home, USER)?;
    let new = UserKey(next.public());
    // An earlier try may have got this far.
    if me != new {
        let rotation = Rotation::sign(&word, community.id, me, &next, Hlc::at(crate::energy::now_ms()));
        client.post("/v1/keys/rotate", &rotation)?;
    }
    keys::take_place(&home, USER)?;
    super::print(&format!("{}\n", new.0))?;
    crate::say!("that is your user key now; the old one counts for nothing any more");
    crate::say!("next: end `mesh up` and start it again, so that it takes up the new key");
    crate::say!(
        "hint: `mesh device ls` lists your devices; take back with `mesh device revoke` what is not yours"
    );
    Ok(exit_codes::OK)
}

fn passphrase(none: bool) -> Result<u8> {
    let home = Home::find()?;
    if keys::identity(&home)?.is_none() {
        return Err(Failure::new("change the passphrase: this peer has no keys").hint("mesh init"));
    }
    // Whoever cannot open them is not asked for another.
    for name in [USER, keys::DEVICE, RECOVERY] {
        keys::read(&home, name)?;
    }
    let lock = if none { None } else { Some(Lock::replace()?) };
    let changed = keys::lock_all(&home, lock.as_ref())?;
    crate::say!(
        "{} {}",
        changed.join(", "),
        if none { "are under no passphrase" } else { "are under the new passphrase" }
    );
    if !changed.contains(&RECOVERY) {
        crate::say!("the recovery key is not here, and stays as it was");
    }
    Ok(exit_codes::OK)
}

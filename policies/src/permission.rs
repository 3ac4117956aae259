//! May this user's task run on that device?
// spec: PERM-1, PERM-4

use mesh_protocol::ids::ModuleHash;
use mesh_protocol::key::{PublicKey, UserKey};
use mesh_protocol::ledger::Grant;
use mesh_protocol::permissions::{Names, Permissions};
use mesh_protocol::reason::Reason;

/// A grant as it stands.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// What was granted.
    pub grant: &'a Grant,
    /// Did the device's owner give it?
    pub by_owner: bool,
    /// Did the device's owner take it back?
    pub revoked: bool,
}

/// What wants to run, where and when.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Whose task.
    pub user: UserKey,
    /// On which device.
    pub device: PublicKey,
    /// The task's name.
    pub name: &'a str,
    /// Its code.
    pub module: ModuleHash,
    /// What it wants to touch.
    pub permissions: &'a Permissions,
    /// Now, in milliseconds since 1970.
    pub wall_ms: u64,
}

/// What every grant gives without saying so: inputs and environment are the submitter's own.
pub fn harmless() -> Permissions {
    Permissions { inputs: Names::Any, env: Names::Any, ..Permissions::default() }
}

/// May it run under this grant?
pub fn allows(standing: &Standing<'_>, wish: &Wish<'_>) -> Result<(), Reason> {
    let grant = standing.grant;
    if !standing.by_owner || grant.user != wish.user || grant.device != wish.device {
        return Err(Reason::NoGrant);
    }
    if standing.revoked {
        return Err(Reason::GrantRevoked);
    }
    if grant.until_ms.is_some_and(|until| until <= wish.wall_ms) {
        return Err(Reason::GrantExpired);
    }
    if !grant.pattern.matches(wish.name) || grant.module.is_some_and(|module| module != wish.module) {
        return Err(Reason::NoGrant);
    }
    Ok(())
}

/// What tasks under this grant may touch. A name is only a label that the submitter chose, so anything beyond inputs
/// and environment needs a grant for the very code.
// spec: SBX-10
pub fn given(grant: &Grant) -> Permissions {
    let extra = if grant.module.is_some() { grant.permissions.clone() } else { Permissions::default() };
    Permissions { inputs: Names::Any, env: Names::Any, ..extra }
}

/// The first thing that `wish` asks for beyond `given`, as its manifest would write it.
pub fn excess(wish: &Permissions, given: &Permissions) -> Option<String> {
    if let Some((name, access)) =
        wish.shares.iter().find(|(name, access)| given.shares.get(*name) < Some(access))
    {
        return Some(format!("the share {name} ({access:?})").to_lowercase());
    }
    if let Some(host) = wish.http.iter().find(|host| !given.http.contains(*host)) {
        return Some(format!("HTTP to {host}"));
    }
    match () {
        () if wish.real_clock && !given.real_clock => Some("the real clock".into()),
        () if wish.real_random && !given.real_random => Some("real randomness".into()),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_protocol::ledger::Pattern;
    use mesh_protocol::permissions::Access;

    fn grant(pattern: &str) -> Grant {
        Grant {
            device: PublicKey([1; 32]),
            user: UserKey(PublicKey([2; 32])),
            pattern: Pattern::new(pattern).unwrap(),
            module: None,
            until_ms: Some(1000),
            permissions: Permissions::default(),
        }
    }

    fn wish<'a>(name: &'a str, permissions: &'a Permissions) -> Wish<'a> {
        Wish {
            user: UserKey(PublicKey([2; 32])),
            device: PublicKey([1; 32]),
            name,
            module: ModuleHash([3; 32]),
            permissions,
            wall_ms: 999,
        }
    }

    // spec: PERM-1, PERM-4
    #[test]
    fn a_grant_is_for_its_device_user_names_and_time() {
        let nothing = Permissions::default();
        let database = grant("database-*");
        let good = Standing { grant: &database, by_owner: true, revoked: false };
        let ask = |standing: &Standing<'_>, wish: &Wish<'_>| allows(standing, wish);
        assert_eq!(ask(&good, &wish("database-cleanup", &nothing)), Ok(()));
        assert_eq!(ask(&good, &wish("datab", &nothing)), Err(Reason::NoGrant));
        let late = Wish { wall_ms: 1000, ..wish("database-cleanup", &nothing) };
        assert_eq!(ask(&good, &late), Err(Reason::GrantExpired));
        let other = Wish { user: UserKey(PublicKey([9; 32])), ..wish("database-cleanup", &nothing) };
        assert_eq!(ask(&good, &other), Err(Reason::NoGrant));
        let elsewhere = Wish { device: PublicKey([9; 32]), ..wish("database-cleanup", &nothing) };
        assert_eq!(ask(&good, &elsewhere), Err(Reason::NoGrant));
        let revoked = Standing { revoked: true, ..good };
        assert_eq!(ask(&revoked, &wish("database-cleanup", &nothing)), Err(Reason::GrantRevoked));
        let forged = Standing { by_owner: false, ..good };
        assert_eq!(ask(&forged, &wish("database-cleanup", &nothing)), Err(Reason::NoGrant));
        let pinned = Grant { module: Some(ModuleHash([3; 32])), ..grant("*") };
        let pinned = Standing { grant: &pinned, ..good };
        assert_eq!(ask(&pinned, &wish("anything", &nothing)), Ok(()));
        let swapped = Wish { module: ModuleHash([4; 32]), ..wish("anything", &nothing) };
        assert_eq!(ask(&pinned, &swapped), Err(Reason::NoGrant));
    }

    // spec: SBX-10
    #[test]
    fn what_reaches_the_machine_needs_a_grant_for_the_very_code() {
        let share =
            Permissions { shares: [("logs".to_owned(), Access::Rw)].into(), ..Permissions::default() };
        let by_name = Grant { permissions: share.clone(), ..grant("*") };
        assert_eq!(excess(&share, &given(&by_name)).unwrap(), "the share logs (rw)");
        let pinned = Grant { module: Some(ModuleHash([3; 32])), ..by_name };
        assert_eq!(excess(&share, &given(&pinned)), None);
        let reading =
            Permissions { shares: [("logs".to_owned(), Access::Ro)].into(), ..Permissions::default() };
        let read_only = Grant { permissions: reading, ..pinned };
        assert_eq!(excess(&share, &given(&read_only)).unwrap(), "the share logs (rw)");
        assert_eq!(excess(&harmless(), &given(&read_only)), None);
        // Inputs and environment are the submitter's own, under any grant.
        let own = Permissions { inputs: Names::Any, env: Names::Any, ..Permissions::default() };
        assert!([harmless(), given(&grant("*")), given(&read_only)].iter().all(|given| own.within(given)));
    }

    // spec: SBX-10, PERM-2
    #[test]
    fn whatever_is_asked_for_beyond_the_grant_is_named() {
        let none = Permissions::default();
        let share =
            |access| Permissions { shares: [("logs".to_owned(), access)].into(), ..Permissions::default() };
        let http = |host: &str| Permissions { http: [host.to_owned()].into(), ..Permissions::default() };
        let clock = Permissions { real_clock: true, ..Permissions::default() };
        let random = Permissions { real_random: true, ..Permissions::default() };
        let each = [
            (share(Access::Ro), "the share logs (ro)"),
            (share(Access::Rw), "the share logs (rw)"),
            (http("example.org"), "HTTP to example.org"),
            (http("example.com"), "HTTP to example.com"),
            (clock, "the real clock"),
            (random, "real randomness"),
        ];
        for (wish, named) in &each {
            for (given, _) in &each {
                let holds = wish == given || (wish, given) == (&each[0].0, &each[1].0);
                assert_eq!(excess(wish, given).as_deref(), (!holds).then_some(*named), "{wish:?} {given:?}");
            }
            assert_eq!(excess(wish, &none).as_deref(), Some(*named));
            assert_eq!(excess(&none, wish), None);
        }
    }
}

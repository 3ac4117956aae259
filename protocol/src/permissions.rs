//! What a task may touch. Deny by default: an empty value allows nothing but stdin, stdout and `/out`.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Most names in one list: more than anybody reads, and a manifest's bytes bound it further.
pub const MAX_NAMES: usize = 1024;

/// How a share may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Read only.
    Ro,
    /// Read and write, on a copy that is put in place when the task ended well.
    Rw,
}

/// A set of names, or every name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Names {
    /// Every name.
    Any,
    /// These and no others.
    Only(BTreeSet<String>),
}

impl Default for Names {
    fn default() -> Self {
        Self::Only(BTreeSet::new())
    }
}

impl Names {
    /// Is `name` in the set?
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(names) => names.contains(name),
        }
    }

    fn narrow(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Any, names) | (names, Self::Any) => names.clone(),
            (Self::Only(a), Self::Only(b)) => Self::Only(a.intersection(b).cloned().collect()),
        }
    }
}

/// What a manifest asks for, what a donor or a grant allows, or what is left of them all.
// spec: SBX-10
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permissions {
    /// Files and folders under `/in`.
    pub inputs: Names,
    /// Donor folders under `/share`, by the donor's name for them.
    pub shares: BTreeMap<String, Access>,
    /// Environment variables.
    pub env: Names,
    /// The real clock instead of the virtual one.
    pub real_clock: bool,
    /// Real randomness instead of the seeded one.
    pub real_random: bool,
    /// Hosts reachable by HTTP.
    pub http: BTreeSet<String>,
}

impl Permissions {
    /// What both allow.
    pub fn narrow(&self, other: &Self) -> Self {
        let shares = self.shares.iter().filter_map(|(name, &access)| {
            other.shares.get(name).map(|&allowed| (name.clone(), access.min(allowed)))
        });
        Self {
            inputs: self.inputs.narrow(&other.inputs),
            shares: shares.collect(),
            env: self.env.narrow(&other.env),
            real_clock: self.real_clock && other.real_clock,
            real_random: self.real_random && other.real_random,
            http: self.http.intersection(&other.http).cloned().collect(),
        }
    }

    /// Are its lists and the names in them short enough to travel?
    // spec: ARC-7
    pub fn check(&self) -> Result<(), &'static str> {
        fn list<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> bool {
            names.len() <= MAX_NAMES
                && names
                    .into_iter()
                    .all(|name| (1..=255).contains(&name.len()) && !name.contains(char::is_control))
        }
        let set = |names: &Names| match names {
            Names::Any => true,
            Names::Only(names) => list(names.iter()),
        };
        if set(&self.inputs) && list(self.shares.keys()) && set(&self.env) && list(self.http.iter()) {
            Ok(())
        } else {
            Err("a list of permissions in it is too long, or a name in one is empty, too long or not plain")
        }
    }

    /// Does every bit of `self` lie within `other`?
    pub fn within(&self, other: &Self) -> bool {
        self.narrow(other) == *self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> impl Strategy<Value = Names> {
        prop_oneof![Just(Names::Any), proptest::collection::btree_set("[abc]", 0..3).prop_map(Names::Only),]
    }

    fn permissions() -> impl Strategy<Value = Permissions> {
        let access = prop_oneof![Just(Access::Ro), Just(Access::Rw)];
        (
            names(),
            proptest::collection::btree_map("[abc]", access, 0..3),
            names(),
            any::<bool>(),
            any::<bool>(),
            proptest::collection::btree_set("[abc]", 0..3),
        )
            .prop_map(|(inputs, shares, env, real_clock, real_random, http)| Permissions {
                inputs,
                shares,
                env,
                real_clock,
                real_random,
                http,
            })
    }

    proptest! {
        // spec: SBX-10
        #[test]
        fn narrowing_only_narrows(a in permissions(), b in permissions(), c in permissions()) {
            let both = a.narrow(&b);
            prop_assert!(both.within(&a) && both.within(&b));
            prop_assert_eq!(&both, &b.narrow(&a));
            prop_assert_eq!(both.narrow(&c), a.narrow(&b.narrow(&c)));
            prop_assert_eq!(a.narrow(&Permissions::default()), Permissions::default());
        }
    }
}

//! The manifest: what a task asks for, written in `task.toml`.

use crate::abi::MAX_MANIFEST;
use crate::limits::{Limits, MB};
use crate::permissions::{Access, Names, Permissions};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// A task's request: its name, its bounds and what it wants to touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// A label its author chose: lower-case letters, digits and hyphens.
    pub name: String,
    /// One sentence for people.
    pub description: String,
    /// The bounds it asks for.
    pub limits: Limits,
    /// What it asks to touch.
    pub permissions: Permissions,
}

/// Why a text is not a manifest. Nothing of it was taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Longer than [`MAX_MANIFEST`].
    #[error("read the manifest: it has {0} bytes, at most {MAX_MANIFEST} are allowed")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("read the manifest: it is not UTF-8 text")]
    NotText,
    /// Not TOML, an unknown key or a value of the wrong type; the text says where.
    #[error("read the manifest: {0}")]
    Toml(String),
    /// A value that does not fit its key.
    #[error("read the manifest: {key} = {value:?} must be {expected}")]
    Value {
        /// Where it stands, as `limits.memory`.
        key: String,
        /// What stands there.
        value: String,
        /// What may stand there.
        expected: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    task: Task,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    permissions: RawPermissions,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Task {
    name: String,
    #[serde(default)]
    description: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    fuel: Option<u64>,
    duration: Option<String>,
    memory: Option<String>,
    input: Option<String>,
    stdout: Option<String>,
    stderr: Option<String>,
    out: Option<String>,
    out_files: Option<u32>,
    checkpoint: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPermissions {
    #[serde(default)]
    inputs: Vec<String>,
    #[serde(default)]
    shares: BTreeMap<String, Access>,
    #[serde(default)]
    env: Vec<String>,
    clock: Option<String>,
    random: Option<String>,
    #[serde(default)]
    http: Vec<String>,
}

const SIZE: &str = "a size such as \"500kB\", \"64MB\" or \"2GB\" (1 MB is 10^6 bytes)";
const DURATION: &str = "a duration such as \"500ms\", \"30s\", \"10m\" or \"2h\"";
const NAME: &str = "1 to 64 lower-case letters, digits and inner hyphens";
const FILE_NAME: &str = "a plain file name of 1 to 255 bytes without / or control characters, not . or ..";
const ENV_KEY: &str = "1 to 128 letters, digits or underscores, not starting with a digit";
const HOST: &str = "a host name such as \"api.example.org\"";

fn wrong(key: &str, value: &str, expected: &'static str) -> ManifestError {
    ManifestError::Value { key: key.into(), value: value.chars().take(80).collect(), expected }
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..digits].parse().ok()?, text[digits..].trim_start()))
}

/// Reads a size: `"10kB"`, `"64MB"`, `"2GB"`, `"512B"` or a bare number of bytes.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => MB,
        "GB" => 1000 * MB,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Reads a duration in milliseconds: `"500ms"`, `"30s"`, `"10m"`, `"2h"`.
pub fn parse_duration_ms(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Is this a name that a task may have?
pub fn is_task_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| inner(b) || b == b'-')
        && name.bytes().next().is_some_and(inner)
        && name.bytes().last().is_some_and(inner)
}

/// Is this a name that a file, an input or a share may have: one path component that means the same everywhere?
pub fn is_file_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.contains(['/', '\\'])
        && !name.chars().any(char::is_control)
}

/// Is this a name that an environment variable may have?
pub fn is_env_key(key: &str) -> bool {
    (1..=128).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !key.as_bytes()[0].is_ascii_digit()
}

fn is_host(host: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(label)
}

fn size(key: &str, text: Option<String>, default: u64) -> Result<u64, ManifestError> {
    match text {
        None => Ok(default),
        Some(text) => parse_size(&text).ok_or_else(|| wrong(key, &text, SIZE)),
    }
}

fn names(
    key: &str,
    list: Vec<String>,
    fits: fn(&str) -> bool,
    expected: &'static str,
) -> Result<Names, ManifestError> {
    if list.iter().any(|name| name == "*") {
        return Ok(Names::Any);
    }
    if let Some(bad) = list.iter().find(|name| !fits(name)) {
        return Err(wrong(key, bad, expected));
    }
    Ok(Names::Only(list.into_iter().collect()))
}

fn real(key: &str, value: Option<String>) -> Result<bool, ManifestError> {
    match value.as_deref() {
        None | Some("virtual") => Ok(false),
        Some("real") => Ok(true),
        Some(other) => Err(wrong(key, other, "\"real\" or \"virtual\"")),
    }
}

impl Manifest {
    /// The request of a module that carries no manifest: a plain WASI program, with default bounds, any named input
    /// that its submitter gives it, and nothing else.
    // spec: SBX-2
    pub fn plain() -> Self {
        Self {
            name: "task".into(),
            description: String::new(),
            limits: Limits { checkpoint_bytes: 16 * MB, ..Limits::default() },
            permissions: Permissions { inputs: Names::Any, env: Names::Any, ..Permissions::default() },
        }
    }

    /// Reads `task.toml` or the section made of it.
    // spec: SDK-3
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST {
            return Err(ManifestError::TooLong(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ManifestError::NotText)?;
        let document: Document =
            toml::from_str(text).map_err(|error| ManifestError::Toml(error.to_string().trim_end().into()))?;
        let Document { task, limits, permissions } = document;
        if !is_task_name(&task.name) {
            return Err(wrong("task.name", &task.name, NAME));
        }
        if task.description.len() > 1000 {
            return Err(wrong("task.description", &task.description, "at most 1000 bytes"));
        }
        let limits = limits.check()?;
        if let Some((key, range)) = limits.out_of_range() {
            return Err(wrong(&format!("limits.{key}"), "out of range", range));
        }
        Ok(Self { name: task.name, description: task.description, limits, permissions: permissions.check()? })
    }
}

impl RawLimits {
    fn check(self) -> Result<Limits, ManifestError> {
        let default = Limits::default();
        let duration_ms = match self.duration {
            None => default.duration_ms,
            Some(text) => {
                parse_duration_ms(&text).ok_or_else(|| wrong("limits.duration", &text, DURATION))?
            }
        };
        Ok(Limits {
            fuel: self.fuel.unwrap_or_else(|| Limits::fuel_for(duration_ms)),
            duration_ms,
            memory_bytes: size("limits.memory", self.memory, default.memory_bytes)?,
            input_bytes: size("limits.input", self.input, default.input_bytes)?,
            stdout_bytes: size("limits.stdout", self.stdout, default.stdout_bytes)?,
            stderr_bytes: size("limits.stderr", self.stderr, default.stderr_bytes)?,
            out_bytes: size("limits.out", self.out, default.out_bytes)?,
            out_files: self.out_files.unwrap_or(default.out_files),
            checkpoint_bytes: size("limits.checkpoint", self.checkpoint, 0)?,
        })
    }
}

impl RawPermissions {
    fn check(self) -> Result<Permissions, ManifestError> {
        if let Some(name) = self.shares.keys().find(|name| !is_task_name(name)) {
            return Err(wrong("permissions.shares", name, NAME));
        }
        if let Some(host) = self.http.iter().find(|host| !is_host(host)) {
            return Err(wrong("permissions.http", host, HOST));
        }
        Ok(Permissions {
            inputs: names("permissions.inputs", self.inputs, is_file_name, FILE_NAME)?,
            shares: self.shares,
            env: names("permissions.env", self.env, is_env_key, ENV_KEY)?,
            real_clock: real("permissions.clock", self.clock)?,
            real_random: real("permissions.random", self.random)?,
            http: self.http.into_iter().collect::<BTreeSet<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = r#"
        [task]
        name = "log-rotation"
        description = "Rotates logs"
        [limits]
        duration = "30s"
        memory = "64MB"
        out = "0"
        checkpoint = "1MB"
        [permissions]
        inputs = ["*"]
        shares = { logs = "rw" }
        env = ["LANG"]
        clock = "real"
        http = ["api.example.org"]
    "#;

    // spec: SDK-3
    #[test]
    fn a_manifest_is_read() {
        let manifest = Manifest::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(manifest.name, "log-rotation");
        assert_eq!(manifest.limits.fuel, 30 * crate::limits::FUEL_PER_SECOND);
        assert_eq!((manifest.limits.memory_bytes, manifest.limits.out_bytes), (64 * MB, 0));
        assert_eq!(manifest.permissions.shares["logs"], Access::Rw);
        assert!(manifest.permissions.real_clock && !manifest.permissions.real_random);
        assert_eq!(manifest.permissions.inputs, Names::Any);
    }

    // spec: SDK-3, SBX-10
    #[test]
    fn what_a_manifest_may_not_say() {
        let cases = [
            ("[task]\nname = \"../x\"", "task.name"),
            ("[task]\nname = \"-x\"", "task.name"),
            ("[task]\nname = \"x\"\ncolour = 1", "unknown field"),
            ("[task]\nname = \"x\"\n[limits]\nmemory = \"-1MB\"", "limits.memory"),
            ("[task]\nname = \"x\"\n[limits]\nmemory = \"9999999GB\"", "limits.memory"),
            ("[task]\nname = \"x\"\n[limits]\nmemory = \"99999999999999999999GB\"", "limits.memory"),
            ("[task]\nname = \"x\"\n[limits]\nduration = \"1y\"", "limits.duration"),
            ("[task]\nname = \"x\"\n[limits]\nfuel = -1", "invalid value"),
            ("[task]\nname = \"x\"\n[limits]\nfuel = 0", "limits.fuel"),
            ("[task]\nname = \"x\"\n[permissions]\nshares = { \"/\" = \"rw\" }", "permissions.shares"),
            ("[task]\nname = \"x\"\n[permissions]\nshares = { \"..\" = \"ro\" }", "permissions.shares"),
            ("[task]\nname = \"x\"\n[permissions]\nshares = { home = \"rwx\" }", "unknown variant"),
            ("[task]\nname = \"x\"\n[permissions]\ninputs = [\"~/.ssh/id\"]", "permissions.inputs"),
            ("[task]\nname = \"x\"\n[permissions]\nhttp = [\"http://x/\"]", "permissions.http"),
            ("[task]\nname = \"x\"\n[permissions]\nclock = \"fast\"", "permissions.clock"),
            ("[task]\nname = \"x\"\n[task]\nname = \"y\"", "duplicate"),
            ("", "task"),
        ];
        for (text, part) in cases {
            let error = Manifest::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{text}\n→ {error}");
        }
        // 64 KiB, and a byte more.
        let good = "[task]\nname = \"x\"\n";
        let with =
            |bytes: usize| Manifest::parse((good.to_owned() + &"#".repeat(bytes - good.len())).as_bytes());
        assert_eq!(with(65_536).unwrap().name, "x");
        assert_eq!(with(65_537), Err(ManifestError::TooLong(65_537)));
        assert_eq!(Manifest::parse(b"\xff"), Err(ManifestError::NotText));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,200}") {
            let _either = Manifest::parse(text.as_bytes());
            let _either = (parse_size(&text), parse_duration_ms(&text));
        }
    }

    #[test]
    fn each_unit_of_time_is_so_long() {
        let ms = ["5ms", "5s", "5m", "5h", "5", "5d"].map(parse_duration_ms);
        assert_eq!(ms, [Some(5), Some(5_000), Some(300_000), Some(18_000_000), None, None]);
    }
}

//! `mesh inspect`: what a module is, imports and asks for.
// spec: SDK-4

use crate::args::Inspect;
use crate::exit_codes;
use crate::failure::Result;
use mesh_executor::Summary;
use mesh_protocol::ids::ModuleHash;
use mesh_protocol::limits::Limits;
use mesh_protocol::manifest::Manifest;
use mesh_protocol::permissions::{Access, Names, Permissions};
use mesh_protocol::text::sanitise;
use serde::Serialize;
use std::fmt::Write as _;

#[derive(Serialize)]
struct Shown<'a> {
    module: ModuleHash,
    kind: &'static str,
    bytes: u64,
    functions: u64,
    first_memory: u64,
    imports: &'a [String],
    has_manifest: bool,
    name: &'a str,
    description: &'a str,
    limits: &'a Limits,
    permissions: &'a Permissions,
}

pub(super) fn run(inspect: &Inspect) -> Result<u8> {
    let bytes = super::read_module(&inspect.module)?;
    let refused =
        |refusal| super::load_failure(&inspect.module, &mesh_executor::StartError::Refused(refusal));
    let summary = mesh_executor::examine(&bytes).map_err(refused)?;
    let manifest = summary.manifest().map_err(refused)?;
    show(ModuleHash::of(&bytes), &summary, &manifest, inspect.json)?;
    Ok(exit_codes::OK)
}

pub(super) fn show(module: ModuleHash, summary: &Summary, manifest: &Manifest, json: bool) -> Result<()> {
    let kind = if summary.component { "component (WASI 0.2)" } else { "core module (WASI 0.1)" };
    if json {
        return super::print_json(&Shown {
            module,
            kind,
            bytes: summary.bytes,
            functions: summary.functions,
            first_memory: summary.first_memory,
            imports: &summary.imports,
            has_manifest: summary.manifest.is_some(),
            name: &manifest.name,
            description: &manifest.description,
            limits: &manifest.limits,
            permissions: &manifest.permissions,
        });
    }
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        let _infallible = writeln!(text, "{key:<13} {value}");
    };
    line("module", &module.to_string());
    line("kind", kind);
    line("size", &format!("{} in {} functions", super::human(summary.bytes), summary.functions));
    let by_module = group(&summary.imports, summary.component);
    for (module, names) in &by_module {
        line("imports", &sanitise(&format!("{module}: {}", names.join(" ")), false));
    }
    if by_module.is_empty() {
        line("imports", "nothing");
    }
    if summary.manifest.is_some() {
        line("name", &manifest.name);
        line("description", &sanitise(&manifest.description, false));
    } else {
        line("manifest", "none: it gets what any WASI program gets");
    }
    let limits = &manifest.limits;
    let human = super::human;
    line("duration", &format!("{} s", limits.duration_ms as f64 / 1000.0));
    line("fuel", &limits.fuel.to_string());
    line("memory", &human(limits.memory_bytes));
    line("output", &format!("stdout {}, stderr {}", human(limits.stdout_bytes), human(limits.stderr_bytes)));
    line("/out", &format!("{} in {} files", human(limits.out_bytes), limits.out_files));
    if limits.checkpoint_bytes > 0 {
        line("checkpoints", &format!("up to {}", human(limits.checkpoint_bytes)));
    }
    for wish in wishes(&manifest.permissions) {
        line("asks for", &wish);
    }
    super::print(&text)
}

fn group(imports: &[String], component: bool) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for import in imports {
        let (module, name) = match import.split_once(if component { '/' } else { '.' }) {
            Some((module, name)) => (module.to_owned(), name.to_owned()),
            None => (import.clone(), String::new()),
        };
        match groups.last_mut() {
            Some((last, names)) if *last == module => names.push(name),
            _ => groups.push((module, vec![name])),
        }
    }
    groups
}

fn wishes(permissions: &Permissions) -> Vec<String> {
    let names = |what: &str, names: &Names| match names {
        Names::Any => Some(format!("any {what}")),
        Names::Only(list) if list.is_empty() => None,
        Names::Only(list) => Some(format!("{what} {}", list.iter().cloned().collect::<Vec<_>>().join(", "))),
    };
    let shares = permissions.shares.iter().map(|(name, access)| {
        let how = if *access == Access::Rw { "read and write" } else { "read" };
        format!("share {name}: {how}")
    });
    let real = [(permissions.real_clock, "the real clock"), (permissions.real_random, "real randomness")];
    names("input in /in", &permissions.inputs)
        .into_iter()
        .chain(names("environment variable", &permissions.env))
        .chain(shares)
        .chain(real.into_iter().filter(|(yes, _)| *yes).map(|(_, what)| what.to_owned()))
        .chain(permissions.http.iter().map(|host| format!("HTTP to {host} (not offered by this executor)")))
        .collect()
}

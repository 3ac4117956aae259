//! `mesh build`: a task crate compiled to wasm.
// spec: SDK-4

use super::toolchain;
use crate::args::Build;
use crate::exit_codes;
use crate::failure::{Failure, Result};
use mesh_protocol::ids::ModuleHash;
use mesh_protocol::manifest::Manifest;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(super) fn run(build: &Build) -> Result<u8> {
    let manifest = build.folder.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(Failure::new(format!("build {}: there is no Cargo.toml in it", build.folder.display()))
            .hint("name the folder of a task crate; `mesh new NAME` makes one"));
    }
    let request = build.folder.join("task.toml");
    if let Ok(text) = std::fs::read(&request) {
        // Before a long compile: the task would be refused with it.
        Manifest::parse(&text).map_err(|error| {
            Failure::because(format!("build the task: {}", request.display()), &error)
                .hint("correct that line and build again")
        })?;
    }
    let toolchain = toolchain::find()?;
    crate::say!("compiling with {}", toolchain.describe());
    let mut cargo = toolchain.cargo_build();
    cargo.arg("--manifest-path").arg(&manifest);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    if std::env::var_os("CARGO_TARGET_DIR").is_none() {
        // Apart from the crate's own target folder, since another compiler may be at work here.
        cargo.arg("--target-dir").arg(target_dir(&manifest)?.join("mesh"));
    }
    let output = cargo.stdout(Stdio::piped()).stderr(Stdio::inherit()).output().map_err(|error| {
        Failure::because("start cargo", &error).hint("install Rust, so that `cargo` is in the path")
    })?;
    if !output.status.success() {
        return Err(Failure::new("build the task: cargo said why above"));
    }
    let built = artifacts(&output.stdout, &manifest)?;
    let [built] = built.as_slice() else {
        let names: Vec<_> = built.iter().map(|path| path.display().to_string()).collect();
        return Err(Failure::new(format!(
            "find the task's module: the crate has {} programs {}",
            names.len(),
            names.join(", ")
        ))
        .hint("give the crate one program (src/main.rs)"));
    };
    let target = match &build.output {
        Some(path) => path.clone(),
        None => PathBuf::from(built.file_name().unwrap_or_default()),
    };
    let bytes = std::fs::read(built).map_err(|error| Failure::file("read the module", built, &error))?;
    let refused = |refusal| super::load_failure(&target, &mesh_executor::StartError::Refused(refusal));
    let summary = mesh_executor::examine(&bytes).map_err(refused)?;
    let manifest = summary.manifest().map_err(refused)?;
    super::receipt_file::write_whole(&target, &bytes, super::receipt_file::PUBLIC)
        .map_err(|error| Failure::file("write the module", &target, &error))?;
    crate::say!("wrote {}", target.display());
    super::inspect::show(ModuleHash::of(&bytes), &summary, &manifest, build.json)?;
    Ok(exit_codes::OK)
}

/// Where cargo puts what it builds of this crate.
fn target_dir(manifest: &Path) -> Result<PathBuf> {
    let failed = |why: String| Failure::new(format!("ask cargo about {}: {why}", manifest.display()));
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(manifest)
        .output()
        .map_err(|error| failed(error.to_string()).hint("install Rust, so that `cargo` is in the path"))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let value: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))?;
    let folder =
        value["target_directory"].as_str().ok_or_else(|| failed("it names no target folder".into()))?;
    Ok(folder.into())
}

/// The programs that cargo made of this crate, from its messages.
fn artifacts(messages: &[u8], manifest: &Path) -> Result<Vec<PathBuf>> {
    let manifest = manifest.canonicalize().map_err(|error| Failure::file("read", manifest, &error))?;
    let mut built = Vec::new();
    for line in String::from_utf8_lossy(messages).lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        if message["reason"] == "compiler-artifact"
            && message["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest)
            && let Some(files) = message["filenames"].as_array()
        {
            let files = files.iter().filter_map(serde_json::Value::as_str);
            built.extend(files.filter(|file| file.ends_with(".wasm")).map(PathBuf::from));
        }
    }
    Ok(built)
}

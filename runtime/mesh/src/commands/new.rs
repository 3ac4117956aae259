//! `mesh new`: a task crate that builds, tests and runs as generated.
// spec: SDK-4

use crate::args::New;
use crate::exit_codes;
use crate::failure::{Failure, Result};
use std::path::{Path, PathBuf};

/// The crate's files, with their places to fill in.
const TEMPLATE: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("../../../../guest-sdk/template/Cargo.toml.in")),
    ("task.toml", include_str!("../../../../guest-sdk/template/task.toml.in")),
    ("src/main.rs", include_str!("../../../../guest-sdk/template/src_main.rs.in")),
    ("README.md", include_str!("../../../../guest-sdk/template/README.md.in")),
    (".gitignore", include_str!("../../../../guest-sdk/template/gitignore.in")),
];

macro_rules! sdk_files {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_str!(concat!("../../../../", $path)))),*]
    };
}

/// The SDK itself: it travels with the crate, so that a task builds wherever cargo does.
const SDK: [(&str, &str); 14] = sdk_files![
    "guest-sdk/Cargo.toml",
    "guest-sdk/src/context.rs",
    "guest-sdk/src/entry.rs",
    "guest-sdk/src/error.rs",
    "guest-sdk/src/io.rs",
    "guest-sdk/src/lib.rs",
    "guest-sdk/src/native.rs",
    "guest-sdk/src/raw.rs",
    "guest-sdk/src/testing.rs",
    "guest-sdk/macros/Cargo.toml",
    "guest-sdk/macros/src/expand.rs",
    "guest-sdk/macros/src/lib.rs",
    "guest-sdk/macros/src/tests.rs",
    "protocol/src/abi.rs",
];

/// Of the protocol a task needs the ABI alone.
const PROTOCOL: [(&str, &str); 2] = [
    (
        "protocol/Cargo.toml",
        "[package]\nname = \"mesh-protocol\"\nversion = \"0.1.0\"\nedition = \"2024\"\nlicense = \"Apache-2.0\"\npublish = false\n",
    ),
    ("protocol/src/lib.rs", "//! The part of Task Mesh's protocol that tasks need.\n\npub mod abi;\n"),
];

/// The folder of the copied SDK within the crate.
const SDK_FOLDER: &str = "sdk";

pub(super) fn run(new: &New) -> Result<u8> {
    let folder = PathBuf::from(&new.name);
    if folder.symlink_metadata().is_ok() {
        return Err(Failure::new(format!(
            "make the crate {}: that name is taken in this folder",
            folder.display()
        ))
        .hint("choose another name, or move what is there away"));
    }
    let sdk = match &new.sdk {
        None => format!("{SDK_FOLDER}/guest-sdk"),
        Some(path) => {
            let crate_file = path.join("Cargo.toml");
            let path = path.canonicalize().map_err(|error| Failure::file("find the SDK", path, &error))?;
            if !crate_file.is_file() {
                return Err(Failure::new(format!("find the SDK: there is no {}", crate_file.display()))
                    .hint("name the folder of the crate mesh-guest"));
            }
            path.display().to_string()
        }
    };
    let made = write_all(&folder, &sdk, new.sdk.is_none(), &new.name);
    if made.is_err() {
        let _half_made = std::fs::remove_dir_all(&folder);
    }
    made?;
    super::print(&format!(
        "made the task crate {name}\n\n  cd {name}\n  cargo test                    # runs it natively\n  mesh build -o {name}.wasm      # compiles it to wasm\n  mesh run {name}.wasm < input   # runs it in the sandbox\n",
        name = new.name
    ))?;
    Ok(exit_codes::OK)
}

fn write_all(folder: &Path, sdk: &str, copy_sdk: bool, name: &str) -> Result<()> {
    let write = |path: &Path, text: &str| {
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(path, text))
            .map_err(|error| Failure::file("write", path, &error))
    };
    for (path, text) in TEMPLATE {
        write(&folder.join(path), &text.replace("{{name}}", name).replace("{{sdk}}", sdk))?;
    }
    if copy_sdk {
        for (path, text) in SDK.into_iter().chain(PROTOCOL) {
            // The lints are those of the workspace the SDK was written in.
            write(&folder.join(SDK_FOLDER).join(path), &text.replace("[lints]\nworkspace = true\n", ""))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: SDK-4
    #[test]
    fn no_file_of_the_sdk_is_forgotten() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for folder in ["guest-sdk/src", "guest-sdk/macros/src"] {
            for file in std::fs::read_dir(root.join(folder)).unwrap() {
                let path = format!("{folder}/{}", file.unwrap().file_name().to_string_lossy());
                assert!(SDK.iter().any(|(known, _)| *known == path), "{path} is not copied by `mesh new`");
            }
        }
    }
}

//! `mesh config`: what this peer is told, and where each value came from.
// spec: CLI-7

use super::shown;
use super::{print, print_json};
use crate::args::Show;
use crate::client::Client;
use crate::config::Loader;
use crate::exit_codes;
use crate::failure::{Failure, Result};
use crate::home::Home;
use serde_json::Value;

/// A peer that runs knows best: its flags and environment are not this command's. Where none runs, what one would be
/// told that is started here.
pub(super) fn run(show: &Show) -> Result<u8> {
    let home = Home::find()?;
    let loader = Loader::new(home, None);
    let files = loader.files();
    let (values, running) = match Client::find().and_then(|client| client.get("/v1/config")) {
        Ok(values) => (values, true),
        Err(failure) if failure.exit_code() != exit_codes::NODE_NOT_RUNNING => return Err(failure),
        Err(_) => {
            let shown = loader.load()?.shown();
            let value =
                serde_json::to_value(shown).map_err(|error| Failure::because("write JSON", &error))?;
            (value, false)
        }
    };
    if show.json {
        let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
        print_json(&serde_json::json!({ "running": running, "files": files, "values": values }))?;
        return Ok(exit_codes::OK);
    }
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = values.as_array().into_iter().flatten().map(|one| {
        let value = match one["after_restart"].as_str() {
            Some(then) => format!("{} ({then} after a restart)", word(&one["value"])),
            None => word(&one["value"]),
        };
        vec![word(&one["key"]), value, word(&one["from"])]
    });
    print(&shown::table(&["KEY", "VALUE", "FROM"], rows))?;
    let whose =
        if running { "as the peer that runs has it" } else { "as `mesh up` would have it; none runs" };
    crate::say!("{whose}; read from {} and {}", files[0].display(), files[1].display());
    Ok(exit_codes::OK)
}

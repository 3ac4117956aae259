//! Shows a community at work; or the sandbox alone: what it gives a task, and where it stops one.

use crate::run::{Repo, say, typed_form};
use crate::setup;
use crate::tasks::{Built, Profile, build};
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

const OUT_OF_FUEL: i32 = 128;
const MEMORY_EXCEEDED: i32 = 131;
/// What the test module `c-files` exits with when it cannot open a file; `mesh run` passes it on.
const FILE_NOT_THERE: i32 = 3;

/// Large enough to take a moment, small enough to write at every demo.
const TEXT_BYTES: usize = 8_000_000;
/// As many as the task keeps, so that the table of words meets a limit of a few MB.
const DISTINCT_WORDS: u64 = 100_000;

/// `mesh demo` in a release build.
// spec: CLI-6
pub(crate) fn community(repo: &Repo, speed: Option<&str>) -> Result<()> {
    setup::setup(repo)?;
    let built = build(repo, Profile::Release, false)?;
    let mut mesh = repo.command(&built.mesh);
    mesh.arg("demo").arg("--tasks").arg(&built.tasks);
    if let Some(speed) = speed {
        mesh.args(["--speed", speed]);
    }
    let line = typed_form(&mesh);
    say(format_args!("$ {line}"));
    let status = mesh.status().with_context(|| format!("`{line}` cannot be started"))?;
    if status.success() { Ok(()) } else { bail!("`{line}` ended with {status}") }
}

pub(crate) fn sandbox(repo: &Repo) -> Result<()> {
    setup::setup(repo)?;
    let built = build(repo, Profile::Release, false)?;
    let demo = Demo::new(repo, built)?;
    let begun = Instant::now();
    let shown = [demo.receipt()?, demo.picture()?, demo.limits()?].concat();

    say("\n== What was shown");
    for line in &shown {
        say(format_args!("  - {line}"));
    }
    say(format_args!(
        "{} runs in {:.1} s, each with the exit code it should have. The files are in {}",
        shown.len(),
        begun.elapsed().as_secs_f64(),
        repo.short(&demo.folder).display()
    ));
    Ok(())
}

struct Demo<'a> {
    repo: &'a Repo,
    built: Built,
    folder: PathBuf,
}

impl<'a> Demo<'a> {
    fn new(repo: &'a Repo, built: Built) -> Result<Self> {
        let folder = repo.target.join("demo");
        if folder.exists() {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("{} of an earlier demo cannot be removed", folder.display()))?;
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let demo = Self { repo, built, folder };
        demo.write("text.txt", &text())?;
        demo.write("view.json", VIEW)?;
        Ok(demo)
    }

    fn receipt(&self) -> Result<Vec<String>> {
        say("\n== Counting words, with a receipt that anyone can check");
        let (text, receipt, module) =
            (self.file("text.txt"), self.file("receipt.json"), self.module("word-count"));
        self.mesh(0, &["run", "--input", &text, "--receipt", &receipt, &module])?;
        self.mesh(0, &["verify", &receipt, "--module", &module, "--input", &text])?;
        Ok(vec![
            format!("word-count read {} MB and wrote one line of JSON", TEXT_BYTES / 1_000_000),
            "mesh verify ran it again and came to the same receipt".to_owned(),
        ])
    }

    fn picture(&self) -> Result<Vec<String>> {
        say("\n== A picture, drawn in one go, then interrupted and resumed");
        let (view, module) = (self.file("view.json"), self.module("mandelbrot"));
        let (whole, parts, saved) = (self.file("picture"), self.file("resumed"), self.file("checkpoint"));
        self.mesh(0, &["run", "--input", &view, "--out", &whole, &module])?;
        let fuel = INTERRUPTING_FUEL;
        let cut = ["run", "--input", &view, "--out", &parts, "--checkpoint", &saved, "--fuel", fuel, &module];
        self.mesh(OUT_OF_FUEL, &cut)?;
        self.mesh(0, &["run", "--input", &view, "--out", &parts, "--resume", &saved, &module])?;

        let read = |folder: &str| {
            let file = self.repo.root.join(folder).join("mandelbrot.png");
            std::fs::read(&file).with_context(|| format!("the picture {} cannot be read", file.display()))
        };
        if read(&whole)? != read(&parts)? {
            bail!("the picture that was interrupted and resumed differs from the one drawn in one go");
        }
        Ok(vec![
            format!("mandelbrot told its progress and drew {whole}/mandelbrot.png"),
            format!("with too little fuel it was stopped (exit code {OUT_OF_FUEL}), its checkpoint saved"),
            "resumed from that, it drew the same picture to the byte".to_owned(),
        ])
    }

    fn limits(&self) -> Result<Vec<String>> {
        say("\n== Tasks that want more than they were given");
        let (text, module) = (self.file("text.txt"), self.module("word-count"));
        self.mesh(MEMORY_EXCEEDED, &["run", "--input", &text, "--memory", "4MB", &module])?;
        let mut shown =
            vec![format!("word-count was stopped at 4 MB of memory (exit code {MEMORY_EXCEEDED})")];

        let thief = self.module("c-files");
        // Written in C: there is none where no compiler for it was found.
        if self.repo.root.join(&thief).is_file() {
            let out = self.file("copied");
            self.mesh(FILE_NOT_THERE, &["run", "--out", &out, &thief, "/etc/passwd"])?;
            shown.push(format!(
                "a C program found no /etc/passwd to copy (its own exit code {FILE_NOT_THERE})"
            ));
        }
        Ok(shown)
    }

    /// Runs `mesh` as the reader would, and insists on the exit code.
    fn mesh(&self, expected: i32, args: &[&str]) -> Result<()> {
        let mut mesh = self.repo.command(self.repo.short(&self.built.mesh));
        // What it keeps between runs is kept here, so that nothing but this folder is left behind.
        for kept in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"] {
            mesh.env(kept, self.folder.join("home"));
        }
        mesh.args(args).stdin(Stdio::null());
        let line = typed_form(&mesh);
        say(format_args!("\n$ {line}"));
        let status = mesh.status().with_context(|| format!("`{line}` cannot be started"))?;
        match status.code() {
            Some(code) if code == expected => {
                let note = if code == 0 { "" } else { ", as it should be" };
                say(format_args!("exit code {code}{note}"));
                Ok(())
            }
            _ => bail!("`{line}` ended with {status} instead of the exit code {expected}"),
        }
    }

    fn write(&self, name: &str, content: &str) -> Result<()> {
        let file = self.folder.join(name);
        std::fs::write(&file, content).with_context(|| format!("{} cannot be written", file.display()))
    }

    /// Paths are said as short as a reader would type them.
    fn file(&self, name: &str) -> String {
        self.repo.short(&self.folder.join(name)).display().to_string()
    }

    fn module(&self, name: &str) -> String {
        self.repo.short(&self.built.tasks.join(format!("{name}.wasm"))).display().to_string()
    }
}

const VIEW: &str = r#"{"width": 1200, "height": 900, "center_x": -0.7436, "center_y": 0.1318, "zoom": 500, "max_iterations": 2000}"#;
/// A good deal less than the whole picture takes, but enough to save some of its checkpoints.
const INTERRUPTING_FUEL: &str = "600000000";

/// The same text at every demo: words of two to four syllables, the common ones far more often than the rare.
fn text() -> String {
    const SYLLABLES: [&str; 20] = [
        "ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "ri", "so", "tu", "va", "we",
        "xi", "yo", "zu",
    ];
    let mut text = String::with_capacity(TEXT_BYTES + 16);
    let mut state: u64 = 0x5eed;
    let mut words = 0u64;
    while text.len() < TEXT_BYTES {
        // Knuth's MMIX generator; its upper bits are the random ones.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = state >> 40;
        let scaled = (random * random) >> 24;
        let mut word = (scaled * DISTINCT_WORDS) >> 24;
        for _ in 0..2 {
            text.push_str(SYLLABLES[(word % 20) as usize]);
            word /= 20;
        }
        while word > 0 {
            text.push_str(SYLLABLES[(word % 20) as usize]);
            word /= 20;
        }
        words += 1;
        let _ = text.write_char(if words.is_multiple_of(12) { '\n' } else { ' ' });
    }
    text
}

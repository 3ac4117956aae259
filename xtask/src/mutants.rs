//! Breaks the code on purpose, one place after the other, and counts what the tests do not notice.

mod run;
mod switch;

use crate::run::{Repo, say};
use anyhow::{Context, Result, bail};

/// What is broken of a crate.
struct Set {
    name: &'static str,
    folder: &'static str,
    package: &'static str,
    /// One mutant of so many is tried, if nothing else is said.
    one_of: u64,
    /// The most percent that may go unnoticed.
    most: usize,
    /// Another package, and the test of it that counts beside the crate's own.
    also: Option<(&'static str, &'static str)>,
}

const SETS: [Set; 3] = [
    Set { name: "policies", folder: "policies", package: "mesh-policies", one_of: 1, most: 5, also: None },
    Set { name: "protocol", folder: "protocol", package: "mesh-protocol", one_of: 1, most: 10, also: None },
    // A pure state machine shows what it is worth in a community that fails in every way.
    // spec: ARC-2
    Set {
        name: "node",
        folder: "runtime/node",
        package: "mesh-node",
        one_of: 4,
        most: 10,
        also: Some(("mesh-tests", "simulator")),
    },
];

impl Set {
    /// What cargo is told to build.
    fn tests(&self, repo: &Repo) -> Result<Vec<String>> {
        let mut args = vec![format!("--package={}", self.package), "--lib".to_owned()];
        let own = repo.root.join(self.folder).join("tests");
        for file in own.is_dir().then(|| std::fs::read_dir(&own)).transpose()?.into_iter().flatten() {
            let file = file?.path();
            if let (Some(stem), true) = (file.file_stem(), file.extension().is_some_and(|it| it == "rs")) {
                args.push(format!("--test={}", stem.display()));
            }
        }
        if let Some((package, test)) = self.also {
            args.extend([format!("--package={package}"), format!("--test={test}")]);
        }
        args.sort();
        Ok(args)
    }
}

/// The sets named, or all of them.
pub(crate) fn mutants(repo: &Repo, one_of: Option<u64>, only: Option<&str>) -> Result<()> {
    let mut bad = Vec::new();
    let mut sets = SETS.into_iter().filter(|set| only.is_none_or(|only| only == set.name)).peekable();
    if sets.peek().is_none() {
        bail!("there is no set of that name; there are policies, protocol and node");
    }
    for set in sets {
        let run::Outcome { noticed, missed, unbuilt, unswitched } =
            run::run(repo, &set, one_of.unwrap_or(set.one_of))?;
        let lists =
            [("noticed", &noticed), ("missed", &missed), ("unbuilt", &unbuilt), ("unswitched", &unswitched)];
        for (file, list) in lists {
            let path = repo.target.join("mutants").join(set.name).join(format!("{file}.txt"));
            let text: String = list.iter().map(|it| format!("{it}\n")).collect();
            std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        let (noticed, missed) = (noticed.len(), missed.len());
        if missed + noticed == 0 {
            bail!("nothing of {} was broken, so nothing is proven", set.name);
        }
        let (name, most) = (set.name, set.most);
        say(format_args!(
            "{name}: {} do not build, {} no switch can turn on (unbuilt.txt and unswitched.txt in target/mutants/{name}/)",
            unbuilt.len(),
            unswitched.len()
        ));
        let percent = missed as f64 * 100.0 / (missed + noticed) as f64;
        say(format_args!("{name}: {noticed} noticed, {missed} not: {percent:.1} %, at most {most} % may be"));
        if missed * 100 > most * (missed + noticed) {
            bad.push(name);
        }
    }
    match bad.as_slice() {
        [] => Ok(()),
        bad => bail!(
            "too much goes unnoticed in {}; missed.txt in the folder of each in target/mutants/ lists it",
            bad.join(", ")
        ),
    }
}

//! What happens on the stage, hour by hour.

use super::{ALICE, BOB, CAROL, HOURS, Stage};
use crate::failure::{Failure, Result};

/// What one of the three does at some hour.
type Act = fn(&mut Stage) -> Result<()>;

/// Six example tasks under all six service levels, a veto, and a peer that goes away with a task.
const ACTS: [(f64, Act); 9] = [
    (0.5, count_words),
    (1.5, draw_and_veto),
    (3.0, rotate_logs),
    (13.5, clean_database),
    (17.5, index_now),
    (20.5, draw_and_lose),
    (26.0, small_pictures),
    (27.0, come_back),
    (30.0, index_high),
];
/// Pixels and iterations that keep one core busy for some ten seconds, which is four of the played hours.
const LONG: &str = r#"{"width": 1000, "height": 750, "max_iterations": 4500}"#;

pub(super) fn play(stage: &mut Stage) -> Result<()> {
    let mut acts = ACTS.iter();
    let mut next = acts.next();
    // What is late has half a day more.
    while stage.hour() < HOURS
        || (next.is_some() || stage.seen.waits_for_something()) && stage.hour() < HOURS + 12.0
    {
        while let Some((_, act)) = next.filter(|(hour, _)| stage.hour() >= *hour) {
            act(stage)?;
            next = acts.next();
        }
        stage.look()?;
    }
    Ok(())
}

fn submit(
    stage: &mut Stage,
    who: usize,
    title: &'static str,
    sla: &'static str,
    rest: &[&str],
) -> Result<String> {
    let id = stage.mesh(who, &[&["submit", "--id-only", "--sla", sla], rest].concat())?;
    let hour = stage.hour();
    stage.seen.submitted(who, id.clone(), title, sla, hour);
    let name = super::WHO[who].0;
    stage.say(name, &format!("submits {title:?} ({})", sla.to_uppercase().replace('-', "_")));
    Ok(id)
}

/// Until a task is this far on some peer, in thousandths.
fn until_at_work(stage: &mut Stage, who: usize, id: &str, permille: u64) -> Result<String> {
    loop {
        stage.look()?;
        let task = stage.json(who, &["task", "show", id])?;
        let far = task["progress"]["permille"].as_u64().unwrap_or(0);
        if let (true, Some(at)) = (far >= permille, task["attempt"][1].as_str()) {
            return Ok(at.to_owned());
        }
        if matches!(task["state"].as_str(), Some("done" | "failed" | "cancelled")) || stage.hour() > HOURS {
            return Err(Failure::new(format!("see the task at work: it is {}", task["why"])));
        }
    }
}

fn count_words(stage: &mut Stage) -> Result<()> {
    let line = "the sun the wind and the water give what the grid takes from coal and gas\n";
    let text = stage.file("text.txt", &line.repeat(40_000))?;
    let module = stage.module("word-count");
    submit(stage, ALICE, "count words", "high", &["--input", &text.display().to_string(), &module]).map(drop)
}

/// It goes to Bob's wind; its owner takes it back, and it waits for her own sun.
fn draw_and_veto(stage: &mut Stage) -> Result<()> {
    let place = stage.file("place.json", LONG)?;
    let (place, module) = (place.display().to_string(), stage.module("mandelbrot"));
    let id = submit(stage, ALICE, "draw a picture", "normal", &["--input", &place, &module])?;
    let at = until_at_work(stage, ALICE, &id, 100)?;
    stage.mesh(ALICE, &["task", "veto", &id, "-m", "I would rather have it at home"])?;
    stage.say(
        "alice",
        &format!("vetoes {at}'s work on \"draw a picture\": it comes home and waits for clean energy"),
    );
    Ok(())
}

/// On her own device, on a copy of her own folder, and only while the sun shines there.
fn rotate_logs(stage: &mut Stage) -> Result<()> {
    stage.file("alices-logs/app.log", &"2021-05-06 nothing happened\n".repeat(2000))?;
    let wish = stage.file("rotate.json", r#"{"max_bytes": 10000, "keep": 3}"#)?;
    let module = stage.module("log-rotation");
    submit(stage, ALICE, "rotate logs", "solar-only", &["--input", &wish.display().to_string(), &module])
        .map(drop)
}

fn clean_database(stage: &mut Stage) -> Result<()> {
    let rows: String = (0..5000)
        .map(|row| format!("{{\"id\":{},\"updated\":{row},\"deleted\":{}}}\n", row % 700, row % 11 == 0))
        .collect();
    stage.file("bobs-db/users.ndjson", &rows)?;
    let module = stage.module("database-cleanup");
    submit(stage, BOB, "clean a database", "wind-only", &[&module]).map(drop)
}

fn index(stage: &mut Stage, who: usize, title: &'static str, sla: &'static str) -> Result<()> {
    let text = stage.file("a.txt", &"coal wind sun water grid carbon task peer vote\n".repeat(2000))?;
    let named = format!("a.txt={}", text.display());
    let module = stage.module("index-optimization");
    submit(stage, who, title, sla, &["--in", &named, &module]).map(drop)
}

/// It cannot wait: the cleanest of those who can start it.
fn index_now(stage: &mut Stage) -> Result<()> {
    index(stage, ALICE, "index texts", "urgent")
}

fn index_high(stage: &mut Stage) -> Result<()> {
    index(stage, CAROL, "index more texts", "high")
}

/// The peer that draws it goes away in the middle; it goes on elsewhere from where it had saved.
fn draw_and_lose(stage: &mut Stage) -> Result<()> {
    let place = stage.file("place.json", LONG)?;
    let (place, module) = (place.display().to_string(), stage.module("mandelbrot"));
    let id = submit(stage, ALICE, "draw another picture", "normal", &["--input", &place, &module])?;
    let at = until_at_work(stage, ALICE, &id, 250)?;
    let Some(who) = [BOB, CAROL].into_iter().find(|who| super::WHO[*who].0 == at) else { return Ok(()) };
    stage.kill(who);
    stage.say(super::WHO[who].0, "loses power in the middle of it");
    Ok(())
}

fn come_back(stage: &mut Stage) -> Result<()> {
    for who in [BOB, CAROL] {
        if !stage.is_up(who) {
            stage.up(who)?;
            stage.say(super::WHO[who].0, "is back");
        }
    }
    Ok(())
}

/// Nobody's energy is clean at this hour: it waits for whoever's is first.
fn small_pictures(stage: &mut Stage) -> Result<()> {
    let small = stage.file("small.json", r#"{"width": 640, "height": 480, "max_iterations": 200}"#)?;
    let folder = stage.path("picture");
    let (small, out) = (small.display().to_string(), folder.display().to_string());
    let draw = stage.module("mandelbrot");
    stage.mesh(ALICE, &["run", "--quiet", "--input", &small, "--out", &out, &draw])?;
    let picture = format!("picture.png={}", folder.join("mandelbrot.png").display());
    let module = stage.module("thumbnails");
    submit(stage, ALICE, "make small pictures", "eco", &["--in", &picture, &module]).map(drop)
}

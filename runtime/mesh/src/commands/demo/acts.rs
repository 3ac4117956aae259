//! What happens on the stage, hour by hour.

use super::{ALICE, BOB, CAROL, HOURS, Stage, WHO};
use crate::failure::{Failure, Result};
use std::time::{Duration, Instant};

/// What one of the three does at some hour.
type Act = fn(&mut Stage) -> Result<()>;

/// The example tasks under all six service levels, ballots, a veto, and a peer that goes away with a task.
const ACTS: [(f64, Act); 10] = [
    (0.5, count_words),
    (1.5, draw_and_veto),
    (3.0, rotate_logs),
    (13.5, clean_database),
    (17.0, index_now),
    (17.5, vote_on_the_queue),
    (22.5, draw_and_lose),
    (26.0, small_pictures),
    (29.0, come_back),
    (30.0, index_again),
];
/// Hours after the last that whatever is late may take.
const LATE: f64 = 12.0;
/// Iterations that keep one core busy for some ten seconds, which is four hours at the usual speed.
const LONG: f64 = 4500.0;
/// And for half a second, which is twelve minutes.
const SHORT: f64 = 225.0;
/// How long a word of one peer may take to another: it takes some milliseconds.
const WORD: Duration = Duration::from_secs(10);

pub(super) fn play(stage: &mut Stage) -> Result<()> {
    let mut acts = ACTS.iter();
    let mut next = acts.next();
    while stage.hour() < HOURS
        || (next.is_some() || stage.seen.waits_for_something()) && stage.hour() < HOURS + LATE
    {
        while let Some((_, act)) = next.filter(|(hour, _)| stage.hour() >= *hour) {
            act(stage)?;
            next = acts.next();
        }
        stage.look()?;
    }
    // What came last may still have to be told to the others.
    stage.look()
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
    stage.say(WHO[who].0, &format!("submits {title:?} ({})", sla.to_uppercase().replace('-', "_")));
    Ok(id)
}

/// Somebody votes, as soon as they have heard of the task.
// spec: VOTE-1
fn vote(stage: &Stage, who: usize, id: &str, title: &str, level: &str, why: &str) -> Result<()> {
    let begun = Instant::now();
    while let Err(error) = stage.mesh(who, &["vote", id, level, "-m", why]) {
        if stage.stopped() || begun.elapsed() > WORD {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let because = if why.is_empty() { String::new() } else { format!(": {why}") };
    stage.say(WHO[who].0, &format!("votes {} on {title:?}{because}", level.to_uppercase()));
    Ok(())
}

/// The other two say what is usual.
fn voted(stage: &Stage, id: &str, title: &str, level: &str) -> Result<()> {
    for who in stage.seen.others_than_owner(id) {
        vote(stage, who, id, title, level, "")?;
    }
    Ok(())
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
    let id = submit(stage, ALICE, "count words", "high", &["--input", &text.display().to_string(), &module])?;
    voted(stage, &id, "count words", "normal")
}

/// What to draw, so that it takes as many of the played hours at any speed.
fn drawing(stage: &Stage, iterations: f64) -> Result<String> {
    let iterations = (iterations * super::USUAL_SPEED / stage.speed).max(100.0) as u32;
    let text = format!(r#"{{"width": 1000, "height": 750, "max_iterations": {iterations}}}"#);
    Ok(stage.file(&format!("place-{iterations}.json"), &text)?.display().to_string())
}

/// It goes to Bob's wind; its owner takes it back, and it waits for her own sun.
// spec: DEL-6
fn draw_and_veto(stage: &mut Stage) -> Result<()> {
    let (place, module) = (drawing(stage, LONG)?, stage.module("mandelbrot"));
    let id = submit(stage, ALICE, "draw a picture", "normal", &["--input", &place, &module])?;
    voted(stage, &id, "draw a picture", "normal")?;
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

fn index(stage: &mut Stage, who: usize, title: &'static str) -> Result<()> {
    let text = stage.file("a.txt", &"coal wind sun water grid carbon task peer vote\n".repeat(2000))?;
    let named = format!("a.txt={}", text.display());
    let module = stage.module("index-optimization");
    submit(stage, who, title, "urgent", &["--in", &named, &module]).map(drop)
}

/// It cannot wait: the cleanest of those who can start it. Nobody knows yet how short it is.
fn index_now(stage: &mut Stage) -> Result<()> {
    index(stage, ALICE, "index texts")
}

/// By now it is known that bringing it away costs more than it saves. It waits for no ballot, in which whoever has
/// perfect energy would take it before her own device may.
fn index_again(stage: &mut Stage) -> Result<()> {
    index(stage, CAROL, "index more texts")
}

/// Carol's only slot is taken, and two tasks wait for it: the one that came second is voted HIGH by two of three.
// spec: VOTE-3, VOTE-9
fn vote_on_the_queue(stage: &mut Stage) -> Result<()> {
    let (place, module) = (drawing(stage, LONG)?, stage.module("mandelbrot"));
    let there = ["--on", WHO[CAROL].0];
    submit(stage, ALICE, "draw a map", "urgent", &[&there[..], &["--input", &place, &module]].concat())?;
    let small = drawing(stage, SHORT)?;
    let named = |name| [&there[..], &["--name", name, "--input", &small, &module]].concat();
    let chart = submit(stage, ALICE, "draw a chart", "normal", &named("draw-chart"))?;
    let school = submit(stage, ALICE, "draw the way to school", "normal", &named("draw-school-way"))?;
    for who in [BOB, CAROL] {
        vote(stage, who, &chart, "draw a chart", "normal", "")?;
    }
    vote(stage, ALICE, &school, "draw the way to school", "low", "it can wait")?;
    vote(stage, BOB, &school, "draw the way to school", "high", "the children start on Monday")?;
    vote(stage, CAROL, &school, "draw the way to school", "high", "")?;
    stage.seen.ballot_on(school, chart);
    Ok(())
}

/// The peer that draws it goes away in the middle; it goes on elsewhere from where it had saved.
// spec: DEL-3
fn draw_and_lose(stage: &mut Stage) -> Result<()> {
    let (place, module) = (drawing(stage, LONG)?, stage.module("mandelbrot"));
    let id = submit(stage, ALICE, "draw another picture", "normal", &["--input", &place, &module])?;
    voted(stage, &id, "draw another picture", "normal")?;
    let at = until_at_work(stage, ALICE, &id, 250)?;
    let Some(who) = [BOB, CAROL].into_iter().find(|who| WHO[*who].0 == at) else { return Ok(()) };
    stage.kill(who);
    stage.say(WHO[who].0, "loses power in the middle of it");
    Ok(())
}

fn come_back(stage: &mut Stage) -> Result<()> {
    for who in [BOB, CAROL] {
        if !stage.is_up(who) {
            stage.up(who)?;
            stage.say(WHO[who].0, "is back");
        }
    }
    Ok(())
}

/// Nobody votes on it: it waits for whoever's energy is clean first.
// spec: VOTE-4
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

//! What a task can say and ask, against the native host.

use mesh_guest::testing::{Folder, TestRun};
use mesh_guest::{Error, ErrorKind, Level, Meta, Saved};
use std::fs;

// spec: SDK-2
#[test]
fn progress_and_logs_arrive_in_order_and_in_bounds() {
    let run = TestRun::new().run(|ctx| {
        ctx.progress(0.4, "note");
        ctx.progress(7.0, &"é".repeat(200));
        ctx.progress(f64::NAN, "");
        ctx.log(Level::Warn, "careful");
        ctx.log(Level::Debug, &"x".repeat(5000));
        Ok(())
    });
    run.result.unwrap();
    assert_eq!(run.progress[0], (0.4, "note".to_owned()));
    assert_eq!(run.progress[1], (1.0, "é".repeat(128)));
    assert_eq!(run.progress[2].0, 0.0);
    assert_eq!(run.logs[0], (Level::Warn, "careful".to_owned()));
    assert_eq!(run.logs[1].1.len(), 4096);
}

// spec: SDK-2
#[test]
fn a_state_saved_is_the_state_restored() {
    let state = (7_u32, vec![1.5_f64, -2.0], Some("half".to_owned()));
    let first = TestRun::new().run(|ctx| {
        assert_eq!(ctx.restore::<(u32, Vec<f64>, Option<String>)>()?, None);
        assert_eq!(ctx.checkpoint(&state)?, Saved::Yes);
        Ok(())
    });
    first.result.as_ref().unwrap();
    assert_eq!(first.last_checkpoint().unwrap(), Some(state.clone()));
    let second = TestRun::new().resume_bytes(first.checkpoints[0].clone()).run(|ctx| ctx.restore());
    assert_eq!(second.result.unwrap(), Some(state.clone()));
    let third = TestRun::new().resume(&state).run(|ctx| ctx.restore());
    assert_eq!(third.result.unwrap(), Some(state));
}

// spec: SDK-2, SDK-6
#[test]
fn a_checkpoint_refused_is_no_failure_but_one_too_large_is() {
    for answer in [Saved::Denied, Saved::TooOften] {
        let run = TestRun::new().saving(answer).run(|ctx| ctx.checkpoint(&1));
        assert_eq!(run.result.unwrap(), answer);
        assert!(run.checkpoints.is_empty());
    }
    let run = TestRun::new().checkpoint_bytes(10).run(|ctx| ctx.checkpoint(&[0_u8; 11]));
    let error = run.result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert!(error.message().contains("11 bytes") && error.message().contains("task.toml"), "{error}");
}

// spec: SDK-6
#[test]
fn bytes_that_are_no_state_are_an_error() {
    let run = TestRun::new().resume_bytes([255; 3]).run(|ctx| ctx.restore::<(String, u64)>());
    assert!(run.result.unwrap_err().message().contains("3 bytes"));
}

// spec: SDK-2
#[test]
fn the_host_asks_to_stop_after_the_polls() {
    let run = TestRun::new().stop_after(2).run(|ctx| -> mesh_guest::Result<()> {
        let mut polls = 0;
        while !ctx.should_stop() {
            polls += 1;
        }
        Err(Error::stopped(format!("{polls}")))
    });
    let error = run.result.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Stopped, "2"));
}

// spec: SDK-2
#[test]
fn meta_and_folders_are_told() {
    let share = Folder::new();
    share.write("inside", "1");
    let run = TestRun::new().input_file("a", "in").share("logs", share.path()).run(|ctx| {
        fs::write(ctx.output_dir().join("b"), fs::read(ctx.input_dir().join("a"))?)?;
        fs::create_dir(ctx.output_dir().join("deep"))?;
        fs::write(ctx.output_dir().join("deep/c"), fs::read(ctx.share("logs").join("inside"))?)?;
        assert!(!ctx.share("other").exists());
        Ok(ctx.meta())
    });
    let Meta { attempt, name, memory_bytes, .. } = run.result.unwrap();
    assert_eq!((attempt, name.as_str(), memory_bytes), (1, "test", 64_000_000));
    assert_eq!(run.files["b"], b"in");
    assert_eq!(run.files["deep/c"], b"1");
}

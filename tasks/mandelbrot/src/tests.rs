//! The task, natively.
// spec: SDK-5

use super::*;
use mesh_guest::testing::{Outcome, TestRun};
use mesh_guest::{ErrorKind, Saved};

const PNG: &str = "mandelbrot.png";

fn small() -> Params {
    Params { width: 96, height: 50, max_iterations: 200, ..Params::default() }
}

fn draw(run: TestRun, params: &Params) -> Outcome<Summary> {
    run.run(|ctx| task(ctx, Some(params.clone())))
}

fn pixels(png: &[u8]) -> (u32, u32, Vec<u8>) {
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    (info.width, info.height, pixels)
}

#[test]
fn a_picture_is_drawn() {
    let params = small();
    let run = draw(TestRun::new(), &params);
    let summary = run.result.unwrap();
    assert_eq!((summary.width, summary.height), (96, 50));
    let (width, height, pixels) = pixels(&run.files[PNG]);
    assert_eq!((width, height), (96, 50));
    let inside = pixels.iter().filter(|&&index| index == 0).count() as u64;
    assert_eq!(summary.inside, inside);
    // The set fills about a ninth of this part of the plane: 1.506 of 4.8 × 2.5.
    assert!((500..750).contains(&inside), "{inside}");
    assert_eq!(pixels[25 * 96 + 48], 0, "the middle lies inside");
    assert_ne!(pixels[0], 0, "the corner lies outside");
    assert_eq!(run.progress.len(), 50);
    assert_eq!(run.progress[49].0, 1.0);
}

#[test]
fn the_upper_half_mirrors_the_lower() {
    let run = draw(TestRun::new(), &small());
    let (width, height, pixels) = pixels(&run.files[PNG]);
    let (width, height) = (width as usize, height as usize);
    for row in 0..height / 2 {
        let other = height - 1 - row;
        assert_eq!(pixels[row * width..][..width], pixels[other * width..][..width], "row {row}");
    }
}

// spec: SDK-6
#[test]
fn an_interrupted_picture_is_the_same_to_the_byte() {
    let params = small();
    let whole = draw(TestRun::new(), &params);
    for polls in [0, 1, 17, 49] {
        let stopped = draw(TestRun::new().stop_after(polls), &params);
        assert_eq!(stopped.result.as_ref().unwrap_err().kind(), ErrorKind::Stopped);
        assert!(stopped.files.is_empty());
        let state = stopped.checkpoints.last().unwrap().clone();
        let resumed = draw(TestRun::new().resume_bytes(state), &params);
        assert_eq!(resumed.files[PNG], whole.files[PNG]);
        assert_eq!(resumed.result.unwrap(), *whole.result.as_ref().unwrap());
        assert_eq!(resumed.progress.len(), 50 - polls as usize);
    }
}

// spec: SDK-6
#[test]
fn any_checkpoint_on_the_way_leads_to_the_same_picture() {
    let params = small();
    let whole = draw(TestRun::new(), &params);
    assert!((15..=20).contains(&whole.checkpoints.len()), "{}", whole.checkpoints.len());
    for state in whole.checkpoints {
        let resumed = draw(TestRun::new().resume_bytes(state), &params);
        assert_eq!(resumed.files[PNG], whole.files[PNG]);
    }
}

#[test]
fn without_checkpoints_it_is_drawn_all_the_same() {
    for answer in [Saved::Denied, Saved::TooOften] {
        assert!(draw(TestRun::new().saving(answer), &small()).result.is_ok());
    }
}

// spec: SDK-6
#[test]
fn a_checkpoint_of_another_picture_is_refused() {
    let state = draw(TestRun::new().stop_after(3), &small()).checkpoints.pop().unwrap();
    let other = Params { width: 95, ..small() };
    let run = draw(TestRun::new().resume_bytes(state.clone()), &other);
    assert!(run.result.unwrap_err().message().contains("another picture"));
    for end in [0, 1, state.len() - 1] {
        assert!(draw(TestRun::new().resume_bytes(&state[..end]), &small()).result.is_err());
    }
}

#[test]
fn the_largest_picture_fits_its_checkpoint_limit() {
    let params = Params { width: 4000, height: 4000, max_iterations: 1, ..Params::default() };
    let run = draw(TestRun::new().checkpoint_bytes(17_000_000).stop_after(3999), &params);
    assert_eq!(run.result.unwrap_err().kind(), ErrorKind::Stopped);
}

#[test]
fn values_out_of_range_are_invalid_input() {
    let wrong = [
        Params { width: 0, ..small() },
        Params { height: 8193, ..small() },
        Params { width: 8000, height: 8000, ..small() },
        Params { max_iterations: 0, ..small() },
        Params { zoom: 0.0, ..small() },
        Params { zoom: f64::INFINITY, ..small() },
        Params { center_x: f64::NAN, ..small() },
    ];
    for params in wrong {
        let error = draw(TestRun::new(), &params).result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{params:?}");
    }
}

//! The task, natively.
// spec: SDK-5

use super::*;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use mesh_guest::ErrorKind;
use mesh_guest::testing::{Outcome, TestRun};
use std::io::Cursor;

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Red on the left, blue on the right.
fn halves(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, _| if x < width / 2 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) })
}

fn run(run: TestRun, max_side: u32) -> Outcome<Vec<Done>> {
    run.run(|ctx| task(ctx, Some(Params { max_side })))
}

fn made(name: &str, (width, height): (u32, u32), thumb: (u32, u32)) -> Done {
    let thumb = Thumb { name: format!("{name}.thumb.png"), width: thumb.0, height: thumb.1 };
    Done::Made { name: name.to_owned(), width, height, thumb }
}

#[test]
fn pictures_of_both_kinds_get_thumbnails_by_name() {
    let clear = RgbaImage::from_pixel(40, 300, Rgba([1, 2, 3, 128]));
    let run = run(
        TestRun::new()
            .input_file("wide.jpg", encoded(halves(400, 100), ImageFormat::Jpeg))
            .input_file("tall.png", encoded(clear, ImageFormat::Png))
            .input_file("tiny.png", encoded(halves(6, 4), ImageFormat::Png)),
        64,
    );
    let want = [
        made("tall.png", (40, 300), (9, 64)),
        made("tiny.png", (6, 4), (6, 4)),
        made("wide.jpg", (400, 100), (64, 16)),
    ];
    assert_eq!(run.result.unwrap(), want);
    assert_eq!(run.files.len(), 3);

    let wide = image::load_from_memory(&run.files["wide.jpg.thumb.png"]).unwrap().to_rgb8();
    let [red, _, blue] = wide.get_pixel(5, 8).0;
    assert!(red > 240 && blue < 20);
    let [red, _, blue] = wide.get_pixel(58, 8).0;
    assert!(red < 20 && blue > 240);
    let tall = image::load_from_memory(&run.files["tall.png.thumb.png"]).unwrap().to_rgba8();
    assert_eq!(tall.get_pixel(4, 30).0, [1, 2, 3, 128]);
}

#[test]
fn a_line_of_pixels_keeps_one_across() {
    let run = run(TestRun::new().input_file("line.png", encoded(halves(2000, 1), ImageFormat::Png)), 50);
    assert_eq!(run.result.unwrap(), [made("line.png", (2000, 1), (50, 1))]);
}

#[test]
fn broken_pictures_are_told_and_do_not_stop_the_others() {
    let good = encoded(halves(10, 10), ImageFormat::Png);
    let run = run(
        TestRun::new()
            .input_file("cut.png", &good[..good.len() / 2])
            .input_file("empty.jpg", "")
            .input_file("text.png", "not a picture")
            .input_file("zz.png", &good),
        8,
    );
    let done = run.result.unwrap();
    let broken = |done: &Done, want: &str| matches!(done, Done::Broken { name, error } if name == want && !error.is_empty());
    assert!(
        broken(&done[0], "cut.png") && broken(&done[1], "empty.jpg") && broken(&done[2], "text.png"),
        "{done:?}"
    );
    assert_eq!(done[3], made("zz.png", (10, 10), (8, 8)));
    assert_eq!(run.files.len(), 1);
    assert_eq!(run.logs.len(), 3);
}

/// A PNG that says it is so large, with almost nothing in it.
fn bomb(width: u32, height: u32) -> Vec<u8> {
    let mut png = encoded(halves(1, 1), ImageFormat::Png);
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let mut crc = !0_u32;
    for byte in &png[12..29] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    png[29..33].copy_from_slice(&(!crc).to_be_bytes());
    png
}

#[test]
fn pictures_over_the_bounds_are_refused_before_they_are_decoded() {
    for (width, height) in [(100_000, 1), (1, 20_000), (16_000, 16_000)] {
        let run = run(TestRun::new().input_file("bomb.png", bomb(width, height)), 8);
        let done = run.result.unwrap();
        let Done::Broken { error, .. } = &done[0] else { panic!("{done:?}") };
        assert!(error.contains("imit") || error.contains("over"), "{error}");
    }
}

#[test]
fn a_picture_taken_sideways_is_turned() {
    let jpeg = encoded(halves(80, 40), ImageFormat::Jpeg);
    // An Exif segment that says: turn by 90 degrees to the right (orientation 6).
    let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let turned = [&jpeg[..2], exif, &jpeg[2..]].concat();
    let run = run(TestRun::new().input_file("a.jpg", turned), 20);
    assert_eq!(run.result.unwrap(), [made("a.jpg", (40, 80), (10, 20))]);
    let thumb = image::load_from_memory(&run.files["a.jpg.thumb.png"]).unwrap().to_rgb8();
    assert!(thumb.get_pixel(5, 2).0[0] > 240, "red was left and is on top");
}

#[test]
fn what_is_printed() {
    let done = [made("a.png", (2, 1), (2, 1)), Done::Broken { name: "b".into(), error: "e".into() }];
    let json = mesh_guest::Output::into_bytes(done).unwrap();
    let want = concat!(
        r#"[{"name":"a.png","width":2,"height":1,"thumb":{"name":"a.png.thumb.png","width":2,"height":1}},"#,
        r#"{"name":"b","error":"e"}]"#,
        "\n"
    );
    assert_eq!(String::from_utf8(json).unwrap(), want);
}

#[test]
fn sizes_out_of_range_are_invalid_input() {
    for max_side in [0, 1025] {
        let error = run(TestRun::new(), max_side).result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

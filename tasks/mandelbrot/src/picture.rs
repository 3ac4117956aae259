//! The picture so far, which is also the state that a checkpoint saves.

use crate::params::Params;
use mesh_guest::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Index of the colour of points inside the set.
const INSIDE: u8 = 0;
/// Colours of points outside, used in turn.
const COLOURS: u32 = 255;

/// Whole rows of pixels, from the top.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Picture {
    params: Params,
    iterations: u64,
    pixels: Pixels,
}

/// Indices into the palette, encoded as one run of bytes rather than one by one.
#[derive(Debug)]
struct Pixels(Vec<u8>);

impl Serialize for Pixels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Pixels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(|bytes| Self(bytes.to_vec()))
    }
}

impl Picture {
    /// Nothing drawn yet.
    pub(crate) fn new(params: Params) -> Self {
        let pixels = Vec::with_capacity(params.width as usize * params.height as usize);
        Self { params, iterations: 0, pixels: Pixels(pixels) }
    }

    /// This picture, if it is a part of what these parameters make.
    ///
    /// # Errors
    /// Failed, when the checkpoint is of another picture or is no whole number of rows.
    pub(crate) fn fits(mut self, params: &Params) -> Result<Self> {
        let (drawn, all) = (self.pixels.0.len(), params.width as usize * params.height as usize);
        if self.params != *params || drawn > all || drawn % params.width as usize != 0 {
            return Err(Error::failed(
                "cannot resume: the checkpoint is of another picture; run the task afresh",
            ));
        }
        self.pixels.0.reserve_exact(all - drawn);
        Ok(self)
    }

    /// Rows drawn.
    pub(crate) fn rows(&self) -> u32 {
        // A checked picture has at most the height's rows.
        (self.pixels.0.len() / self.params.width as usize) as u32
    }

    /// Iterations of all pixels, and how many lie inside the set.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.iterations, self.pixels.0.iter().filter(|&&index| index == INSIDE).count() as u64)
    }

    /// Draws the next row.
    pub(crate) fn draw_row(&mut self) {
        let row = self.rows();
        for column in 0..self.params.width {
            let escaped = escape(self.params.point(column, row), self.params.max_iterations);
            self.iterations += u64::from(escaped.unwrap_or(self.params.max_iterations));
            self.pixels.0.push(escaped.map_or(INSIDE, |after| 1 + (after % COLOURS) as u8));
        }
    }

    /// Writes the picture as a PNG with a palette.
    ///
    /// # Errors
    /// Failed, when the file cannot be written.
    pub(crate) fn write_png(&self, path: &Path) -> Result<()> {
        let mut file = BufWriter::new(
            File::create(path)
                .map_err(|e| Error::failed(format!("cannot create {}: {e}", path.display())))?,
        );
        let mut encoder = png::Encoder::new(&mut file, self.params.width, self.params.height);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_palette(palette());
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels.0)?;
        writer.finish()?;
        file.flush()?;
        Ok(())
    }
}

/// After how many steps a point leaves the circle of radius 2, `None` when it does not.
fn escape((cx, cy): (f64, f64), most: u32) -> Option<u32> {
    let (mut x, mut y) = (0.0_f64, 0.0_f64);
    // A point seen again comes round for ever: it is inside, and need not be followed to the end.
    let (mut seen_x, mut seen_y, mut look_at) = (0.0_f64, 0.0_f64, 8_u32);
    for step in 0..most {
        let (xx, yy) = (x * x, y * y);
        if xx + yy > 4.0 {
            return Some(step);
        }
        y = 2.0 * x * y + cy;
        x = xx - yy + cx;
        if x == seen_x && y == seen_y {
            return None;
        }
        if step == look_at {
            (seen_x, seen_y, look_at) = (x, y, look_at.saturating_mul(2));
        }
    }
    None
}

/// Black, then 255 colours that run into each other: whole numbers only, so they are the same everywhere.
fn palette() -> Vec<u8> {
    /// Up from 0 to 255 and down again, over 256 steps.
    fn wave(at: u32) -> u8 {
        let at = at % 256;
        (if at < 128 { at * 2 } else { (255 - at) * 2 + 1 }) as u8
    }
    let mut palette = vec![0, 0, 0];
    for at in 0..COLOURS {
        palette.extend([wave(at * 3 + 20), wave(at * 2 + 10), wave(at + 90)]);
    }
    palette
}

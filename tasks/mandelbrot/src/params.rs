//! What to draw.

use mesh_guest::{Error, Result};
use serde::{Deserialize, Serialize};

/// Most pixels along one side.
const MOST_SIDE: u32 = 8192;
/// Most pixels in all: each takes a byte of memory and of every checkpoint.
const MOST_PIXELS: u64 = 16_000_000;
const MOST_ITERATIONS: u32 = 1_000_000;
/// The height that is shown at zoom 1.
const HEIGHT: f64 = 2.5;

/// The input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Params {
    /// Pixels.
    pub(crate) width: u32,
    /// Pixels.
    pub(crate) height: u32,
    /// Real part of the middle.
    pub(crate) center_x: f64,
    /// Imaginary part of the middle.
    pub(crate) center_y: f64,
    /// How much larger than the whole set.
    pub(crate) zoom: f64,
    /// After which a point counts as inside.
    pub(crate) max_iterations: u32,
}

impl Default for Params {
    fn default() -> Self {
        Self { width: 800, height: 600, center_x: -0.75, center_y: 0.0, zoom: 1.0, max_iterations: 1000 }
    }
}

impl Params {
    /// Whether it can be drawn within the limits of task.toml.
    ///
    /// # Errors
    /// Invalid input, saying which value is out of which range.
    pub(crate) fn check(&self) -> Result<()> {
        for (name, side) in [("width", self.width), ("height", self.height)] {
            if !(1..=MOST_SIDE).contains(&side) {
                return Err(Error::invalid_input(format!("{name} is {side}: give 1 to {MOST_SIDE} pixels")));
            }
        }
        let pixels = u64::from(self.width) * u64::from(self.height);
        if pixels > MOST_PIXELS {
            let say = format!("width × height is {pixels}: give at most {MOST_PIXELS} pixels in all");
            return Err(Error::invalid_input(say));
        }
        if !(1..=MOST_ITERATIONS).contains(&self.max_iterations) {
            let say = format!("max_iterations is {}: give 1 to {MOST_ITERATIONS}", self.max_iterations);
            return Err(Error::invalid_input(say));
        }
        for (name, part) in [("center_x", self.center_x), ("center_y", self.center_y)] {
            if !(-4.0..=4.0).contains(&part) {
                return Err(Error::invalid_input(format!(
                    "{name} is {part}: give -4 to 4, the set lies within 2"
                )));
            }
        }
        if !(0.01..=1e15).contains(&self.zoom) {
            let say = format!(
                "zoom is {}: give 0.01 to 1e15, beyond which numbers cannot tell points apart",
                self.zoom
            );
            return Err(Error::invalid_input(say));
        }
        Ok(())
    }

    /// The point in the middle of a pixel. Only arithmetic, which is the same everywhere.
    pub(crate) fn point(&self, column: u32, row: u32) -> (f64, f64) {
        let step = HEIGHT / self.zoom / f64::from(self.height);
        let x = self.center_x + (f64::from(column) + 0.5 - f64::from(self.width) / 2.0) * step;
        let y = self.center_y - (f64::from(row) + 0.5 - f64::from(self.height) / 2.0) * step;
        (x, y)
    }
}

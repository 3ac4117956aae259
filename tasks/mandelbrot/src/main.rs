//! Draws a part of the Mandelbrot set as `/out/mandelbrot.png`.
// spec: SDK-5

mod params;
mod picture;
#[cfg(test)]
mod tests;

use mesh_guest::{Context, Error, Level, Result};
use params::Params;
use picture::Picture;
use serde::Serialize;

/// Checkpoints on the way, however large the picture: each costs as many bytes as there are pixels so far.
const CHECKPOINTS: u32 = 20;

/// What was drawn.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    width: u32,
    height: u32,
    iterations: u64,
    inside: u64,
}

#[mesh_guest::task]
fn main(ctx: &mut Context, input: Option<Params>) -> Result<Summary> {
    let params = input.unwrap_or_default();
    params.check()?;
    let mut picture = match ctx.restore::<Picture>()? {
        Some(picture) => picture.fits(&params)?,
        None => Picture::new(params.clone()),
    };
    if picture.rows() > 0 {
        ctx.log(Level::Info, &format!("resuming at row {}", picture.rows()));
    }

    let every = params.height.div_ceil(CHECKPOINTS);
    while picture.rows() < params.height {
        if ctx.should_stop() {
            ctx.checkpoint(&picture)?;
            return Err(Error::stopped(format!("stopped at row {} of {}", picture.rows(), params.height)));
        }
        picture.draw_row();
        let rows = picture.rows();
        if rows % every == 0 && rows < params.height {
            ctx.checkpoint(&picture)?;
        }
        ctx.progress(f64::from(rows) / f64::from(params.height), &format!("row {rows} of {}", params.height));
    }

    picture.write_png(&ctx.output_dir().join("mandelbrot.png"))?;
    let (iterations, inside) = picture.totals();
    Ok(Summary { width: params.width, height: params.height, iterations, inside })
}

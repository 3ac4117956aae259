//! From a file to a small picture, within bounds that the file cannot choose.

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};
use mesh_guest::{Error, Result};
use std::path::Path;

/// Most pixels along one side.
const MOST_SIDE: u32 = 16_384;
/// Most bytes of a decoded picture: a small file may claim any size.
const MOST_BYTES: u64 = 80_000_000;

/// A picture made small.
#[derive(Debug)]
pub(crate) struct Shrunk {
    /// Pixels of the picture as it was, upright.
    pub(crate) width: u32,
    /// Pixels of the picture as it was, upright.
    pub(crate) height: u32,
    pub(crate) small: DynamicImage,
}

/// Reads a picture and makes it fit a square of `max_side` pixels.
///
/// # Errors
/// Failed, when the file is no picture of a known kind, is broken or too large.
pub(crate) fn shrink(path: &Path, max_side: u32) -> Result<Shrunk> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MOST_SIDE);
    limits.max_image_height = Some(MOST_SIDE);
    limits.max_alloc = Some(MOST_BYTES);
    // What a file holds counts, not what its name says.
    let mut reader = ImageReader::open(path)?.with_guessed_format()?;
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    if decoder.total_bytes() > MOST_BYTES {
        let (width, height) = decoder.dimensions();
        let say =
            format!("{width} × {height} pixels take {} bytes, over {MOST_BYTES}", decoder.total_bytes());
        return Err(Error::failed(say));
    }
    let orientation = decoder.orientation()?;
    let mut picture = DynamicImage::from_decoder(decoder)?;
    let (mut width, mut height) = (picture.width(), picture.height());
    if width.max(height) > max_side {
        picture = picture.thumbnail(max_side, max_side);
    }
    // Turned when small, which is quicker.
    picture.apply_orientation(orientation);
    if sideways(orientation) {
        (width, height) = (height, width);
    }
    Ok(Shrunk { width, height, small: picture })
}

fn sideways(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

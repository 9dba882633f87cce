//! Thumbnails: a small picture of a picture, or of the first page of a PDF.
//!
//! What is in a file is whatever somebody put there, and the decoders of a dozen formats are large. So [`make`] is run in a
//! child process with limits of its own ([`is_candidate`] is all that the node itself does), and whatever happens to that
//! child, the answer is only that there is no thumbnail. The limits here are the first fence, the process is the second.

use std::io::Cursor;

use hayro::hayro_interpret::InterpreterSettings;
use hayro::hayro_syntax::Pdf;
use hayro::vello_cpu::color::palette::css::WHITE;
use hayro::{PixmapSettings, RenderCache, RenderSettings};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

/// The longer side of a thumbnail in pixels: sharp at the size of a card, on a screen of twice the density.
pub const SIDE: u32 = 512;
/// Larger files have none: this is more than a scanned plan.
pub const MAX_SOURCE_BYTES: u64 = 64 * 1024 * 1024;
/// What has to be looked at to tell whether a file may have one.
pub const BEGINNING_BYTES: u64 = PDF_BEGINS_WITHIN as u64;
/// No thumbnail is larger: 512 x 512 pixels of four bytes, and some for the format.
pub const MAX_BYTES: usize = 1_100_000;
/// Pictures with a longer side are not decoded.
const MAX_SOURCE_SIDE: u32 = 30_000;
/// Pictures that take more bytes decoded are not: 85 million pixels of three bytes.
const MAX_DECODED_BYTES: u64 = 256 * 1024 * 1024;

const PDF: &[u8] = b"%PDF-";
/// A PDF may have some bytes before it begins (its specification, implementation note 13).
const PDF_BEGINS_WITHIN: usize = 1_024;
/// What a PNG begins with.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Why there is no thumbnail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoThumbnail {
    /// It is neither a PNG, a JPEG, a WebP, a GIF nor a PDF.
    #[error("it is neither a picture nor a PDF")]
    OtherType,
    /// It is damaged, encrypted, or too large to be decoded.
    #[error("it cannot be shown: {0}")]
    Unreadable(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Picture(ImageFormat),
    Pdf,
}

/// Whether a file that begins so may have a thumbnail. Looks at the beginning only, and decodes nothing.
pub fn is_candidate(begins: &[u8]) -> bool {
    kind(begins).is_some()
}

/// Whether these bytes may be a thumbnail: a PNG, and not too large.
pub fn is_thumbnail(bytes: &[u8]) -> bool {
    bytes.starts_with(PNG) && bytes.len() <= MAX_BYTES
}

fn kind(begins: &[u8]) -> Option<Kind> {
    use ImageFormat::{Gif, Jpeg, Png, WebP};
    if let Ok(format @ (Png | Jpeg | WebP | Gif)) = image::guess_format(begins) {
        return Some(Kind::Picture(format));
    }
    let head = &begins[..begins.len().min(PDF_BEGINS_WITHIN)];
    head.windows(PDF.len()).any(|window| window == PDF).then_some(Kind::Pdf)
}

/// The thumbnail of a file, as a PNG. May take long, take much memory, or panic: run it where that harms nobody.
pub fn make(source: Vec<u8>) -> Result<Vec<u8>, NoThumbnail> {
    let small = match kind(&source).ok_or(NoThumbnail::OtherType)? {
        Kind::Picture(format) => picture(&source, format)?,
        Kind::Pdf => page(source)?,
    };
    let mut bytes = Vec::new();
    small.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).map_err(unreadable)?;
    Ok(bytes)
}

/// A picture as it is meant to be seen, the first one of several.
fn picture(source: &[u8], format: ImageFormat) -> Result<DynamicImage, NoThumbnail> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SOURCE_SIDE);
    limits.max_image_height = Some(MAX_SOURCE_SIDE);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(source), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(unreadable)?;
    if decoder.total_bytes() > MAX_DECODED_BYTES {
        return Err(NoThumbnail::Unreadable("it has too many pixels".to_owned()));
    }
    let orientation = decoder.orientation().map_err(unreadable)?;
    let mut whole = DynamicImage::from_decoder(decoder).map_err(unreadable)?;
    whole.apply_orientation(orientation);
    let small = if whole.width().max(whole.height()) > SIDE { whole.thumbnail(SIDE, SIDE) } else { whole };
    Ok(DynamicImage::ImageRgba8(small.to_rgba8()))
}

/// The first page, on white.
fn page(source: Vec<u8>) -> Result<DynamicImage, NoThumbnail> {
    let wrong = |why: &str| NoThumbnail::Unreadable(why.to_owned());
    let pdf = Pdf::new(source).map_err(|error| NoThumbnail::Unreadable(format!("{error:?}")))?;
    let pages = pdf.pages();
    let first = pages.first().ok_or_else(|| wrong("it has no page"))?;
    let (width, height) = first.render_dimensions();
    if !(width.is_finite() && height.is_finite() && width > 0.0 && height > 0.0) {
        return Err(wrong("its first page has no size"));
    }
    #[allow(clippy::cast_precision_loss, reason = "a few hundred pixels")]
    let scale = SIDE as f32 / width.max(height);
    // However thin a page is, it is a pixel wide.
    let (x_scale, y_scale) = (scale.max(1.0 / width), scale.max(1.0 / height));
    let settings = PixmapSettings { x_scale, y_scale, bg_color: WHITE };
    let cache = RenderCache::new();
    let shown = hayro::render(first, &cache, &InterpreterSettings::default(), &RenderSettings::default(), &settings);
    let png = shown.into_png().map_err(|error| NoThumbnail::Unreadable(format!("{error:?}")))?;
    image::load_from_memory_with_format(&png, ImageFormat::Png).map_err(unreadable)
}

#[allow(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn unreadable(error: image::ImageError) -> NoThumbnail {
    NoThumbnail::Unreadable(error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is the right report")]
mod tests {
    use super::*;

    fn drawn(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let shade = |at: u32| u8::try_from(at % 256).unwrap();
        let picture = image::RgbImage::from_fn(width, height, |x, y| image::Rgb([shade(x), shade(y), 7]));
        let mut bytes = Vec::new();
        DynamicImage::ImageRgb8(picture).write_to(&mut Cursor::new(&mut bytes), format).unwrap();
        bytes
    }

    fn size_of(thumbnail: &[u8]) -> (u32, u32) {
        let picture = image::load_from_memory_with_format(thumbnail, ImageFormat::Png).unwrap();
        (picture.width(), picture.height())
    }

    #[test]
    fn pictures_of_four_formats_become_small_and_keep_their_shape() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif] {
            let source = drawn(1_000, 250, format);
            assert!(is_candidate(&source[..64]));
            let thumbnail = make(source).unwrap();
            assert!(is_thumbnail(&thumbnail));
            assert_eq!(size_of(&thumbnail), (512, 128), "{format:?}");
            assert_eq!(size_of(&make(drawn(20, 30, format)).unwrap()), (20, 30), "small ones stay as they are");
        }
    }

    #[test]
    fn what_is_no_picture_has_none() {
        for source in [&b""[..], b"Enter Hamlet.", b"PK\x03\x04", b"<svg xmlns='http://www.w3.org/2000/svg'/>"] {
            assert_eq!(make(source.to_vec()), Err(NoThumbnail::OtherType));
            assert!(!is_candidate(source));
        }
        for source in [&drawn(9, 9, ImageFormat::Png)[..40], b"%PDF-1.7\nnothing", b"GIF89a", b"\xff\xd8\xff"] {
            assert!(matches!(make(source.to_vec()), Err(NoThumbnail::Unreadable(_))), "{source:?}");
        }
    }

    #[test]
    fn a_picture_that_only_says_that_it_is_huge_takes_no_memory() {
        let mut bomb = drawn(9, 9, ImageFormat::Png);
        // Width and height, and the checksum over them, stand behind the signature and the chunk's name.
        bomb[16..24].copy_from_slice(&[0, 0, 0x70, 0, 0, 0, 0x70, 0]);
        let checksum = crc(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
        assert!(matches!(make(bomb), Err(NoThumbnail::Unreadable(_))));
    }

    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0_u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 })
        })
    }
}

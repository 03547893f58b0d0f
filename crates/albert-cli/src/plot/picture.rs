//! A figure as a file: SVG, or PNG with a font of its own, so that it looks the same on a machine
//! without any.

use std::io::Write as _;
use std::path::Path;

use albert::files::write_atomically;

use crate::output::refuse_other_than_file;
use anyhow::{Context, Result, anyhow, bail};
use plotters::prelude::*;
use plotters::style::register_font;

use super::{Area, Drawn, FONT, Scale};

/// Pixels of a PNG for a unit of the figure.
const FINENESS: u32 = 2;
/// Each of them is the mean of so many in both directions, as `plotters` draws slanted thick lines
/// with jagged edges.
const OVERSAMPLING: u32 = 2;

/// The form of the picture.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Format {
    Svg,
    Png,
}

impl Format {
    /// The form that the name of a file asks for.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            _ => bail!("{}: a picture is written as .svg or .png", path.display()),
        }
    }
}

/// What can be drawn.
pub(crate) trait Picture {
    /// Width and height in units.
    fn size(&self) -> (u32, u32);

    /// Draws it all.
    fn draw<B: DrawingBackend>(&self, root: &Area<B>, scale: Scale) -> Drawn<B>;
}

/// Draws a picture and writes it.
pub(crate) fn write(figure: &impl Picture, format: Format, path: &Path) -> Result<()> {
    refuse_other_than_file(path)?;
    // The SVG is laid out with it too, though shown with the reader's.
    register_font(FONT, FontStyle::Normal, dejavu::sans::regular())
        .map_err(|_| anyhow!("the font of the program cannot be read"))?;
    let bytes = match format {
        Format::Svg => svg(figure)?,
        Format::Png => png(figure)?,
    };
    Ok(write_atomically(path, |file| file.write_all(&bytes))?)
}

fn svg(figure: &impl Picture) -> Result<Vec<u8>> {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, figure.size()).into_drawing_area();
        figure
            .draw(&root, Scale { factor: 1.0, rods: false })
            .and_then(|()| root.present())
            .context("drawing")?;
    }
    Ok(text.into_bytes())
}

fn png(figure: &impl Picture) -> Result<Vec<u8>> {
    let (width, height) = figure.size();
    let (width, height) = (width * FINENESS, height * FINENESS);
    let fine = (width * OVERSAMPLING, height * OVERSAMPLING);
    let mut pixels = vec![0; 3 * fine.0 as usize * fine.1 as usize];
    {
        let root = BitMapBackend::with_buffer(&mut pixels, fine).into_drawing_area();
        let scale = Scale { factor: f64::from(FINENESS * OVERSAMPLING), rods: true };
        figure.draw(&root, scale).and_then(|()| root.present()).context("drawing")?;
    }
    let pixels = mean_pixels(&pixels, fine.0 as usize, OVERSAMPLING as usize);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
    let mut writer = encoder.write_header().context("drawing")?;
    writer.write_image_data(&pixels).and_then(|()| writer.finish()).context("drawing")?;
    Ok(bytes)
}

/// The means of squares of `count` x `count` pixels (red, green, blue) of rows of `width`.
fn mean_pixels(pixels: &[u8], width: usize, count: usize) -> Vec<u8> {
    let mut means = Vec::with_capacity(pixels.len() / (count * count));
    for rows in pixels.chunks_exact(3 * width * count) {
        for x in 0..width / count {
            for colour in 0..3 {
                let part = |at: usize| {
                    let (row, column) = (at / count, at % count);
                    usize::from(rows[3 * (row * width + x * count + column) + colour])
                };
                let sum: usize = (0..count * count).map(part).sum();
                means.push((sum / (count * count)) as u8);
            }
        }
    }
    means
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_averaged_in_squares() {
        let row = |values: [u8; 4]| values.map(|value| [value, 2 * value, 0]).concat();
        let pixels = [row([0, 4, 8, 8]), row([4, 8, 16, 16])].concat();
        assert_eq!(mean_pixels(&pixels, 4, 2), [4, 8, 0, 12, 24, 0]);
    }
}

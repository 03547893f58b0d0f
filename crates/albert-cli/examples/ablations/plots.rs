//! Curves of pre-training, a picture for each table: held-out masked words over tokens.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;

/// Okabe and Ito's colours, which the colour-blind can tell apart.
const COLOURS: [RGBColor; 7] = [
    RGBColor(40, 40, 40),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
const TEXT: RGBColor = RGBColor(50, 50, 50);
const FAINT: RGBColor = RGBColor(110, 110, 110);
const GRID: RGBColor = RGBColor(232, 232, 232);
const AXIS: RGBColor = RGBColor(170, 170, 170);
const FONT: &str = "sans-serif";
const WIDTH: u32 = 1000;
const LEGEND_ROW: u32 = 24;
const PANEL_HEIGHT: u32 = 320;
const MARGIN: u32 = 16;

/// The curve of a model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Curve {
    pub(crate) name: String,
    /// Millions of tokens, and percent of masked words right.
    pub(crate) accuracy: Vec<(f64, f64)>,
    /// Millions of tokens, and mean cross-entropy of masked words.
    pub(crate) loss: Vec<(f64, f64)>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The picture of some curves as SVG; nothing if no curve has points.
///
/// # Errors
/// A font that cannot be read; more curves than can be told apart.
pub(crate) fn svg(curves: &[Curve]) -> Result<Option<String>> {
    if curves.iter().all(|curve| curve.accuracy.is_empty()) {
        return Ok(None);
    }
    if curves.len() > COLOURS.len() {
        return Err(anyhow!("{} curves are more than can be told apart", curves.len()));
    }
    register_font(FONT, FontStyle::Normal, dejavu::sans::regular())
        .map_err(|_| anyhow!("the font of the program cannot be read"))?;
    let legend = MARGIN + LEGEND_ROW * curves.len() as u32;
    let mut text = String::new();
    {
        let size = (WIDTH, legend + PANEL_HEIGHT + MARGIN);
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        draw(&root, curves, legend).map_err(|error| anyhow!("drawing: {error}"))?;
    }
    Ok(Some(text))
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw(root: &Area<'_>, curves: &[Curve], legend: u32) -> Drawn {
    root.fill(&WHITE)?;
    let (head, body) = root.split_vertically(legend);
    for ((curve, colour), row) in curves.iter().zip(COLOURS).zip(0..) {
        let top = (MARGIN + row * LEGEND_ROW) as i32;
        head.draw(&Rectangle::new([(24, top + 5), (46, top + 9)], colour.filled()))?;
        head.draw_text(&curve.name, &font(15, TEXT), (56, top - 1))?;
    }
    let (left, right) = body.split_horizontally(WIDTH / 2);
    let accuracy: Vec<&[(f64, f64)]> = curves.iter().map(|curve| &curve.accuracy[..]).collect();
    let loss: Vec<&[(f64, f64)]> = curves.iter().map(|curve| &curve.loss[..]).collect();
    panel(&left, "Masked words right, held out (%)", &accuracy)?;
    panel(&right, "Loss of masked words, held out (nats)", &loss)?;
    root.present()?;
    Ok(())
}

fn font(size: u32, colour: RGBColor) -> TextStyle<'static> {
    (FONT, size).into_font().color(&colour)
}

fn panel(area: &Area<'_>, title: &str, curves: &[&[(f64, f64)]]) -> Drawn {
    area.draw_text(title, &font(16, TEXT), (24, 4))?;
    let points = || curves.iter().flat_map(|points| points.iter());
    let right = points().map(|point| point.0).fold(0.0, f64::max);
    let low = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let high = points().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    // A single value still needs an axis.
    let room = if high > low { 0.05 * (high - low) } else { 0.5 };
    let mut chart = ChartBuilder::on(area)
        .margin_top(30)
        .margin_right(24)
        .margin_bottom(8)
        .x_label_area_size(38)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..right, low - room..high + room)?;
    chart
        .configure_mesh()
        .x_labels(6)
        .y_labels(6)
        .x_desc("million tokens")
        .x_label_formatter(&|value| number(*value))
        .y_label_formatter(&|value| number(*value))
        .label_style(font(13, FAINT))
        .axis_desc_style(font(13, FAINT))
        .axis_style(AXIS)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (points, colour) in curves.iter().zip(COLOURS) {
        chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
        let dot = |at: &(f64, f64)| Circle::new(*at, 3, colour.filled());
        chart.draw_series(points.iter().map(dot))?;
    }
    Ok(())
}

/// A number as short as an axis needs it.
fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_a_line_and_a_name_for_each_curve() {
        let curve = |name: &str, height: f64| Curve {
            name: name.to_owned(),
            accuracy: vec![(1.0, height), (2.0, 2.0 * height)],
            loss: vec![(1.0, 9.0), (2.0, 8.0)],
        };
        let text = svg(&[curve("narrow", 3.0), curve("wide", 4.0)]).unwrap().unwrap();
        assert!(text.contains("narrow") && text.contains("wide"));
        assert_eq!(
            text.matches("<polyline").count() - text.matches("stroke=\"#AAAAAA\"").count(),
            4
        );
        let empty = Curve { name: "x".into(), accuracy: Vec::new(), loss: Vec::new() };
        assert_eq!(svg(&[empty]).unwrap(), None);
    }

    #[test]
    fn ticks_are_short() {
        for (value, text) in [(0.0, "0"), (-1e-12, "0"), (0.1 + 0.2, "0.3"), (12.0, "12")] {
            assert_eq!(number(value), text);
        }
    }
}

//! Pictures of runs of pre-training and fine-tuning: what was measured, over steps, tokens or
//! hours. Reading it is [`measurements`]'s business, models beside each other are [`sizes`]'s;
//! lines, axes and files are drawn by `plotters`.

mod measurements;
mod picture;
mod sizes;

use std::collections::BTreeSet;
use std::ops::Range;

use measurements::smooth;
pub(crate) use measurements::thin;
pub(crate) use measurements::{Axis, Measurements};
pub(crate) use picture::{Format, Picture, write};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
pub(crate) use sizes::{Dot, Sizes, Work};

/// Okabe and Ito's colours, which the colour-blind can tell apart, but for the yellow, which is
/// hardly seen on white.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(40, 40, 40),
];
/// The most runs that can be told apart in one picture.
pub(crate) const RUNS_MAX: usize = COLOURS.len();

const TEXT: RGBColor = RGBColor(50, 50, 50);
const FAINT_TEXT: RGBColor = RGBColor(110, 110, 110);
const AXIS: RGBColor = RGBColor(170, 170, 170);
const GRID: RGBColor = RGBColor(232, 232, 232);
const FONT: &str = "sans-serif";

/// Sizes in units that are pixels of an SVG.
const WIDTH: u32 = 1000;
const MARGIN: u32 = 16;
const TITLE_HEIGHT: u32 = 36;
const LEGEND_ROW: u32 = 24;
const LOSS_HEIGHT: u32 = 340;
const PANEL_HEIGHT: u32 = 245;
/// Of a curve; the width in pixels of the finer of the pictures.
const POINTS_MAX: usize = 2000;
/// More evaluations than this are drawn as smaller dots.
const FEW_EVALUATIONS: usize = 40;

/// What is drawn.
pub(crate) struct Figure {
    pub(crate) runs: Vec<Measurements>,
    pub(crate) axis: Axis,
    pub(crate) title: Option<String>,
    /// Lines of training that are averaged; `None` for a hundredth of the longest run's.
    pub(crate) smooth: Option<usize>,
}

/// One diagram of the picture.
struct Panel {
    title: String,
    key: String,
    unit: Unit,
    from_zero: bool,
    /// What is not measured but set has no noise to be averaged away.
    smoothed: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Unit {
    Number,
    Share,
}

impl Panel {
    fn new(title: impl Into<String>, key: &str) -> Self {
        let (title, key) = (title.into(), key.to_owned());
        Self { title, key, unit: Unit::Number, from_zero: false, smoothed: false }
    }

    fn loss() -> Self {
        Self { smoothed: true, ..Self::new("Loss", "loss") }
    }

    /// What pre-training measures.
    fn of_pretraining() -> [Self; 2] {
        let share = |title, key| Self { unit: Unit::Share, ..Self::new(title, key) };
        let words = share("Masked words right", "mlm_accuracy");
        let orders = share("Sentence orders right", "sop_accuracy");
        [Self { from_zero: true, ..words }, Self { smoothed: true, ..orders }]
    }

    /// What all training measures.
    fn of_training() -> [Self; 2] {
        let from_zero = |title, key| Self { from_zero: true, ..Self::new(title, key) };
        let rate = from_zero("Tokens per second", "tokens_per_second");
        [from_zero("Learning rate", "learning_rate"), Self { smoothed: true, ..rate }]
    }
}

/// A run's curve in a panel.
struct Curve {
    colour: RGBColor,
    raw: Vec<(f64, f64)>,
    smoothed: Vec<(f64, f64)>,
    evaluations: Vec<(f64, f64)>,
}

/// Lengths of the picture, multiplied by how fine it is.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    factor: f64,
    /// Whether lines are drawn as rods with round ends: in a bitmap, `plotters` gives a line with
    /// sharp turns spikes and holes.
    rods: bool,
}

impl Scale {
    fn of(self, length: f64) -> i32 {
        (length * self.factor).round() as i32
    }

    fn size(self, length: u32) -> u32 {
        (f64::from(length) * self.factor).round() as u32
    }

    fn font(self, size: f64, colour: RGBColor) -> TextStyle<'static> {
        (FONT, size * self.factor).into_font().color(&colour)
    }
}

pub(crate) type Area<B> = DrawingArea<B, Shift>;
type Chart<'a, B, X = RangedCoordf64> = ChartContext<'a, B, Cartesian2d<X, RangedCoordf64>>;
pub(crate) type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

impl Picture for Figure {
    fn size(&self) -> (u32, u32) {
        let rows = self.others().len().div_ceil(2) as u32;
        (WIDTH, self.head() + LOSS_HEIGHT + rows * PANEL_HEIGHT + MARGIN)
    }

    fn draw<B: DrawingBackend>(&self, root: &Area<B>, scale: Scale) -> Drawn<B> {
        root.fill(&WHITE)?;
        let (head, body) = root.split_vertically(scale.of(f64::from(self.head())));
        self.draw_head(&head, scale)?;
        let (loss, others) = body.split_vertically(scale.of(f64::from(LOSS_HEIGHT)));
        self.draw_panel(&loss, &Panel::loss(), scale)?;
        let panels = self.others();
        let rows = panels.len().div_ceil(2);
        let height = f64::from(rows as u32 * PANEL_HEIGHT);
        let (others, _) = others.split_vertically(scale.of(height));
        for (area, panel) in others.split_evenly((rows, 2)).iter().zip(&panels) {
            self.draw_panel(area, panel, scale)?;
        }
        Ok(())
    }
}

impl Figure {
    /// The panels below that of the loss: those of pre-training, or the scores of fine-tuning, or
    /// both where there are runs of both; and those of all training.
    fn others(&self) -> Vec<Panel> {
        let scores: BTreeSet<&str> =
            self.runs.iter().flat_map(|run| run.scores.iter().map(String::as_str)).collect();
        let fine_tuned = |run: &Measurements| !run.scores.is_empty();
        let mut panels = Vec::new();
        if !self.runs.iter().all(fine_tuned) {
            panels.extend(Panel::of_pretraining());
        }
        let place = self.scores_are_of();
        let score = |name| Panel::new(format!("{name}, {place}"), name);
        panels.extend(scores.into_iter().map(score));
        panels.extend(Panel::of_training());
        panels
    }

    /// The file that the scores of fine-tuning are of.
    fn scores_are_of(&self) -> &str {
        let mut files = self.runs.iter().filter_map(|run| run.dev_file.as_deref());
        let first = files.next().unwrap_or_default();
        if files.all(|file| file == first) { first } else { "first development file" }
    }

    /// The height above the panels.
    fn head(&self) -> u32 {
        let title = if self.title.is_some() { TITLE_HEIGHT } else { 0 };
        MARGIN + title + LEGEND_ROW * (self.runs.len() as u32 + 1) + MARGIN / 2
    }

    /// The title and the legend: a row for each run, and one for what the marks mean.
    fn draw_head<B: DrawingBackend>(&self, head: &Area<B>, scale: Scale) -> Drawn<B> {
        let left = f64::from(MARGIN) + 8.0;
        let mut top = f64::from(MARGIN);
        let place = |x: f64, y: f64| (scale.of(x), scale.of(y));
        if let Some(title) = &self.title {
            head.draw_text(title, &scale.font(22.0, TEXT), place(left, top))?;
            top += f64::from(TITLE_HEIGHT);
        }
        for (run, colour) in self.runs.iter().zip(COLOURS) {
            let (from, to) = (place(left, top + 5.0), place(left + 22.0, top + 9.0));
            head.draw(&Rectangle::new([from, to], colour.filled()))?;
            let name = shortened(&run.name, 110);
            head.draw_text(&name, &scale.font(15.0, TEXT), place(left + 32.0, top - 1.0))?;
            top += f64::from(LEGEND_ROW);
        }
        let smooth = self.smoothing();
        let mean = if smooth > 1 {
            format!(" (mean of {smooth} lines, faint: each line)")
        } else {
            String::new()
        };
        let tuned = self.runs.iter().any(|run| run.dev_file.is_some());
        let dots = if tuned { "development data" } else { "held-out text" };
        let marks = format!("lines: training{mean}; dots: {dots}");
        head.draw_text(&marks, &scale.font(13.0, FAINT_TEXT), place(left, top))
    }

    /// How many lines are averaged.
    fn smoothing(&self) -> usize {
        let longest = self.runs.iter().map(Measurements::len).max().unwrap_or_default();
        self.smooth.unwrap_or(longest / 100).max(1)
    }

    fn curves(&self, panel: &Panel) -> Vec<Curve> {
        let factor = if panel.unit == Unit::Share { 100.0 } else { 1.0 };
        let scaled = |mut points: Vec<(f64, f64)>| {
            points.iter_mut().for_each(|point| point.1 *= factor);
            points
        };
        let curve = |(run, colour): (&Measurements, RGBColor)| {
            let raw = scaled(run.training(&panel.key, self.axis));
            let smoothed = smooth(&raw, if panel.smoothed { self.smoothing() } else { 1 });
            let evaluations = scaled(run.evaluations(&panel.key, self.axis));
            let thin = |points| thin(points, POINTS_MAX / 2);
            Curve { colour, raw: thin(raw), smoothed: thin(smoothed), evaluations }
        };
        self.runs.iter().zip(COLOURS).map(curve).collect()
    }

    fn draw_panel<B: DrawingBackend>(
        &self,
        area: &Area<B>,
        panel: &Panel,
        scale: Scale,
    ) -> Drawn<B> {
        let curves = self.curves(panel);
        let place = (scale.of(f64::from(MARGIN) + 8.0), scale.of(4.0));
        area.draw_text(&panel.title, &scale.font(16.0, TEXT), place)?;
        let ranges = ranges(&curves, panel.from_zero);
        let nothing = ranges.is_none();
        let (x, y) = ranges.unwrap_or((0.0..1.0, 0.0..1.0));
        let mut chart = ChartBuilder::on(area)
            .margin_top(scale.size(30))
            .margin_right(scale.size(MARGIN + 8))
            .margin_bottom(scale.size(14))
            .x_label_area_size(scale.size(38))
            .y_label_area_size(scale.size(64))
            .build_cartesian_2d(x, y)?;
        if nothing {
            let (width, height) = area.dim_in_pixel();
            let middle = (width as i32 / 2 - scale.of(40.0), height as i32 / 2 - scale.of(8.0));
            return area.draw_text("not measured", &scale.font(14.0, FAINT_TEXT), middle);
        }
        let percent = panel.unit == Unit::Share;
        let unit = if percent { " %" } else { "" };
        let names = Ticks { x_name: self.axis.name(), x: &compact, y: &|y| compact(y) + unit };
        names.draw(&mut chart, scale)?;
        self.draw_curves(&mut chart, &curves, scale)
    }

    fn draw_curves<B: DrawingBackend>(
        &self,
        chart: &mut Chart<'_, B>,
        curves: &[Curve],
        scale: Scale,
    ) -> Drawn<B> {
        // All that is faint lies below all that is not.
        for curve in curves {
            if curve.raw != curve.smoothed {
                draw_line(chart, &curve.raw, paler(curve.colour), 1.0, scale)?;
            }
        }
        for curve in curves {
            draw_line(chart, &curve.smoothed, curve.colour, 2.0, scale)?;
            if curve.raw.is_empty() {
                draw_line(chart, &curve.evaluations, curve.colour, 1.0, scale)?;
            }
            let radius = if curve.evaluations.len() > FEW_EVALUATIONS { 2.0 } else { 4.0 };
            let dot = |radius: f64, colour: RGBColor| {
                let at = curve.evaluations.iter();
                at.map(move |at| Circle::new(*at, scale.of(radius), colour.filled()))
            };
            chart.draw_series(dot(radius + 1.5, WHITE))?;
            chart.draw_series(dot(radius, curve.colour))?;
        }
        Ok(())
    }
}

/// What stands along the axes.
struct Ticks<'t> {
    x_name: &'t str,
    x: &'t dyn Fn(f64) -> String,
    y: &'t dyn Fn(f64) -> String,
}

impl Ticks<'_> {
    /// Draws them, with the axes and the grid.
    fn draw<B: DrawingBackend, X>(&self, chart: &mut Chart<'_, B, X>, scale: Scale) -> Drawn<B>
    where
        X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let line = |colour: RGBColor| colour.stroke_width(scale.of(1.0) as u32);
        chart
            .configure_mesh()
            .x_labels(8)
            .y_labels(6)
            .x_desc(self.x_name)
            .x_label_formatter(&|value| (self.x)(*value))
            .y_label_formatter(&|value| (self.y)(*value))
            .label_style(scale.font(13.0, FAINT_TEXT))
            .axis_desc_style(scale.font(13.0, FAINT_TEXT))
            .axis_style(line(AXIS))
            .bold_line_style(line(GRID))
            .light_line_style(TRANSPARENT)
            .set_all_tick_mark_size(scale.size(4))
            .draw()
    }
}

/// Draws a line through points.
fn draw_line<B: DrawingBackend, X: Ranged<ValueType = f64>>(
    chart: &mut Chart<'_, B, X>,
    points: &[(f64, f64)],
    colour: RGBColor,
    width: f64,
    scale: Scale,
) -> Drawn<B> {
    let style = colour.stroke_width(scale.of(width) as u32);
    if !scale.rods {
        chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
        return Ok(());
    }
    chart.draw_series(points.windows(2).map(|pair| PathElement::new(pair, style)))?;
    let joint = |at: &(f64, f64)| Circle::new(*at, scale.of(width / 2.0), colour.filled());
    chart.draw_series(points.iter().map(joint))?;
    Ok(())
}

/// What the axes reach over: all points with a little room above and below; `None` without any.
fn ranges(curves: &[Curve], from_zero: bool) -> Option<(Range<f64>, Range<f64>)> {
    let points = || curves.iter().flat_map(|curve| curve.raw.iter().chain(&curve.evaluations));
    points().next()?;
    let right = points().map(|point| point.0).fold(0.0, f64::max);
    let low = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let high = points().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    let low = if from_zero { low.min(0.0) } else { low };
    // A single value still needs an axis.
    let room = if high > low { 0.05 * (high - low) } else { 0.5 * high.abs().max(1.0) };
    let below = if from_zero { low } else { low - room };
    Some((0.0..if right > 0.0 { right } else { 1.0 }, below..high + room))
}

/// The same colour mixed with white: unlike a transparent one, it is as light where it overlaps.
fn paler(RGBColor(red, green, blue): RGBColor) -> RGBColor {
    let mix = |part: u8| ((u16::from(part) + 3 * 255) / 4) as u8;
    RGBColor(mix(red), mix(green), mix(blue))
}

/// The end of a name that is too long; it is the end that differs.
fn shortened(name: &str, limit: usize) -> String {
    let count = name.chars().count();
    if count <= limit {
        return name.to_owned();
    }
    let end: String = name.chars().skip(count + 1 - limit).collect();
    format!("…{end}")
}

/// A number as short as an axis needs it: 2.5k, 10M, 4e-4.
pub(crate) fn compact(value: f64) -> String {
    let size = value.abs();
    // Ticks are multiples of a step that is no binary fraction: sums of it come near 0.
    if size < 1e-12 {
        return "0".to_owned();
    }
    if size < 1e-3 {
        let text = format!("{value:.2e}");
        let (digits, exponent) = text.split_once('e').expect("that is how it is written");
        return format!("{}e{exponent}", trimmed(digits));
    }
    for (unit, name) in [(1e9, "B"), (1e6, "M"), (1e3, "k")] {
        if size >= unit {
            return trimmed(&format!("{:.3}", value / unit)) + name;
        }
    }
    trimmed(&format!("{value:.4}"))
}

/// A decimal fraction without the zeros at its end.
fn trimmed(digits: &str) -> String {
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (5e-17, "0"),
            (0.1 + 0.2, "0.3"),
            (0.000_300_000_1, "3e-4"),
            (0.001_76, "0.0018"),
            (0.000_25, "2.5e-4"),
            (-2.5, "-2.5"),
            (900.0, "900"),
            (1000.0, "1k"),
            (2500.0, "2.5k"),
            (10_000.0, "10k"),
            (19_600_000.0, "19.6M"),
            (2e9, "2B"),
        ] {
            assert_eq!(compact(value), text);
        }
    }

    #[test]
    fn panels_are_of_what_the_runs_are() {
        let run = |file: Option<&str>, scores: &[&str]| {
            let scores = scores.iter().map(|name| (*name).to_owned()).collect();
            Measurements::none(file.map(str::to_owned), scores)
        };
        let titles = |runs: Vec<Measurements>| -> Vec<String> {
            let figure = Figure { runs, axis: Axis::Steps, title: None, smooth: None };
            figure.others().into_iter().map(|panel| panel.title).collect()
        };
        let training = ["Learning rate", "Tokens per second"];
        let pretraining = ["Masked words right", "Sentence orders right"];
        assert_eq!(titles(vec![run(None, &[])]), [pretraining, training].concat());
        let one = || run(Some("a.csv"), &["accuracy", "f1"]);
        let scores = ["accuracy, a.csv", "f1, a.csv"];
        assert_eq!(titles(vec![one(), one()]), [scores, training].concat());
        let both = titles(vec![one(), run(None, &[])]);
        assert_eq!(both, [pretraining, scores, training].concat());
        let other = run(Some("b.csv"), &["accuracy"]);
        assert_eq!(titles(vec![one(), other])[0], "accuracy, first development file");
    }

    #[test]
    fn axes_reach_over_all_points() {
        let curve = |points: &[(f64, f64)]| Curve {
            colour: COLOURS[0],
            raw: points.to_vec(),
            smoothed: Vec::new(),
            evaluations: vec![],
        };
        let (x, y) = ranges(&[curve(&[(1.0, 2.0)]), curve(&[(9.0, 4.0)])], false).unwrap();
        assert_eq!((x, y), (0.0..9.0, 1.9..4.1));
        let (_, y) = ranges(&[curve(&[(1.0, 2.0), (2.0, 4.0)])], true).unwrap();
        assert_eq!(y, 0.0..4.2);
        let (_, y) = ranges(&[curve(&[(0.0, 3.0)])], false).unwrap();
        assert_eq!(y, 1.5..4.5);
        assert!(ranges(&[curve(&[])], true).is_none());
    }

    #[test]
    fn long_names_keep_their_ends() {
        assert_eq!(shortened("runs/a", 6), "runs/a");
        assert_eq!(shortened("runs/ab", 6), "…ns/ab");
    }
}

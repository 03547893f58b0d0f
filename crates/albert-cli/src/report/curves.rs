//! Curves over steps, as SVG in the colours of the page.

use std::fmt::Write as _;

use super::html::Html;
use crate::plot::{compact, thin};

/// Sizes in units of the drawing.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 26.0;
/// Of a curve.
const POINTS_MAX: usize = 600;
/// The colours that the page has.
const COLOURS: [[&str; 2]; 7] = [
    ["line c0", "key c0"],
    ["line c1", "key c1"],
    ["line c2", "key c2"],
    ["line c3", "key c3"],
    ["line c4", "key c4"],
    ["line c5", "key c5"],
    ["line c6", "key c6"],
];

/// One curve.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
    /// Whether each point is shown: of the few that evaluations give.
    pub(super) dotted: bool,
}

/// Curves that share their axes.
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) series: Vec<Series>,
    pub(super) from_zero: bool,
    /// The step of the best checkpoint.
    pub(super) best: Option<f64>,
}

/// What is shown, and where.
struct Frame {
    right: f64,
    low: f64,
    high: f64,
}

impl Frame {
    /// Around all points; `None` if there are none.
    fn of(chart: &Chart) -> Option<Self> {
        let points = || chart.series.iter().flat_map(|series| &series.points);
        points().next()?;
        let right = points().map(|point| point.0).fold(0.0, f64::max);
        let mut low = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
        let high = points().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
        if chart.from_zero {
            low = low.min(0.0);
        }
        // A single value still needs an axis.
        let room = if high > low { 0.06 * (high - low) } else { 0.5 * high.abs().max(0.1) };
        // What is never negative has no room below 0.
        let low = if low < 0.0 { low - room } else { (low - room).max(0.0) };
        Some(Self { right: if right > 0.0 { right } else { 1.0 }, low, high: high + room })
    }

    fn x(&self, step: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * step / self.right
    }

    fn y(&self, value: f64) -> f64 {
        TOP + (HEIGHT - TOP - BOTTOM) * (self.high - value) / (self.high - self.low)
    }
}

/// Where an axis is marked: multiples of 1, 2 or 5 times a power of ten, about six of them.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 6.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    let step = step.into_iter().find(|step| *step >= rough).unwrap_or(10.0 * power);
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last).map(|at| at as f64 * step).collect()
}

impl Chart {
    pub(super) fn draw(&self, html: &mut Html) {
        let Some(frame) = Frame::of(self) else { return };
        html.within("figure", "", |html| {
            html.element("figcaption", "", &self.title);
            let size = format!("0 0 {WIDTH} {HEIGHT}");
            let attributes: [(&str, &dyn std::fmt::Display); 3] =
                [("viewBox", &size), ("role", &"img"), ("aria-label", &self.title)];
            html.with("svg", &attributes, |html| {
                frame.draw_axes(html);
                if let Some(best) = self.best.filter(|best| *best <= frame.right) {
                    line(html, "best", (frame.x(best), TOP), (frame.x(best), HEIGHT - BOTTOM));
                }
                for (series, [class, _]) in self.series.iter().zip(COLOURS) {
                    frame.draw_series(html, series, class);
                }
            });
            if self.series.len() > 1 {
                for (series, [_, class]) in self.series.iter().zip(COLOURS) {
                    html.element("span", class, &series.name);
                }
            }
        });
        html.raw("\n");
    }
}

impl Frame {
    fn draw_axes(&self, html: &mut Html) {
        let bottom = HEIGHT - BOTTOM;
        for value in ticks(self.low, self.high) {
            let y = self.y(value);
            line(html, "grid", (LEFT, y), (WIDTH - RIGHT, y));
            label(html, (LEFT - 6.0, y + 4.0), "end", &compact(value));
        }
        for step in ticks(0.0, self.right) {
            label(html, (self.x(step), bottom + 16.0), "middle", &compact(step));
        }
        line(html, "axis", (LEFT, bottom), (WIDTH - RIGHT, bottom));
    }

    fn draw_series(&self, html: &mut Html, series: &Series, class: &'static str) {
        let mut path = String::new();
        for (step, value) in thin(series.points.clone(), POINTS_MAX / 2) {
            let _ = write!(path, "{:.1},{:.1} ", self.x(step), self.y(value));
        }
        html.with("polyline", &[("class", &class), ("points", &path.trim_end())], |_| {});
        if series.dotted || series.points.len() == 1 {
            for &(step, value) in &series.points {
                let (x, y) = (format!("{:.1}", self.x(step)), format!("{:.1}", self.y(value)));
                let colour = class.trim_start_matches("line ");
                html.with(
                    "circle",
                    &[("class", &colour), ("cx", &x), ("cy", &y), ("r", &"3")],
                    |html| {
                        let told = format!("step {step}: {value:.4}");
                        html.element("title", "", told);
                    },
                );
            }
        }
    }
}

fn line(html: &mut Html, class: &'static str, from: (f64, f64), to: (f64, f64)) {
    let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(|length| format!("{length:.1}"));
    html.with(
        "line",
        &[("class", &class), ("x1", &x1), ("y1", &y1), ("x2", &x2), ("y2", &y2)],
        |_| {},
    );
}

fn label(html: &mut Html, at: (f64, f64), anchor: &'static str, text: &str) {
    let [x, y] = [at.0, at.1].map(|length| format!("{length:.1}"));
    html.with("text", &[("x", &x), ("y", &y), ("text-anchor", &anchor)], |html| html.text(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(0.0, 78.0), [0.0, 20.0, 40.0, 60.0]);
        let short =
            |low, high| -> Vec<String> { ticks(low, high).into_iter().map(compact).collect() };
        assert_eq!(short(0.61, 0.72), ["0.62", "0.64", "0.66", "0.68", "0.7", "0.72"]);
        assert_eq!(short(0.0, 4e-4), ["0", "1e-4", "2e-4", "3e-4", "4e-4"]);
        assert_eq!(short(-1.0, 1.0), ["-1", "-0.5", "0", "0.5", "1"]);
    }

    #[test]
    fn curves_stay_in_their_frame() {
        let series = |points: &[(f64, f64)]| Series {
            name: "<a>".to_owned(),
            points: points.to_vec(),
            dotted: true,
        };
        for points in [&[(1.0, 2.0), (9.0, -4.0)][..], &[(5.0, 0.0)], &[(0.0, 7.0)]] {
            let chart = Chart {
                title: "\"loss\"".to_owned(),
                series: vec![series(points), series(points)],
                from_zero: false,
                best: Some(1.0),
            };
            let frame = Frame::of(&chart).unwrap();
            for &(step, value) in points {
                assert!((LEFT..=WIDTH - RIGHT).contains(&frame.x(step)));
                assert!((TOP..=HEIGHT - BOTTOM).contains(&frame.y(value)));
            }
            let mut html = Html::default();
            chart.draw(&mut html);
            let html = html.as_str();
            assert_eq!(html.matches("<circle").count(), 2 * points.len());
            assert!(html.contains("aria-label=\"&quot;loss&quot;\"") && html.contains("&lt;a&gt;"));
            assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
        }
        let mut html = Html::default();
        Chart { title: String::new(), series: vec![series(&[])], from_zero: true, best: None }
            .draw(&mut html);
        assert_eq!(html.as_str(), "");
    }
}

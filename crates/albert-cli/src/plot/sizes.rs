//! A picture of models beside each other: their scores by their parameters, and by the work that
//! they take. Where the numbers come from is not its business.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{
    AXIS, Area, COLOURS, Drawn, FAINT_TEXT, MARGIN, Picture, Scale, TEXT, Ticks, WIDTH, compact,
    draw_line,
};

const HEAD_HEIGHT: f64 = 74.0;
const PANELS_HEIGHT: f64 = 400.0;
const FOOT_HEIGHT: f64 = 34.0;

/// A model.
pub(crate) struct Dot {
    pub(crate) name: String,
    pub(crate) is_bert: bool,
    /// Each counted once.
    pub(crate) parameters: f64,
    pub(crate) score: f64,
    /// What [`Work`] says.
    pub(crate) work: f64,
    /// The BERT of the same shape, by its place among the dots.
    pub(crate) beside: Option<usize>,
}

/// What runs from left to right in the second panel.
pub(crate) enum Work {
    /// Operations for a token; more is slower.
    Operations(String),
    /// Tokens per second; more is faster.
    Speed(String),
}

/// What is drawn.
pub(crate) struct Sizes {
    pub(crate) dots: Vec<Dot>,
    pub(crate) work: Work,
    /// What the scores are, and whose.
    pub(crate) source: String,
}

/// One of the two diagrams.
struct Panel<'s> {
    title: &'s str,
    x_name: &'s str,
    /// Of each dot.
    x: Vec<f64>,
    /// Whether the curves fall, so that there is room on the other side of them.
    falls: bool,
    /// Said of a model beside the BERT of its shape.
    between: fn(&Dot, &Dot) -> String,
}

/// Points of score between two models, with the sign that the first has.
fn points(albert: &Dot, bert: &Dot) -> String {
    format!("{:+.1}", albert.score - bert.score).replace('-', "−")
}

/// How many times fewer parameters, and the points.
fn fewer(albert: &Dot, bert: &Dot) -> String {
    format!("÷ {:.1}, {}", bert.parameters / albert.parameters, points(albert, bert))
}

impl Picture for Sizes {
    fn size(&self) -> (u32, u32) {
        (WIDTH, (HEAD_HEIGHT + PANELS_HEIGHT + FOOT_HEIGHT) as u32)
    }

    fn draw<B: DrawingBackend>(&self, root: &Area<B>, scale: Scale) -> Drawn<B> {
        root.fill(&WHITE)?;
        let (head, body) = root.split_vertically(scale.of(HEAD_HEIGHT));
        Self::draw_head(&head, scale)?;
        let (panels, foot) = body.split_vertically(scale.of(PANELS_HEIGHT));
        let place = (scale.of(f64::from(MARGIN) + 8.0), scale.of(6.0));
        foot.draw_text(&self.source, &scale.font(13.0, FAINT_TEXT), place)?;
        let (x_name, falls) = match &self.work {
            Work::Operations(name) => (name, false),
            Work::Speed(name) => (name, true),
        };
        let of = |value: fn(&Dot) -> f64| self.dots.iter().map(value).collect();
        let by_parameters = Panel {
            title: "Score by parameters",
            x_name: "parameters, each counted once",
            x: of(|dot| dot.parameters),
            falls: false,
            between: fewer,
        };
        let title = if falls { "Score by speed" } else { "Score by work" };
        let x = of(|dot| dot.work);
        let by_work = Panel { title, x_name, x, falls, between: points };
        let (left, right) = panels.split_horizontally(scale.size(WIDTH / 2));
        self.draw_panel(&left, &by_parameters, scale)?;
        self.draw_panel(&right, &by_work, scale)
    }
}

impl Sizes {
    /// The title, and which colour is which.
    fn draw_head<B: DrawingBackend>(head: &Area<B>, scale: Scale) -> Drawn<B> {
        let place = |x: f64, y: f64| (scale.of(f64::from(MARGIN) + 8.0 + x), scale.of(y));
        let title = "Sharing layers: parameters are saved, work is not";
        head.draw_text(title, &scale.font(22.0, TEXT), place(0.0, 16.0))?;
        for (at, (name, colour)) in ["ALBERT", "BERT"].into_iter().zip(COLOURS).enumerate() {
            let left = 110.0 * at as f64;
            let ends = [place(left, 57.0), place(left + 22.0, 61.0)];
            head.draw(&Rectangle::new(ends, colour.filled()))?;
            head.draw_text(name, &scale.font(15.0, TEXT), place(left + 32.0, 51.0))?;
        }
        let between =
            "faint: the same layers, shared or not; parameters divided, points gained or lost";
        head.draw_text(between, &scale.font(13.0, FAINT_TEXT), place(210.0, 52.0))
    }

    fn draw_panel<B: DrawingBackend>(
        &self,
        area: &Area<B>,
        panel: &Panel<'_>,
        scale: Scale,
    ) -> Drawn<B> {
        let place = (scale.of(f64::from(MARGIN) + 8.0), scale.of(4.0));
        area.draw_text(panel.title, &scale.font(16.0, TEXT), place)?;
        // Names stand beside the dots: at the ends of the axis there must be room for them.
        let x: Vec<f64> = panel.x.iter().map(|x| x.log10()).collect();
        let (low, high) = bounds(&x, 0.22, 0.1);
        let y: Vec<f64> = self.dots.iter().map(|dot| dot.score).collect();
        let (bottom, top) = bounds(&y, 0.1, 0.5);
        let mut chart = ChartBuilder::on(area)
            .margin_top(scale.size(30))
            .margin_right(scale.size(MARGIN + 8))
            .margin_bottom(scale.size(6))
            .x_label_area_size(scale.size(40))
            .y_label_area_size(scale.size(54))
            .build_cartesian_2d(Logarithms { low, high }, bottom..top)?;
        let tick = |x: f64| compact(rounded(10f64.powf(x)));
        Ticks { x_name: panel.x_name, x: &tick, y: &compact }.draw(&mut chart, scale)?;
        let at = |dot: usize| (x[dot], y[dot]);
        for (place, dot) in self.dots.iter().enumerate() {
            let Some(other) = dot.beside else { continue };
            draw_line(&mut chart, &[at(place), at(other)], AXIS, 1.0, scale)?;
            let middle = ((x[place] + x[other]) / 2.0, (y[place] + y[other]) / 2.0);
            // On the line, with room around it, as heights on maps.
            let said = (panel.between)(dot, &self.dots[other]);
            let style = scale.font(12.0, FAINT_TEXT).pos(Pos::new(HPos::Center, VPos::Center));
            let (width, height) = area.estimate_text_size(&said, &style)?;
            let (right, below) = (width as i32 / 2 + scale.of(3.0), height as i32 / 2);
            let room = Rectangle::new([(-right, -below), (right, below)], WHITE.filled());
            let text = Text::new(said, (0, 0), style);
            chart.draw_series([EmptyElement::at(middle) + room + text])?;
        }
        for (is_bert, colour) in [false, true].into_iter().zip(COLOURS) {
            let of = |place: &usize| self.dots[*place].is_bert == is_bert;
            let mut family: Vec<usize> = (0..self.dots.len()).filter(of).collect();
            family.sort_by(|a, b| x[*a].total_cmp(&x[*b]));
            let line: Vec<(f64, f64)> = family.iter().map(|place| at(*place)).collect();
            draw_line(&mut chart, &line, colour, 2.0, scale)?;
            for (radius, colour) in [(6.5, WHITE), (5.0, colour)] {
                let dot =
                    |place: &(f64, f64)| Circle::new(*place, scale.of(radius), colour.filled());
                chart.draw_series(line.iter().map(dot))?;
            }
            // BERT's names stand above its curve, ALBERT's below: they do not meet.
            let right = is_bert == panel.falls;
            let (horizontal, dx) = if right { (HPos::Left, 7.0) } else { (HPos::Right, -7.0) };
            let (vertical, dy) = if is_bert { (VPos::Bottom, -6.0) } else { (VPos::Top, 6.0) };
            let style = scale.font(13.0, colour).pos(Pos::new(horizontal, vertical));
            let name = |place: &usize| {
                let aside = (scale.of(dx), scale.of(dy));
                let text = Text::new(self.dots[*place].name.clone(), aside, style.clone());
                EmptyElement::at(at(*place)) + text
            };
            chart.draw_series(family.iter().map(name))?;
        }
        Ok(())
    }
}

/// An axis of logarithms, with marks at round numbers.
struct Logarithms {
    low: f64,
    high: f64,
}

impl Ranged for Logarithms {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let share = (value - self.low) / (self.high - self.low);
        from + (share * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        ticks(self.low, self.high)
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

/// The lowest and the highest value, with room for so much of the distance between them on both
/// sides, and at least `least`.
fn bounds(values: &[f64], room: f64, least: f64) -> (f64, f64) {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let room = (room * (high - low)).max(least);
    (low - room, high + room)
}

/// The logarithms of 1, 2 and 5 in each decade, or of the powers alone where those are too many.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    const MOST: f64 = 3.0;
    let digits = if high - low <= MOST { &[1.0, 2.0, 5.0][..] } else { &[1.0] };
    let decades = low.floor() as i32..=high.ceil() as i32;
    let marks = decades
        .flat_map(|decade| digits.iter().map(move |digit: &f64| digit.log10() + f64::from(decade)));
    marks.filter(|mark| (low..=high).contains(mark)).collect()
}

/// To two digits: a power of ten of a logarithm is not quite the number that was meant.
fn rounded(value: f64) -> f64 {
    let unit = 10f64.powf(value.abs().log10().floor() - 1.0);
    (value / unit).round() * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(parameters: f64, score: f64) -> Dot {
        let (name, is_bert, beside) = (String::new(), false, None);
        Dot { name, is_bert, parameters, score, work: 1.0, beside }
    }

    #[test]
    fn ticks_are_round() {
        let text = |low: f64, high: f64| -> Vec<String> {
            let marks = ticks(low.log10(), high.log10());
            marks.iter().map(|mark| compact(rounded(10f64.powf(*mark)))).collect()
        };
        assert_eq!(text(9e6, 3e8), ["10M", "20M", "50M", "100M", "200M"]);
        assert_eq!(text(0.9e3, 2.1e6), ["1k", "10k", "100k", "1M"]);
    }

    #[test]
    fn room_is_left_also_around_one_value() {
        assert_eq!(bounds(&[2.0, 4.0], 0.25, 0.1), (1.5, 4.5));
        assert_eq!(bounds(&[2.0], 0.25, 0.5), (1.5, 2.5));
    }

    #[test]
    fn what_is_saved_is_said() {
        let (albert, bert) = (dot(12e6, 80.1), dot(108e6, 82.3));
        assert_eq!(fewer(&albert, &bert), "÷ 9.0, −2.2");
        assert_eq!(points(&bert, &albert), "+2.2");
    }
}

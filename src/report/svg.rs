//! The plots: small SVGs without text, styled by the classes of the page. Text stands beside them as
//! HTML, so that it keeps its size on a small screen.

use std::fmt::Write as _;

use maud::{Markup, html};

/// The width of a plot in its own units; it is stretched to the width of its place.
const WIDTH: f64 = 300.0;

/// A small line without axes. `None` is a night without a value.
pub(super) fn sparkline(values: &[Option<i64>], title: &str) -> Markup {
    const HEIGHT: f64 = 40.0;
    let Some(range) = Range::of(values.iter().copied()) else {
        return html! {};
    };
    let scale = Scale::new(range, HEIGHT, values.len());
    let last = values.len() - 1;
    html! {
        svg class="spark" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img" {
            title { (title) }
            path class="line" d=(line(values, &scale)) {}
            path class="dot" d=(dots(values, &scale)) {}
            @if let Some(value) = values[last] {
                path class="dot" d=(format!("M{} {}h0", scale.x(last), scale.y(value))) {}
            }
        }
    }
}

/// The line of a metric, and the range that most pages are in.
pub(super) struct LinePlot<'a> {
    pub(super) title: String,
    pub(super) values: &'a [Option<i64>],
    /// The low and high values of the range; empty without one.
    pub(super) low: &'a [Option<i64>],
    pub(super) high: &'a [Option<i64>],
    /// About how many parts its axis has.
    pub(super) parts: u8,
    /// The nights with a vertical line.
    pub(super) marks: &'a [usize],
}

/// A plot and the values at its grid lines, from the top down.
pub(super) struct Plotted {
    pub(super) svg: Markup,
    pub(super) ticks: Vec<i64>,
}

impl LinePlot<'_> {
    /// The plot; `None` without a value.
    pub(super) fn draw(&self) -> Option<Plotted> {
        const HEIGHT: f64 = 120.0;
        let all = self.values.iter().chain(self.low).chain(self.high);
        let ticks = Range::of(all.copied())?.ticks(self.parts);
        let (top, bottom) = (*ticks.first()?, *ticks.last()?);
        let range = Range {
            bottom: bottom as f64,
            top: top as f64,
        };
        let scale = Scale::new(range, HEIGHT, self.values.len());
        let svg = html! {
            svg class="plot" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img" {
                title { (self.title) }
                @for tick in &ticks {
                    path class="grid" d=(format!("M0 {}H{WIDTH}", scale.y(*tick))) {}
                }
                @for night in self.marks {
                    @let x = scale.x(*night);
                    path class="mark" d=(format!("M{x} 0V{HEIGHT}")) {}
                }
                @if !self.low.is_empty() {
                    path class="band" d=(area(self.low, self.high, &scale)) {}
                }
                path class="line" d=(line(self.values, &scale)) {}
                path class="dot" d=(dots(self.values, &scale)) {}
            }
        };
        Some(Plotted { svg, ticks })
    }
}

/// One bar whose parts add up to the whole. A part that is not zero stays visible.
pub(super) fn stacked(parts: &[(&str, u64)], title: &str) -> Markup {
    /// The smallest part, in units.
    const SMALLEST: f64 = 3.0;
    let whole: u64 = parts.iter().map(|part| part.1).sum();
    let width = |part: u64| match part {
        0 => 0.0,
        part => (part as f64 / whole as f64 * 1000.0).max(SMALLEST),
    };
    let sum: f64 = parts.iter().map(|part| width(part.1)).sum();
    let mut x = 0.0;
    let mut bars = Vec::new();
    for (class, part) in parts {
        let wide = width(*part) / sum.max(1.0) * 1000.0;
        bars.push((class, x, wide));
        x += wide;
    }
    html! {
        svg class="stacked" viewBox="0 0 1000 20" preserveAspectRatio="none" role="img" {
            title { (title) }
            @for (class, x, wide) in bars {
                @if wide > 0.0 {
                    rect class=(format!("part {class}")) x=(short(x)) y="0" width=(short(wide)) height="20" {}
                }
            }
        }
    }
}

/// Bars of then and now beside each other, and the share of the largest one. Without a then, the bars of now alone.
pub(super) fn histogram(then: Option<&[u64]>, now: &[u64], title: &str) -> (Markup, f64) {
    const HEIGHT: f64 = 120.0;
    // Bars of two snapshots with different numbers of pages are compared by their shares.
    let shares = |counts: &[u64]| -> Vec<f64> {
        let sum = counts.iter().sum::<u64>().max(1) as f64;
        counts.iter().map(|count| *count as f64 / sum).collect()
    };
    let (then, now) = (then.map(shares), shares(now));
    let both = then.iter().flatten().chain(&now);
    let most = both.copied().fold(f64::MIN_POSITIVE, f64::max);
    let slot = WIDTH / now.len().max(1) as f64;
    let bar = |class: &str, share: f64, at: f64, wide: f64| {
        let high = match share {
            0.0 => 0.0,
            share => (share / most * HEIGHT).max(1.5),
        };
        html! {
            rect class=(class) x=(short(at)) y=(short(HEIGHT - high)) width=(short(wide)) height=(short(high)) {}
        }
    };
    let svg = html! {
        svg class="plot" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img" {
            title { (title) }
            @for (place, share) in now.iter().enumerate() {
                @let x = place as f64 * slot;
                @match &then {
                    Some(then) => {
                        (bar("then", then[place], x + slot * 0.08, slot * 0.4))
                        (bar("now", *share, x + slot * 0.5, slot * 0.4))
                    }
                    None => { (bar("now", *share, x + slot * 0.1, slot * 0.8)) }
                }
            }
            path class="axis" d=(format!("M0 {HEIGHT}H{WIDTH}")) {}
        }
    };
    (svg, most)
}

/// The values that a plot has room for.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Range {
    bottom: f64,
    top: f64,
}

impl Range {
    /// The smallest range, as a part of the largest value: a change of one percent must not look like a fall.
    const SMALLEST: f64 = 0.05;

    /// The range of these values; `None` without one.
    fn of(values: impl Iterator<Item = Option<i64>>) -> Option<Self> {
        let mut known = values.flatten().map(|value| value as f64);
        let first = known.next()?;
        let (bottom, top) = known.fold((first, first), |(bottom, top), value| {
            (bottom.min(value), top.max(value))
        });
        let missing = Self::SMALLEST * bottom.abs().max(top.abs()) - (top - bottom);
        let widen = missing.max(0.0) / 2.0;
        Some(Self {
            bottom: bottom - widen,
            top: top + widen,
        })
    }

    /// Round numbers around the range, the largest first, at the same distance: about so many parts.
    fn ticks(self, parts: u8) -> Vec<i64> {
        let least = ((self.top - self.bottom) / f64::from(parts)).max(1.0);
        let power = 10_f64.powf(least.log10().floor());
        let rounds = [1.0, 2.0, 5.0, 10.0].map(|round| round * power);
        let step = rounds.into_iter().find(|step| *step >= least);
        let step = step.unwrap_or(10.0 * power);
        let first = (self.bottom / step).floor();
        // A range of one value still has two ticks.
        let last = (self.top / step).ceil().max(first + 1.0);
        let number = (last - first) as u8;
        let tick = |tick: u8| ((first + f64::from(tick)) * step) as i64;
        (0..=number).rev().map(tick).collect()
    }
}

/// Where values and nights are in a plot.
struct Scale {
    range: Range,
    height: f64,
    nights: usize,
}

impl Scale {
    /// The room above and below the line, as a part of the height. `report.css` places the labels by it.
    const MARGIN: f64 = 0.1;

    fn new(range: Range, height: f64, nights: usize) -> Self {
        Self {
            range,
            height,
            nights,
        }
    }

    fn x(&self, night: usize) -> String {
        // A margin for the width of the line.
        let part = match self.nights {
            0 | 1 => 0.5,
            nights => night as f64 / (nights - 1) as f64,
        };
        short(4.0 + part * (WIDTH - 8.0))
    }

    fn y(&self, value: i64) -> String {
        let Range { bottom, top } = self.range;
        let part = match top - bottom {
            0.0 => 0.5,
            size => (value as f64 - bottom) / size,
        };
        let margin = Self::MARGIN * self.height;
        short(self.height - margin - part * (self.height - 2.0 * margin))
    }
}

/// The values that have none on either side, which a line cannot show.
fn dots(values: &[Option<i64>], scale: &Scale) -> String {
    let mut path = String::new();
    for run in runs(values).iter().filter(|run| run.len() == 1) {
        let _ = write!(path, "M{} {}h0", scale.x(run[0].0), scale.y(run[0].1));
    }
    path
}

/// The path of a line, interrupted where there is no value.
fn line(values: &[Option<i64>], scale: &Scale) -> String {
    let mut path = String::new();
    for run in runs(values) {
        join(&mut path, run.iter(), scale);
    }
    path
}

/// The area between two lines that have values at the same nights.
fn area(low: &[Option<i64>], high: &[Option<i64>], scale: &Scale) -> String {
    let mut path = String::new();
    for (low, high) in runs(low).iter().zip(runs(high)) {
        join(&mut path, high.iter().chain(low.iter().rev()), scale);
        path.push('Z');
    }
    path
}

/// Adds straight lines from each point to the next.
fn join<'a>(path: &mut String, points: impl Iterator<Item = &'a (usize, i64)>, scale: &Scale) {
    for (place, (night, value)) in points.enumerate() {
        let command = if place == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{command}{} {}", scale.x(*night), scale.y(*value));
    }
}

/// The nights in a row that have a value.
fn runs(values: &[Option<i64>]) -> Vec<Vec<(usize, i64)>> {
    let known = values.iter().enumerate();
    let known: Vec<_> = known
        .filter_map(|(night, value)| Some((night, (*value)?)))
        .collect();
    known
        .chunk_by(|left, right| left.0 + 1 == right.0)
        .map(<[_]>::to_vec)
        .collect()
}

/// A coordinate, rounded to what is visible.
fn short(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_interrupted_where_a_night_is_missing() {
        let values = [Some(1), Some(3), None, Some(2)];
        let scale = Scale::new(Range::of(values.into_iter()).unwrap(), 40.0, 4);
        assert_eq!(line(&values, &scale), "M4 36L101.3 4M296 20");
        assert_eq!(dots(&values, &scale), "M296 20h0");
        assert!(Range::of([None].into_iter()).is_none());
    }

    fn scale(values: &[i64]) -> Scale {
        let range = Range::of(values.iter().copied().map(Some)).unwrap();
        Scale::new(range, 40.0, values.len())
    }

    #[test]
    fn a_value_that_never_changes_is_in_the_middle_and_a_small_change_near_it() {
        assert_eq!(scale(&[7, 7]).y(7), "20");
        assert_eq!(scale(&[0, 0]).y(0), "20");
        // One percent up is a fifth of the height.
        let slight = scale(&[990, 1000]);
        assert_eq!([slight.y(990), slight.y(1000)], ["23.2", "16.8"]);
        let extremes = scale(&[i64::MIN, i64::MAX]);
        assert_eq!([extremes.y(i64::MIN), extremes.y(i64::MAX)], ["36", "4"]);
    }

    #[test]
    fn an_axis_has_round_numbers_around_its_values() {
        for (values, parts, expected) in [
            (
                &[141_023, 164_678][..],
                4,
                &[170_000, 160_000, 150_000, 140_000][..],
            ),
            (&[1_071, 1_078], 4, &[1_120, 1_100, 1_080, 1_060, 1_040]),
            (&[1, 6], 4, &[6, 4, 2, 0]),
            (&[1, 6], 2, &[10, 5, 0]),
            (&[10, 10], 4, &[11, 10, 9]),
            (&[0, 0], 4, &[1, 0]),
            (&[5], 2, &[6, 5, 4]),
        ] {
            let range = Range::of(values.iter().copied().map(Some)).unwrap();
            assert_eq!(range.ticks(parts), expected, "{values:?}");
        }
    }

    #[test]
    fn the_smallest_part_of_a_bar_is_still_visible() {
        let svg = stacked(&[("a", 1_000_000), ("b", 1), ("c", 0)], "parts").into_string();
        assert_eq!(svg.matches("<rect").count(), 2, "{svg}");
        assert!(svg.contains("width=\"3\""), "{svg}");
    }
}

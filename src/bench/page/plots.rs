//! The shapes of a page. Places are percentages of a width that the reader's window decides.

use super::kind;
use crate::bench::report::Curve;
use crate::bench::stats::Spread;
use maud::{Markup, html};

/// A value and its interval, on a scale that ends at `most`.
pub(super) struct Bar {
    /// How it is coloured.
    pub(super) class: &'static str,
    /// The value.
    pub(super) spread: Spread,
    /// The end of the scale.
    pub(super) most: f64,
}

/// A bar with its interval as a line across its end.
pub(super) fn bar(Bar { class, spread, most }: &Bar) -> Markup {
    let percent = |value: f64| {
        let part = if *most > 0.0 { value / most } else { 0.0 };
        format!("{:.2}%", 98.0 * part)
    };
    let (low, high) = (percent(spread.low), percent(spread.high));
    html! {
        svg.plot width="100%" height="22" role="img" {
            title { (spread.low) " to " (spread.high) ", median " (spread.median) }
            rect.(class) x="0" y="4" width=(percent(spread.median)) height="14" rx="2" {}
            line.interval x1=(low) x2=(high) y1="11" y2="11" {}
            line.interval x1=(low) x2=(low) y1="7" y2="15" {}
            line.interval x1=(high) x2=(high) y1="7" y2="15" {}
        }
    }
}

/// Percentiles that are marked: 50, 90, 99, 99.9.
const MARKS: [f64; 4] = [50.0, 90.0, 99.0, 99.9];
/// Height of the field, in pixels.
const HEIGHT: f64 = 260.0;

/// Latencies by percentile: to the right the nines, upwards the time, logarithmic.
pub(super) fn curves(curves: &[&Curve]) -> Markup {
    let all = || curves.iter().flat_map(|curve| &curve.points).map(|point| point[1]);
    let least = all().filter(|time| *time > 0.0).fold(f64::INFINITY, f64::min);
    let most = all().fold(0.0, f64::max);
    if least >= most {
        return html! {};
    }
    let unit = curves.first().map_or("", |curve| curve.unit.as_str());
    let (bottom, top) = (least.ln() - 0.1, most.ln() + 0.1);
    let y = |time: f64| HEIGHT * (top - time.max(least).ln()) / (top - bottom);
    let line = |curve: &Curve| {
        let points = curve
            .points
            .iter()
            .map(|[percentile, time]| format!("{:.2},{:.2}", x(*percentile), y(*time)));
        points.collect::<Vec<_>>().join(" ")
    };
    html! {
        svg.curves width="100%" height="300" role="img" {
            @for time in ticks(least, most) {
                line.grid x1="0" x2="100%" y1=(y(time)) y2=(y(time)) {}
                text.label x="2" y=(y(time) - 3.0) { (time) " " (unit) }
            }
            @for mark in MARKS {
                line.grid x1={ (x(mark)) "%" } x2={ (x(mark)) "%" } y1="0" y2=(HEIGHT) {}
                text.label.middle x={ (x(mark)) "%" } y="280" { (mark) " %" }
            }
            svg width="100%" height=(HEIGHT) viewBox={ "0 0 100 " (HEIGHT) } preserveAspectRatio="none" {
                @for (number, curve) in curves.iter().enumerate() {
                    polyline.curve.(kind(&curve.contender)).{ "dash" (number % 4) } points=(line(curve)) {}
                }
            }
        }
        p.legend {
            @for (number, curve) in curves.iter().enumerate() {
                span {
                    svg width="28" height="10" {
                        line.curve.(kind(&curve.contender)).{ "dash" (number % 4) } x1="0" x2="28" y1="5" y2="5" {}
                    }
                    " " (curve.contender)
                }
            }
        }
    }
}

/// Where a percentile is, from 0 to 100: each nine takes as much room as the one before.
fn x(percentile: f64) -> f64 {
    let nines = -((100.0 - percentile.min(99.95)) / 100.0).log10();
    (100.0 * nines / 3.3).min(100.0)
}

/// Round times between two.
fn ticks(least: f64, most: f64) -> Vec<f64> {
    let decades = (least.log10().floor() as i32)..=(most.log10().ceil() as i32);
    let all = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(decade)));
    all.filter(|time| (least..=most).contains(time)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(7.0, 120.0), [10.0, 20.0, 50.0, 100.0]);
    }

    #[test]
    fn each_nine_takes_the_same_room() {
        let steps = [x(0.0), x(90.0), x(99.0), x(99.9)];
        let widths: Vec<f64> = steps.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(widths.iter().all(|width| (width - widths[0]).abs() < 1e-9), "{widths:?}");
    }
}

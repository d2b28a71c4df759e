//! A comparison as one page that needs nothing else: no script, no font, no picture from elsewhere.
//!
//! Plots are SVG whose text keeps its size while the bars stretch: readable on a desk and on a
//! phone. Plotting libraries give pictures of one size, so these few shapes are drawn here.

mod plots;

use super::compare::measure::{MEASURES, Measure};
use super::compare::rows::{KERNEL, OTHER, OURS, Outcome};
use super::machine::Machine;
use super::report::{Contender, Report, Row};
use super::stats::Spread;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use plots::Bar;

const STYLE: &str = include_str!("style.css");

/// The page.
pub fn render(report: &Report) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Cableway compared" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "Cableway compared" }
                    p.lead { (lead(report)) }
                    @for caveat in report.caveats() { p.note { (caveat) } }
                }
                main {
                    (overview(report))
                    @for measure in MEASURES { (section(report, measure)) }
                    (curves(report))
                    (contenders(report))
                    (method(report))
                }
            }
        }
    };
    page.into_string()
}

/// In one sentence: wins and losses.
fn lead(report: &Report) -> String {
    let ours = ours(report).into_iter().map(|name| {
        let rows = against_kernel(report).filter(|row| row.contender == name);
        let outcomes: Vec<_> = rows.map(Row::outcome).collect();
        let count = |which| outcomes.iter().filter(|outcome| **outcome == which).count();
        let (better, worse) = (count(Outcome::Better), count(Outcome::Worse));
        format!("{name} is better in {better} and worse in {worse} of {} measures", outcomes.len())
    });
    let all: Vec<_> = ours.collect();
    match all.is_empty() {
        true => "Nothing of ours was measured.".to_owned(),
        false => format!("Against the kernel's VXLAN at its best: {}.", all.join("; ")),
    }
}

/// Contenders of ours that there are values of.
fn ours(report: &Report) -> Vec<&str> {
    let mut names: Vec<&str> = report.measured.iter().map(|m| m.contender.as_str()).collect();
    names.retain(|name| name.starts_with(OURS));
    names.sort_unstable();
    names.dedup();
    names
}

fn against_kernel(report: &Report) -> impl Iterator<Item = &Row> {
    report.results.iter().filter(|row| row.is_against_kernel())
}

/// Ours against the kernel and the other one, a measure a line.
fn overview(report: &Report) -> Markup {
    let ours = ours(report);
    let is_against = |row: &Row, kernel| match kernel {
        true => row.is_against_kernel(),
        false => row.baseline == OTHER,
    };
    let cell = |measure: &Measure, name: &str, kernel: bool| {
        let row = report
            .results
            .iter()
            .find(|row| row.id == measure.id && row.contender == name && is_against(row, kernel));
        row.map_or(html! { span.none { "–" } }, chip)
    };
    let has_other = report.results.iter().any(|row| row.baseline == OTHER);
    let baselines = [(true, "kernel vxlan")].into_iter().chain(has_other.then_some((false, OTHER)));
    let columns: Vec<_> =
        baselines.flat_map(|baseline| ours.iter().map(move |name| (*name, baseline))).collect();
    html! {
        section.wide {
            h2 { "At a glance" }
            p {
                "Each figure is ours divided by theirs: the median of pairs that were measured right \
                 after each other, and the interval that holds the true median with 95 % "
                "(all that was seen, when there were fewer than six pairs)."
            }
            div.scroll { table.overview {
                thead { tr {
                    th { "Measure" }
                    @for (name, (_, baseline)) in &columns { th { (name) br; small { "against " (baseline) } } }
                } }
                tbody { @for measure in MEASURES {
                    @if report.measured.iter().any(|m| m.id == measure.id) {
                        tr {
                            th { a href={ "#" (measure.id) } { (measure.title) } }
                            @for (name, (kernel, _)) in &columns {
                                td { (cell(measure, name, *kernel)) }
                            }
                        }
                    }
                } }
            } }
        }
    }
}

/// A ratio, coloured and named by what it comes to.
fn chip(row: &Row) -> Markup {
    let (class, word) = match row.outcome() {
        Outcome::Better => ("better", "better"),
        Outcome::Worse => ("worse", "worse"),
        Outcome::Open => ("open", "open"),
    };
    html! {
        span.chip.(class) {
            @match row.ratio {
                Some(Spread { median, low, high }) => {
                    b { (figure(median)) "×" } " " (word)
                    small { (figure(low)) "–" (figure(high)) }
                }
                None => { b { (word) } small { "theirs was 0" } }
            }
        }
    }
}

/// One measure: everybody's bar, the best first.
fn section(report: &Report, measure: &Measure) -> Markup {
    let of_it = report.measured.iter().filter(|measured| measured.id == measure.id);
    let mut bars: Vec<(String, Spread)> = of_it
        .filter_map(|measured| {
            let values: Vec<f64> = measured.values.iter().flatten().copied().collect();
            Some((measured.contender.clone(), Spread::of(&values)?))
        })
        .collect();
    if bars.is_empty() {
        return html! {};
    }
    bars.sort_by(|a, b| b.1.median.total_cmp(&a.1.median));
    if !measure.higher_is_better {
        bars.reverse();
    }
    let most = bars.iter().map(|(_, spread)| spread.high).fold(0.0, f64::max);
    let row =
        |name: &str| against_kernel(report).find(|r| r.id == measure.id && r.contender == name);
    let is_baseline = |name: &str| {
        report.results.iter().any(|r| r.id == measure.id && r.baseline == name && name != OTHER)
    };
    html! {
        section id=(measure.id) {
            h2 { (measure.title) }
            p { (measure.about) " " span.better-is { @if measure.higher_is_better { "More" } @else { "Less" } " is better." } }
            @for (name, spread) in &bars {
                @let class = kind(name);
                div.bar {
                    span.name { (name) @if is_baseline(name) { small { " baseline" } } }
                    (plots::bar(&Bar { class, spread: *spread, most }))
                    span.value { b { (figure(spread.median)) } " " (measure.unit) }
                    span.against { @if let Some(row) = row(name) { (chip(row)) } }
                }
            }
            p.id { code { (measure.id) } }
        }
    }
}

/// How latencies are distributed.
fn curves(report: &Report) -> Markup {
    let mut ids: Vec<&str> = report.curves.iter().map(|curve| curve.id.as_str()).collect();
    ids.dedup();
    html! {
        @for id in ids {
            @let curves: Vec<_> = report.curves.iter().filter(|curve| curve.id == id).collect();
            section {
                h2 { "Round trips: " @if id == "rr_poll" { "polling" } @else { "adaptive" } }
                p { "What so many percent of the round trips did not exceed. The lower the line the better; \
                     each step to the right is another nine." }
                (plots::curves(&curves))
                p.id { code { (id) } }
            }
        }
    }
}

fn contenders(report: &Report) -> Markup {
    let about = |contender: &Contender| {
        html! {
            dt { span.key.(kind(&contender.name)) {} (contender.name) }
            dd {
                (contender.about)
            @for mode in &contender.modes { br; small { (mode) } }
                @if let Some(why) = &contender.out { span.out { " Not measured: " (why) "." } }
            }
        }
    };
    html! {
        section {
            h2 { "Contenders" }
            dl { @for contender in &report.contenders { (about(contender)) } }
        }
    }
}

fn method(report: &Report) -> Markup {
    let Machine {
        processor,
        cores,
        is_virtual,
        memory,
        kernel,
        mitigations,
        load,
        stolen,
        cableway,
        ..
    } = &report.machine;
    html! {
        section {
            h2 { "How it was measured" }
            p { "In network namespaces of one machine. In each round every contender has one turn, for \
                 which it is started anew, in an order that is turned round every time; a pair is two \
                 values of one round. So what else the machine does meets all alike. Who does not carry \
                 10 MB by TCP unharmed, there and back, in the same set-up is out." }
            dl.machine {
                dt { "Machine" } dd { (processor) ", " (cores) " cores" @if *is_virtual { " of a virtual machine" }
                    ", " (memory >> 30) " GiB" }
                dt { "Kernel" } dd { (kernel) @if !mitigations.is_empty() { ", mitigations=" (mitigations) } }
                dt { "Load before" } dd { (load) }
                dt { "Stolen meanwhile" } dd { (format!("{:.1} %", stolen * 100.0)) }
                dt { "Cableway" } dd { (cableway) }
                dt { "To repeat it" } dd { code { (report.command.join(" ")) } }
                dt { "Quickly, from a clone" } dd { code { "make compare" } }
            }
        }
    }
}

/// What a contender is drawn as.
fn kind(name: &str) -> &'static str {
    if name.starts_with(OURS) {
        "ours"
    } else if KERNEL.contains(&name) {
        "kernel"
    } else {
        "other"
    }
}

/// A figure with as many digits as one takes in: three that count.
pub fn figure(value: f64) -> String {
    let (scaled, suffix) = match value.abs() {
        v if v >= 1e6 => (value / 1e6, " M"),
        v if v >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{scaled:.digits$}{suffix}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::compare::rows::rows;
    use super::super::report::{Curve, Measured};
    use super::*;

    /// As if all had been measured.
    fn report() -> Report {
        let contender = |(i, name): (usize, &str)| {
            let measured = MEASURES.iter().map(move |measure| {
                let scale = if measure.unit == "packets/s" { 4e5 } else { 9.0 };
                let value = |round: usize| Some(scale * (1.0 + i as f64 + round as f64 / 20.0));
                let (id, contender) = (measure.id.to_owned(), name.to_owned());
                Measured { id, contender, values: (0..10).map(value).collect() }
            });
            measured.collect::<Vec<_>>()
        };
        let names = [
            "kernel-vxlan",
            "cableway-tun",
            "kernel-vxlan-rps",
            "cableway-af_xdp",
            "ovs-afxdp",
            "kernel-direct",
        ];
        let measured: Vec<_> = names.into_iter().enumerate().flat_map(contender).collect();
        let about = |name: &&str| Contender {
            name: (*name).to_owned(),
            about: "What it is <and how>.".to_owned(),
            modes: vec!["eth0: native XDP".to_owned()],
            out: None,
        };
        let curve = |(i, name): (usize, &&str)| Curve {
            id: "rr_poll".to_owned(),
            contender: (*name).to_owned(),
            unit: "µs".to_owned(),
            points: [1.0, 10.0, 50.0, 90.0, 99.0, 99.9]
                .map(|p: f64| [p, (i + 1) as f64 * 8.0 / (101.0 - p).powf(0.3)])
                .to_vec(),
        };
        let mut report = Report::begin();
        report.contenders = names.iter().map(about).collect();
        report.curves = names.iter().enumerate().map(curve).collect();
        report.results = rows(&measured);
        report.measured = measured;
        report.end(true);
        report
    }

    #[test]
    fn a_page_says_everything_and_asks_for_nothing() {
        let page = render(&report());
        for measure in MEASURES {
            assert!(page.contains(&format!("id=\"{}\"", measure.id)), "{}", measure.id);
        }
        assert!(page.contains("What it is &lt;and how&gt;."), "text is text");
        for source in ["<script", "src=", "@import", "url(", "NaN", "inf"] {
            assert!(!page.contains(source), "{source}");
        }
        if let Some(path) = std::env::var_os("PAGE") {
            std::fs::write(path, page).unwrap();
        }
    }

    #[test]
    fn an_empty_report_is_a_page_too() {
        let page = render(&Report::begin());
        assert!(page.contains("Not all is here") && page.contains("Nothing of ours"));
    }

    #[test]
    fn figures_have_three_digits() {
        let all = [0.0, 0.123, 1.2, 12.34, 123.4, 1234.0, 12_345.0, 1_234_567.0];
        let text = all.map(figure).join(" | ");
        assert_eq!(text, "0 | 0.12 | 1.20 | 12.3 | 123 | 1234 | 12.3 k | 1.23 M");
    }
}

//! The figures for people.

use super::figure::Figure;
use comfy_table::{CellAlignment, Table, presets};
use pipeline::stages::STAGES;

/// What the columns of [`figures`] are.
pub const LEGEND: &str = "ns/packet: median, interval of twenty slices of the time, and the fastest \
round; of one core. A super-frame\ncounts as the packets that it is cut into.";

/// Times, rates and allocations.
pub fn figures(figures: &[Figure]) -> String {
    let header = ["CASE", "NS/PACKET", "INTERVAL", "LEAST", "MPPS", "GBIT/S", "ALLOCATIONS"];
    let rows = figures.iter().map(|figure| {
        let Figure { ns_per_packet: spread, .. } = figure;
        vec![
            figure.id.clone(),
            format!("{:.1}", spread.median),
            format!("{:.1}–{:.1}", spread.low, spread.high),
            format!("{:.1}", figure.least_ns_per_packet),
            format!("{:.2}", figure.mpps),
            format!("{:.1}", figure.gbit_per_second),
            figure.allocations_per_packet.to_string(),
        ]
    });
    text(header.map(str::to_owned).to_vec(), rows)
}

/// The stages' shares of the time, in percent.
pub fn shares(figures: &[Figure]) -> String {
    let part = |figure: &Figure, name: &str| {
        figure.stages.iter().find(|stage| stage.name == name).map(|stage| stage.share * 100.0)
    };
    let has_part = |name: &str| figures.iter().any(|figure| part(figure, name).is_some());
    let names: Vec<_> =
        STAGES.iter().map(|stage| stage.name).filter(|name| has_part(name)).collect();
    let mut header = vec!["SHARE OF THE TIME, %".to_owned()];
    header.extend(names.iter().map(|name| name.to_uppercase()));
    let rows = figures.iter().map(|figure| {
        let shares = names.iter().map(|name| part(figure, name));
        let cells = shares.map(|part| part.map_or_else(String::new, |part| format!("{part:.0}")));
        std::iter::once(figure.id.clone()).chain(cells).collect()
    });
    text(header, rows)
}

/// What each core did, where there are several.
pub fn cores(figures: &[Figure]) -> String {
    let header = ["CASE", "CORE", "NS/PACKET", "INTERVAL", "MPPS"];
    let rows = figures.iter().flat_map(|figure| {
        figure.cores.iter().map(|core| {
            vec![
                figure.id.clone(),
                core.core.to_string(),
                format!("{:.1}", core.ns_per_packet.median),
                format!("{:.1}–{:.1}", core.ns_per_packet.low, core.ns_per_packet.high),
                format!("{:.2}", core.mpps),
            ]
        })
    });
    text(header.map(str::to_owned).to_vec(), rows)
}

/// A table: the first column on the left, numbers on the right.
fn text(header: Vec<String>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    let columns = header.len();
    table.load_style(presets::NOTHING).set_header(header);
    rows.for_each(|row| _ = table.add_row(row));
    for i in 1..columns {
        if let Some(column) = table.column_mut(i) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

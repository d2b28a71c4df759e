#![allow(clippy::unwrap_used)]

use super::*;

fn report() -> report::Drops {
    let drop = |reason: &str, count| report::Drop {
        reason: reason.to_owned(),
        text: format!("text of {reason}"),
        count,
    };
    report::Drops {
        drops: vec![drop("route.none", 12), drop("parse.vlan", 0)],
        kernel: vec![report::KernelDrop {
            port: "a1".to_owned(),
            reason: "rx_ring_full".to_owned(),
            count: 3,
        }],
        conservation: report::Conservation {
            received: 20,
            emitted: 8,
            dropped: 12,
            balanced: true,
            ..report::Conservation::default()
        },
    }
}

#[test]
fn drops_that_were_not_are_left_out() {
    let text = totals(&report(), false);
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "REASON               FRAMES  WHAT HAPPENED",
            "route.none               12  text of route.none",
            "kernel.rx_ring_full       3  by the kernel, at port a1",
            "",
            "received 20 + generated 0 + split 0 + replicated 0",
            "= emitted 8 + held 0 + merged 0 + dropped 12",
        ]
    );
    assert!(totals(&report(), true).contains("parse.vlan"));
}

#[test]
fn a_sum_that_does_not_add_up_is_seen() {
    let mut report = report();
    report.drops.clear();
    report.kernel.clear();
    report.conservation.balanced = false;
    let text = totals(&report, true);
    assert!(text.starts_with("no frame was dropped"), "{text}");
    assert!(text.contains('≠'), "{text}");
}

fn sample(reason: &str) -> DropSample {
    DropSample {
        unix_ms: 0,
        reason: reason.to_owned(),
        port: "a1".to_owned(),
        peer: None,
        packet: "udp 10.0.0.1:1 > 10.0.0.2:2 ttl 64 len 44".to_owned(),
        len: 58,
        bytes: "45".repeat(40),
    }
}

#[test]
fn samples_are_told_with_their_bytes_if_wanted() {
    let report = DropSamples { samples: vec![sample("parse.vlan"), sample("route.source")] };
    let mut options =
        Options { watch: false, interval: Duration::ZERO, samples: Some(None), hex: false };
    let text = samples(&report, &options);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(
        lines[2].ends_with(
            " d  route.source  a1    -        58  udp 10.0.0.1:1 > 10.0.0.2:2 ttl 64 len 44"
        ),
        "{text}"
    );
    options.hex = true;
    let text = samples(&report, &options);
    let hex = [["45"; 32].join(" "), ["45"; 8].join(" ")];
    assert_eq!(text.lines().count(), 7, "{text}");
    assert_eq!(text.lines().skip(5).map(str::trim).collect::<Vec<_>>(), hex);
    let none = DropSamples { samples: Vec::new() };
    assert_eq!(samples(&none, &options), "no frame was dropped");
}

#[test]
fn rates_are_of_the_time_between_two_looks() {
    let (mut rates, start) = (Rates::default(), Instant::now());
    let mut report = report();
    let row = |text: &str, reason: &str| -> Vec<String> {
        let line = text.lines().find(|line| line.trim().starts_with(reason)).unwrap();
        line.split_whitespace().take(4).map(str::to_owned).collect()
    };
    let text = rates.table(&report, start, false);
    assert_eq!(row(&text, "route.none"), ["route.none", "12", "-", "-"]);
    report.drops[0].count = 112;
    let text = rates.table(&report, start + Duration::from_secs(4), false);
    assert_eq!(row(&text, "route.none"), ["route.none", "112", "100", "25"]);
    assert_eq!(row(&text, "kernel.rx_ring_full"), ["kernel.rx_ring_full", "3", "0", "0"]);
    // The daemon began anew.
    report.drops[0].count = 7;
    let text = rates.table(&report, start + Duration::from_secs(5), true);
    assert_eq!(row(&text, "route.none"), ["route.none", "7", "7", "7"]);
    assert!(text.contains("parse.vlan"));
}

#[test]
fn times_are_told_shortly() {
    let cases = [(0.35, "350 ms"), (4.25, "4.2 s"), (300.0, "5 min"), (9000.0, "2 h")];
    for (seconds, expected) in cases {
        assert_eq!(ago(Duration::from_secs_f64(seconds)), expected);
    }
    assert_eq!(ago(Duration::from_secs(5 * 86_400)), "5 d");
    for wrong in ["0", "x", "-1", "nan", "4000"] {
        assert!(seconds(wrong).is_err(), "{wrong}");
    }
}

//! Policies and flows for people.

use super::{Columns, or_dash};
use crate::control::report;
use std::net::IpAddr;

pub(super) fn acl(report: &report::Acl) -> String {
    let mut rules =
        Columns::new(["tier", "policy", "direction", "rule", "action", "what", "hits", "last"]);
    for rule in &report.acl {
        rules.row([
            or_dash(&rule.tier),
            or_dash(&rule.policy),
            rule.direction.clone(),
            rule.number.map_or_else(|| rule.kind.clone(), |number| number.to_string()),
            rule.action.clone(),
            rule.text.clone(),
            rule.hits.to_string(),
            rule.last_hit.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds} s ago")),
        ]);
    }
    let mut ports = Columns::new(["port", "ingress asks", "egress asks"]);
    let list = |policies: &Option<Vec<String>>| match policies {
        None => "(nobody: all is allowed)".to_owned(),
        Some(names) if names.is_empty() => "(the default)".to_owned(),
        Some(names) => names.join(", "),
    };
    for port in &report.ports {
        ports.row([port.port.clone(), list(&port.ingress), list(&port.egress)]);
    }
    let rules = rules.right(&["hits"]).text();
    match ports.is_empty() {
        true => format!("{rules}\n\nno port is selected by a policy: all is allowed"),
        false => format!("{rules}\n\n{}", ports.text()),
    }
}

pub(super) fn flows(report: &report::Flows) -> String {
    let mut table = Columns::new([
        "protocol",
        "from",
        "to",
        "state",
        "age",
        "idle",
        "left",
        "egress by",
        "ingress by",
    ]);
    let seconds = |seconds: u32| format!("{seconds} s");
    for flow in &report.flows {
        let number = |number: Option<u32>| number.map(|n| format!(" id {n}")).unwrap_or_default();
        table.row([
            format!("{}{}", flow.protocol, number(flow.identifier)),
            end(flow.source, flow.source_port),
            end(flow.destination, flow.destination_port),
            flow.state.clone(),
            seconds(flow.age),
            seconds(flow.idle),
            seconds(flow.left),
            or_dash(&flow.egress),
            or_dash(&flow.ingress),
        ]);
    }
    let none = table.is_empty();
    let flows = match none {
        true => "no such flow".to_owned(),
        false => table.right(&["age", "idle", "left"]).text(),
    };
    let more = report.matched.saturating_sub(report.flows.len());
    let more = if more > 0 { format!("\n… and {more} more: see --limit") } else { String::new() };
    let report::FlowTable { capacity, live, evicted_half_open, evicted_closing, .. } = report.table;
    let evicted = evicted_half_open + evicted_closing + report.table.evicted_live;
    format!("{flows}{more}\n\n{live} of {capacity} flows; {evicted} gave way to others")
}

fn end(address: IpAddr, port: Option<u16>) -> String {
    match (address, port) {
        (address, None) => address.to_string(),
        (IpAddr::V4(address), Some(port)) => format!("{address}:{port}"),
        (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
    }
}

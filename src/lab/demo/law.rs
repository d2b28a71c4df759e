//! The conservation law, on what a daemon tells of its drops:
//! received + generated + split + replicated = emitted + held + merged + the sum of the drops.

use super::super::{Result, daemon};
use crate::control::report::Drops;

/// What the daemon of a node tells.
pub(super) fn read(node: &str) -> Result<Drops> {
    daemon::get(node, "show/drops")
}

/// Whether both sides are equal and every drop has a name; either way what was seen. The daemon's
/// own sums are not asked.
pub(super) fn check(told: &Drops) -> std::result::Result<String, String> {
    if let Some(nameless) = told.drops.iter().find(|drop| drop.reason.is_empty()) {
        return Err(format!("{} frames were dropped without a reason", nameless.count));
    }
    let law = &told.conservation;
    let dropped: u64 = told.drops.iter().map(|drop| drop.count).sum();
    let enter = law.received + law.generated + law.split + law.replicated;
    let leave = law.emitted + law.held + law.merged + dropped;
    if enter != leave {
        return Err(format!("{enter} frames in, {leave} out; {}; {law:?}", tell(told)));
    }
    Ok(format!("{enter} frames in and out, {}", tell(told)))
}

/// The drops there were, and the kernel's.
pub(super) fn tell(told: &Drops) -> String {
    let ours = told.drops.iter().map(|drop| (drop.count, drop.reason.clone()));
    let kernels =
        told.kernel.iter().map(|drop| (drop.count, format!("{} of {}", drop.reason, drop.port)));
    let all = ours.chain(kernels).filter(|(count, _)| *count > 0);
    let all: Vec<_> = all.map(|(count, name)| format!("{count} {name}")).collect();
    if all.is_empty() { "no drops".into() } else { format!("drops: {}", all.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::report::{Conservation, Drop, KernelDrop};

    fn drops(received: u64, reason: &str) -> Drops {
        Drops {
            drops: vec![Drop { reason: reason.into(), text: String::new(), count: 7 }],
            kernel: vec![KernelDrop { port: "a1".into(), reason: "tx_dropped".into(), count: 5 }],
            conservation: Conservation {
                received,
                generated: 2,
                split: 3,
                replicated: 4,
                emitted: 10,
                held: 1,
                merged: 1,
                ..Conservation::default()
            },
        }
    }

    #[test]
    fn both_sides_are_added_up() {
        let told = "19 frames in and out, drops: 7 acl.denied, 5 tx_dropped of a1";
        assert_eq!(check(&drops(10, "acl.denied")).as_deref(), Ok(told));
        let wrong = check(&drops(11, "acl.denied"));
        assert!(wrong.is_err_and(|text| text.contains("20 frames in, 19 out")));
    }

    #[test]
    fn a_drop_has_a_reason() {
        assert!(check(&drops(10, "")).is_err_and(|text| text.contains("without a reason")));
    }
}

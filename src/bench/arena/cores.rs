//! Which core does what.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

/// Which core does what. Who shares one shares its time: results tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cores {
    /// The sender's. The kernel receives its frames for the router there too, as far as to the router's
    /// program or through the kernel's own router; then that core's time is the router's too.
    pub sender: usize,
    /// The routers', node after node. The kernel takes what they send to the sink there too.
    pub routers: [usize; 2],
}

impl Cores {
    /// The sender has the first core that we may use, each router one of the others. Where there are too
    /// few, the node's router goes before the far node's, which then has the sender's.
    pub fn choose() -> Cores {
        Cores::among(&allowed())
    }

    fn among(allowed: &[usize]) -> Cores {
        let of = |nth: usize| allowed.get(nth % allowed.len().max(1)).copied().unwrap_or(0);
        Cores { sender: of(0), routers: [of(1), of(2)] }
    }

    /// All that we may use but the sender's, as a mask; all when that leaves none.
    pub fn not_the_senders(&self) -> u64 {
        let allowed = allowed().into_iter().filter(|core| *core < u64::BITS as usize);
        let all = allowed.fold(0, |mask, core| mask | 1u64 << core);
        let others = all & !(1u64 << self.sender);
        if others == 0 { all } else { others }
    }

    /// Whether a router's own thread shares the sender's core, when the first so many routers are at work.
    pub fn are_shared(&self, routers: usize) -> bool {
        self.routers.iter().take(routers).any(|core| *core == self.sender)
    }
}

/// The cores that we may use.
fn allowed() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect(),
        Err(_) => vec![0],
    }
}

/// Keeps the calling thread on this core; where that is not allowed, it stays where it may be.
pub(in crate::bench) fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    let _ = sched_setaffinity(None, &set);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_router_has_a_core_of_its_own_first() {
        let cores = |allowed: &[usize]| {
            let Cores { sender, routers } = Cores::among(allowed);
            [sender, routers[0], routers[1]]
        };
        assert_eq!(cores(&[4, 5, 6, 7]), [4, 5, 6]);
        assert_eq!(cores(&[4, 5]), [4, 5, 4]);
        assert_eq!(cores(&[4]), [4, 4, 4]);
        let two = Cores::among(&[4, 5]);
        assert!(two.are_shared(2) && !two.are_shared(1));
    }
}

//! What the policies of one tier say of a port.
//!
//! Of the two addresses of a packet the *near* one is the port's own, the *far* one the other
//! end's. Nearly all rules take any near address; those have one [`Grid`] together. The others have
//! one for each set of near addresses that is named, and a packet is looked up in as many of them
//! as its near address lies in.
//!
//! Rules that log are kept apart, and are tried one by one: there are few, and for one to look
//! through many would only bring forth many lines.

use super::RuleId;
use super::addresses::{Addresses, Bits, Ranges};
use super::grid::{Grid, by_prefix};
use super::model::Verb;
use super::sets::Sets;
use super::steps::Steps;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A rule and what it says, in one number: what comes first is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Entry(pub(super) u32);

const VERBS: [Verb; 4] = [Verb::Allow, Verb::Deny, Verb::Log, Verb::Pass];

impl Entry {
    /// No rule.
    pub(super) const NONE: Entry = Entry(u32::MAX);

    pub(super) fn new(rule: RuleId, verb: Verb) -> Entry {
        let verb = VERBS.iter().position(|&other| other == verb).unwrap_or_default();
        Entry(rule.0 << 2 | verb as u32)
    }

    #[inline]
    pub(super) fn rule(self) -> RuleId {
        RuleId(self.0 >> 2)
    }

    #[inline]
    pub(super) fn verb(self) -> Verb {
        VERBS[self.0 as usize % VERBS.len()]
    }
}

/// A rule as a table is made of it.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) entry: Entry,
    /// Indices into all sets of addresses.
    pub(super) near: usize,
    pub(super) far: usize,
    /// Their [keys](super::program::key).
    pub(super) services: Arc<Ranges>,
}

/// One tier's rules for one direction of ports that the same policies select; see the
/// [module](self).
#[derive(Debug)]
pub(super) struct Table {
    anywhere: Grid,
    near: Option<Near>,
    logs: Box<[Log]>,
    end: Entry,
}

/// The rules that do not take any near address.
#[derive(Debug)]
struct Near {
    v4: Steps<u32>,
    v6: Steps<u128>,
    /// By what an address finds above: indices of grids.
    lists: Box<[Box<[usize]>]>,
    grids: Box<[Grid]>,
}

#[derive(Debug)]
struct Log {
    entry: Entry,
    near: Arc<Addresses>,
    far: Arc<Addresses>,
    services: Arc<Ranges>,
}

/// A packet as tables see it.
#[derive(Clone, Copy)]
pub(super) struct Probe<'a> {
    pub(super) near: &'a IpAddr,
    pub(super) far: &'a IpAddr,
    /// The [key](super::program::key) of its service.
    pub(super) service: u32,
}

impl Table {
    /// The table of these lines, which come before `end`. Of equal `sets` there is one only.
    pub(super) fn new(lines: &[Line], sets: &[Arc<Addresses>], end: Entry) -> Table {
        let (logs, lines): (Vec<_>, Vec<_>) =
            lines.iter().partition(|line| line.entry.verb() == Verb::Log);
        let (anywhere, near): (Vec<_>, Vec<_>) =
            lines.into_iter().partition(|line| line.near == Sets::ANY);
        let log = |line: &Line| Log {
            entry: line.entry,
            near: sets[line.near].clone(),
            far: sets[line.far].clone(),
            services: line.services.clone(),
        };
        Table {
            anywhere: Grid::new(&anywhere, sets),
            near: (!near.is_empty()).then(|| Near::new(&near, sets)),
            logs: logs.into_iter().map(log).collect(),
            end,
        }
    }

    /// What decides, and the last service up to which it is the same.
    #[inline]
    pub(super) fn first(&self, probe: &Probe<'_>) -> (Entry, u32) {
        let (mut first, mut until) = self.anywhere.first(probe.far, probe.service);
        if let Some(near) = &self.near {
            for grid in near.grids(Bits::from(*probe.near)) {
                let (entry, last) = grid.first(probe.far, probe.service);
                (first, until) = (first.min(entry), until.min(last));
            }
        }
        (first.min(self.end), until)
    }

    /// The rules in front of one that note the packet.
    #[inline]
    pub(super) fn logs<'a>(
        &'a self,
        probe: &'a Probe<'a>,
        before: Entry,
    ) -> impl Iterator<Item = RuleId> + 'a {
        let passed = self.logs.iter().take_while(move |log| log.entry < before);
        passed.filter(move |log| log.matches(probe)).map(|log| log.entry.rule())
    }

    pub(super) fn memory(&self) -> usize {
        let logs = self.logs.iter().map(|log| {
            size_of_val(log)
                + log.near.memory()
                + log.far.memory()
                + size_of_val(log.services.ranges())
        });
        let near = self.near.as_ref().map_or(0, Near::memory);
        size_of_val(self) + self.anywhere.memory() + near + logs.sum::<usize>()
    }
}

impl Near {
    fn new(lines: &[&Line], sets: &[Arc<Addresses>]) -> Near {
        let mut groups = BTreeMap::<usize, Vec<&Line>>::new();
        for line in lines {
            groups.entry(line.near).or_default().push(line);
        }
        let addresses: Vec<&Addresses> = groups.keys().map(|&near| &*sets[near]).collect();
        let mut lists = vec![Box::default()];
        let (v4, v6) = by_prefix(&addresses, |own, around| {
            lists.push([&lists[around as usize], own.as_slice()].concat().into());
            lists.len() as u32 - 1
        });
        let grids = groups.values().map(|lines| Grid::new(lines, sets)).collect();
        Near { v4, v6, lists: lists.into(), grids }
    }

    #[inline]
    fn grids(&self, near: Bits) -> impl Iterator<Item = &Grid> {
        let list = match near {
            Bits::V4(bits) => self.v4.at(bits).0,
            Bits::V6(bits) => self.v6.at(bits).0,
        };
        self.lists[list as usize].iter().map(|&grid| &self.grids[grid])
    }

    fn memory(&self) -> usize {
        let lists = self.lists.iter().map(|list| size_of_val(list) + size_of_val(&**list));
        let grids = self.grids.iter().map(|grid| size_of_val(grid) + grid.memory());
        self.v4.memory() + self.v6.memory() + lists.sum::<usize>() + grids.sum::<usize>()
    }
}

impl Log {
    fn matches(&self, probe: &Probe<'_>) -> bool {
        self.services.contains(probe.service.into())
            && self.near.contains(Bits::from(*probe.near))
            && self.far.contains(Bits::from(*probe.far))
    }
}

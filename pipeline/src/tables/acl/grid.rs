//! The first rule that matches an address and a service, without looking at rules one after the
//! other.
//!
//! The [`Steps`] of a family say which class an address belongs to, others the same of a service;
//! all values of a class match the same rules. The classes are [`Bitmaps`] of rules, so that the
//! first rule that matches both is found by a few words of each.
//!
//! ```text
//!   address ─▶ steps ─▶ class ─▶ 0100 0000 0011 … ┐
//!                                                 ├─▶ first bit that both have ─▶ rule
//!   service ─▶ steps ─▶ class ─▶ 0000 0000 0010 … ┘
//! ```
//!
//! The steps grow in depth, and the bitmaps' summaries by a word for each 4,096 rules. Words of rules
//! are looked at only where both classes have some, which is rare but where many rules take many
//! addresses and many services; then it is a word for each 64. At the worst there is a bit for each
//! rule and class: where prefixes that have many rules lie around many others.

use super::addresses::{Addresses, Bits, Ranges};
use super::bitmaps::{Bitmaps, Builder};
use super::sets::Sets;
use super::steps::Steps;
use super::table::{Entry, Line};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// What rules say of one end's address and a service.
#[derive(Debug)]
pub(super) struct Grid {
    v4: Steps<u32>,
    v6: Steps<u128>,
    by_address: Bitmaps,
    /// Keyed by [service](super::program::key).
    services: Steps<u32>,
    by_service: Bitmaps,
    entries: Box<[Entry]>,
    /// What matches anything, behind all others.
    last: Entry,
}

impl Grid {
    /// The grid of these lines, by their far addresses. The lines are in order.
    pub(super) fn new(lines: &[&Line], sets: &[Arc<Addresses>]) -> Grid {
        let all = Ranges::services();
        let is_last = |line: &&Line| line.far == Sets::ANY && *line.services == all;
        let end = lines.iter().position(is_last);
        let last = end.map_or(Entry::NONE, |end| lines[end].entry);
        let lines = &lines[..end.unwrap_or(lines.len())];

        let (always, far, groups) = group(lines, |line| line.far, &Sets::ANY);
        let far: Vec<&Addresses> = far.into_iter().map(|far| &*sets[far]).collect();
        let mut by_address = Builder::new(lines.len(), &always, &groups);
        let (v4, v6) = by_prefix(&far, |own, around| by_address.class(own, around));

        let (always, services, groups) = group(lines, |line| &*line.services, &&all);
        let mut by_service = Builder::new(lines.len(), &always, &groups);
        let class = &mut |own, around| by_service.class(own, around);
        let services = narrow(sweep(services.into_iter(), u32::MAX.into(), class));
        Grid {
            v4,
            v6,
            by_address: by_address.finish(),
            services,
            by_service: by_service.finish(),
            entries: lines.iter().map(|line| line.entry).collect(),
            last,
        }
    }

    /// The first entry that matches, and the last service up to which it is the same.
    #[inline]
    pub(super) fn first(&self, far: &IpAddr, service: u32) -> (Entry, u32) {
        let address = match Bits::from(*far) {
            Bits::V4(bits) => self.v4.at(bits).0,
            Bits::V6(bits) => self.v6.at(bits).0,
        };
        let (service, until) = self.services.at(service);
        let first = self.by_address.first_common(address, &self.by_service, service);
        (first.map_or(self.last, |first| self.entries[first]), until)
    }

    pub(super) fn memory(&self) -> usize {
        let steps = self.v4.memory() + self.v6.memory() + self.services.memory();
        let bitmaps = self.by_address.memory() + self.by_service.memory();
        steps + bitmaps + size_of_val(&*self.entries)
    }
}

/// The indices of the lines whose property is `any`, all other properties, and the indices of each
/// one's lines.
fn group<'a, T: Ord>(
    lines: &[&'a Line],
    property: impl Fn(&'a Line) -> T,
    any: &T,
) -> (Vec<usize>, Vec<T>, Vec<Vec<usize>>) {
    let mut groups = BTreeMap::<T, Vec<usize>>::new();
    for (index, line) in lines.iter().enumerate() {
        groups.entry(property(line)).or_default().push(index);
    }
    let always = groups.remove(any).unwrap_or_default();
    let (properties, groups) = groups.into_iter().unzip();
    (always, properties, groups)
}

/// What an address finds in a tree of prefixes: `node` is told of the sets that begin at a prefix,
/// and of what addresses around it find, which is 0 where there is no prefix around.
pub(super) fn by_prefix(
    sets: &[&Addresses],
    mut node: impl FnMut(Vec<usize>, u32) -> u32,
) -> (Steps<u32>, Steps<u128>) {
    let v4 = sweep(sets.iter().map(|set| &set.v4), u32::MAX.into(), &mut node);
    let v6 = sweep(sets.iter().map(|set| &set.v6), u128::MAX, &mut node);
    (narrow(v4), Steps::new(&v6))
}

/// Steps of numbers that fit.
fn narrow(steps: Vec<(u128, u32)>) -> Steps<u32> {
    Steps::new(&steps.into_iter().map(|(last, node)| (last as u32, node)).collect::<Vec<_>>())
}

/// The tree of one family: what is found up to and including each address.
fn sweep<'a>(
    sets: impl Iterator<Item = &'a Ranges>,
    max: u128,
    node: &mut impl FnMut(Vec<usize>, u32) -> u32,
) -> Vec<(u128, u32)> {
    // A prefix comes before those within it.
    let prefixes = sets.enumerate().flat_map(|(index, set)| {
        set.prefixes().map(move |(first, last)| (first, Reverse(last), index))
    });
    let mut prefixes: Vec<_> = prefixes.collect();
    prefixes.sort_unstable();
    let mut steps = Vec::new();
    // The innermost prefix, and those around it: their last addresses, and what is found there.
    let (mut inside, mut around) = ((max, 0), Vec::new());
    for same in prefixes.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
        let (first, Reverse(last), _) = same[0];
        while inside.0 < first {
            push(&mut steps, inside);
            inside = around.pop().unwrap_or((max, 0));
        }
        if let Some(before) = first.checked_sub(1) {
            push(&mut steps, (before, inside.1));
        }
        let own = same.iter().map(|&(_, _, index)| index).collect();
        let found = node(own, inside.1);
        around.push(std::mem::replace(&mut inside, (last, found)));
    }
    push(&mut steps, inside);
    while let Some(outside) = around.pop() {
        push(&mut steps, outside);
    }
    steps
}

/// Appends a step, unless it ends where the former ends; equal neighbours become one.
fn push(steps: &mut Vec<(u128, u32)>, step: (u128, u32)) {
    match steps.last_mut() {
        Some(former) if former.0 >= step.0 => {}
        Some(former) if former.1 == step.1 => former.0 = step.0,
        _ => steps.push(step),
    }
}

//! The first rule that matches an address and a service, without looking at rules one after the
//! other.
//!
//! Rules hang in the tree of prefixes at those that make up their addresses. For an address, the
//! [`Steps`] of its family give the deepest prefix that it lies in, and so a *chain*: one more step
//! function over the services, with the first rule for each, for every prefix on the way up that
//! has rules. What is least along the chain is the answer.
//!
//! ```text
//!   address ─▶ 10.1.2.0/24 ─▶ chain ─▶ │ tcp/80: 7 │ else: none │
//!                               │ next
//!                               ▼
//!              0.0.0.0/0      chain ─▶ │ tcp/1: 3 │ tcp/2: 12 │ tcp/5: 4 │ …
//! ```
//!
//! Chains are short: what a prefix's rules say is merged into the prefixes within it, as long as
//! that adds no more steps than [`SMALL`], or than there are. So memory never grows with the
//! product of prefixes and services, and a chain goes on only to tables that are larger each time:
//! nearly always to the one for any address. Prefixes with the same rules share one chain.

use super::addresses::{Addresses, Bits, Ranges};
use super::steps::Steps;
use super::table::{Entry, Line};
use hashbrown::HashMap;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A table of so many steps is merged into each that it stands behind.
const SMALL: usize = 64;

/// No further chain.
const END: u32 = u32::MAX;

/// What rules say of one end's address and a service.
#[derive(Debug)]
pub(super) struct Grid {
    v4: Steps<u32>,
    v6: Steps<u128>,
    chains: Box<[Chain]>,
}

#[derive(Debug)]
struct Chain {
    /// Keyed by [service](super::program::key).
    entries: Steps<u32>,
    /// Where to look, too.
    next: u32,
}

impl Grid {
    /// The grid of these lines, by their far addresses.
    pub(super) fn new(lines: &[&Line], sets: &[Arc<Addresses>]) -> Grid {
        let mut groups = BTreeMap::<usize, Vec<&Line>>::new();
        for line in lines {
            groups.entry(line.far).or_default().push(line);
        }
        let far: Vec<&Addresses> = groups.keys().map(|&far| &*sets[far]).collect();
        let mut drafts = Drafts::new(groups.into_values().collect());
        let (v4, v6) = by_prefix(&far, |own, around| drafts.chain(own, around));
        Grid { v4, v6, chains: drafts.finish() }
    }

    /// The first entry that matches, and the last service up to which it is the same.
    #[inline]
    pub(super) fn first(&self, far: Bits, service: u32) -> (Entry, u32) {
        let mut chain = match far {
            Bits::V4(bits) => self.v4.at(bits).0,
            Bits::V6(bits) => self.v6.at(bits).0,
        };
        let (mut first, mut until) = (Entry::NONE, u32::MAX);
        while chain != END {
            let Chain { entries, next } = &self.chains[chain as usize];
            let (entry, last) = entries.at(service);
            (first, until) = (first.min(Entry(entry)), until.min(last));
            chain = *next;
        }
        (first, until)
    }

    pub(super) fn memory(&self) -> usize {
        let chains = self.chains.iter().map(|chain| chain.entries.memory());
        size_of_val(&*self.chains) + self.v4.memory() + self.v6.memory() + chains.sum::<usize>()
    }
}

/// What an address finds in a tree of prefixes: `node` is told of the sets that begin at a prefix,
/// and of what addresses around it find, which is 0 where there is no prefix around.
pub(super) fn by_prefix(
    sets: &[&Addresses],
    mut node: impl FnMut(Vec<usize>, u32) -> u32,
) -> (Steps<u32>, Steps<u128>) {
    let v4 = sweep(sets.iter().map(|set| &set.v4), u32::MAX.into(), &mut node);
    let v6 = sweep(sets.iter().map(|set| &set.v6), u128::MAX, &mut node);
    let v4: Vec<_> = v4.into_iter().map(|(last, node)| (last as u32, node)).collect();
    (Steps::new(&v4), Steps::new(&v6))
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

/// Chains as they are made.
struct Drafts<'a> {
    /// The lines of the same addresses.
    groups: Vec<Vec<&'a Line>>,
    drafts: Vec<Draft<'a>>,
    /// By the groups that begin at a prefix, and the chain of what is around it.
    by_groups: HashMap<(Vec<usize>, u32), u32>,
    /// By what they say.
    by_steps: HashMap<(Vec<(u32, u32)>, u32), u32>,
}

struct Draft<'a> {
    /// Those that decide anything, in order.
    lines: Vec<&'a Line>,
    steps: Vec<(u32, u32)>,
    next: u32,
}

impl<'a> Drafts<'a> {
    fn new(groups: Vec<Vec<&'a Line>>) -> Drafts<'a> {
        let mut drafts = Drafts {
            groups,
            drafts: Vec::new(),
            by_groups: HashMap::new(),
            by_steps: HashMap::new(),
        };
        // The first is that of addresses in no prefix.
        drafts.add(Draft { lines: Vec::new(), steps: overlay(&[]), next: END });
        drafts
    }

    /// The chain of a prefix at which these groups begin, within one that has the chain `around`.
    fn chain(&mut self, own: Vec<usize>, around: u32) -> u32 {
        let key = (own, around);
        if let Some(&chain) = self.by_groups.get(&key) {
            return chain;
        }
        let mut draft = Draft { lines: Vec::new(), steps: Vec::new(), next: around };
        let own: Vec<_> = key.0.iter().flat_map(|&group| &self.groups[group]).copied().collect();
        draft.merge(&own);
        while let Some(next) = self.drafts.get(draft.next as usize)
            && next.steps.len() <= draft.steps.len().max(SMALL)
        {
            draft.next = next.next;
            draft.merge(&next.lines);
        }
        let chain = self.add(draft);
        self.by_groups.insert(key, chain);
        chain
    }

    fn add(&mut self, draft: Draft<'a>) -> u32 {
        let key = (draft.steps.clone(), draft.next);
        let chain = *self.by_steps.entry(key).or_insert(self.drafts.len() as u32);
        if chain as usize == self.drafts.len() {
            self.drafts.push(draft);
        }
        chain
    }

    fn finish(self) -> Box<[Chain]> {
        let chain =
            |draft: Draft<'_>| Chain { entries: Steps::new(&draft.steps), next: draft.next };
        self.drafts.into_iter().map(chain).collect()
    }
}

impl<'a> Draft<'a> {
    fn merge(&mut self, lines: &[&'a Line]) {
        self.lines.extend_from_slice(lines);
        self.lines.sort_unstable_by_key(|line| line.entry);
        self.steps = overlay(&self.lines);
        let mut deciding: Vec<_> = self.steps.iter().map(|step| Entry(step.1)).collect();
        deciding.sort_unstable();
        self.lines.retain(|line| deciding.binary_search(&line.entry).is_ok());
    }
}

/// The first of the lines for each service, as steps. The lines are in order.
fn overlay(lines: &[&Line]) -> Vec<(u32, u32)> {
    let ranges = || lines.iter().flat_map(|line| line.services.iter().map(|range| (*line, range)));
    let mut lasts: Vec<u32> = ranges()
        .flat_map(|(_, &(first, last))| [first.checked_sub(1), Some(last)])
        .flatten()
        .chain([u32::MAX])
        .collect();
    lasts.sort_unstable();
    lasts.dedup();
    let mut entries = vec![Entry::NONE; lasts.len()];
    // Of a step the next one that is not decided yet, as far as that is known; its own index if it
    // isn't.
    let mut undecided: Vec<usize> = (0..=lasts.len()).collect();
    for (line, &(first, last)) in ranges() {
        let mut step = find(&mut undecided, lasts.partition_point(|&end| end < first));
        while lasts.get(step).is_some_and(|&end| end <= last) {
            entries[step] = line.entry;
            undecided[step] = step + 1;
            step = find(&mut undecided, step);
        }
    }
    let mut steps: Vec<(u32, u32)> = lasts.into_iter().zip(entries.iter().map(|e| e.0)).collect();
    steps.dedup_by(|next, former| {
        let is_same = next.1 == former.1;
        if is_same {
            former.0 = next.0;
        }
        is_same
    });
    steps
}

/// Follows the way to where it ends, and halves it for those that come later.
fn find(way: &mut [usize], mut from: usize) -> usize {
    while way[from] != from {
        way[from] = way[way[from]];
        from = way[from];
    }
    from
}

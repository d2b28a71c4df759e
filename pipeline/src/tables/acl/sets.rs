//! The sets of addresses that rules name, each once.

use super::Selector;
use super::addresses::Addresses;
use super::model::{Endpoint, Party, Policies};
use hashbrown::HashMap;
use std::sync::Arc;

/// All sets of addresses that were asked for, and what they were asked by.
pub(super) struct Sets<'a> {
    policies: &'a Policies,
    all: Vec<Arc<Addresses>>,
    indices: HashMap<Arc<Addresses>, usize>,
    by_parties: HashMap<&'a [Party], usize>,
    by_part: HashMap<Part<'a>, Arc<Addresses>>,
}

/// A part of a party that stands for addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Part<'a> {
    Set(&'a str),
    Labels(&'a Selector),
    Port(&'a str),
}

impl<'a> Sets<'a> {
    /// The index of the set of all addresses.
    pub(super) const ANY: usize = 0;

    pub(super) fn new(policies: &'a Policies) -> Sets<'a> {
        let mut sets = Sets {
            policies,
            all: Vec::new(),
            indices: HashMap::new(),
            by_parties: HashMap::new(),
            by_part: HashMap::new(),
        };
        sets.index(Addresses::all());
        sets
    }

    /// By their indices.
    pub(super) fn all(&self) -> &[Arc<Addresses>] {
        &self.all
    }

    /// The index of the set of these parties' addresses.
    pub(super) fn of(&mut self, parties: &'a [Party]) -> usize {
        if parties.is_empty() {
            return Self::ANY;
        }
        if let Some(&index) = self.by_parties.get(parties) {
            return index;
        }
        let addresses = Addresses::union(parties.iter().map(|party| self.party(party)));
        let index = self.index(addresses);
        self.by_parties.insert(parties, index);
        index
    }

    fn index(&mut self, addresses: Addresses) -> usize {
        let addresses = Arc::new(addresses);
        let next = self.all.len();
        let index = *self.indices.entry(addresses.clone()).or_insert(next);
        if index == next {
            self.all.push(addresses);
        }
        index
    }

    fn party(&mut self, party: &'a Party) -> Addresses {
        let mut addresses = match &party.block {
            Some((block, except)) => Addresses::of([block]).without(&Addresses::of(except)),
            None => Addresses::all(),
        };
        let set = party.set.as_deref().map(Part::Set);
        let labels = party.labels.as_ref().map(Part::Labels);
        let port = party.port.as_deref().map(Part::Port);
        for part in [set, labels, port].into_iter().flatten() {
            addresses = addresses.and(self.part(part));
        }
        addresses
    }

    fn part(&mut self, part: Part<'a>) -> &Addresses {
        let policies = self.policies;
        let of_endpoints = |is_meant: &dyn Fn(&Endpoint) -> bool| {
            let meant = policies.endpoints.iter().filter(|endpoint| is_meant(endpoint));
            Addresses::of(meant.flat_map(|endpoint| &endpoint.addresses))
        };
        self.by_part.entry(part).or_insert_with(|| {
            Arc::new(match part {
                Part::Set(name) => Addresses::of(policies.sets.get(name).into_iter().flatten()),
                Part::Labels(selector) => of_endpoints(&|e| selector.matches(&e.labels)),
                Part::Port(name) => of_endpoints(&|e| e.name.as_deref() == Some(name)),
            })
        })
    }
}

//! The routes themselves, and the table compiled from them.
//!
//! A [`Rib`] is what control changes; the [`Lpm`] it gives out is what workers read. A change
//! repaints the changed prefix and the routes within it, nothing else, so that it costs
//! microseconds for the usual long prefix in a table of any size; it takes as long as there are
//! routes within the prefix.

use super::block::Route;
use super::lpm::{Key, Lpm, NONE};
use prefix_trie::{Prefix, PrefixMap};
use std::sync::Arc;

/// From how many new routes on, as a fraction of all, `extend` paints the table anew.
const REBUILD: usize = 8;

/// Routes to handles below [`NONE`], with the table that looks them up.
#[derive(Clone, Debug)]
pub struct Rib<A: Key> {
    routes: PrefixMap<A::Net, u32>,
    table: Arc<Lpm<A>>,
}

impl<A: Key> Default for Rib<A> {
    fn default() -> Self {
        Self { routes: PrefixMap::new(), table: Arc::default() }
    }
}

impl<A: Key> Rib<A> {
    /// Without any route.
    pub fn new() -> Self {
        Self::default()
    }

    /// The table as it is now. Later changes don't show in it.
    pub fn snapshot(&self) -> Arc<Lpm<A>> {
        self.table.clone()
    }

    /// Number of routes.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there is no route.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// The value of exactly this prefix.
    pub fn get(&self, net: &A::Net) -> Option<u32> {
        self.routes.get(net).copied()
    }

    /// All routes in the order of their networks, each before those within it.
    pub fn iter(&self) -> impl Iterator<Item = (A::Net, u32)> + '_ {
        self.routes.iter().map(|(net, &value)| (net, value))
    }

    /// Bytes of the routes and of the table.
    pub fn memory(&self) -> usize {
        self.routes.mem_size() + self.table.memory()
    }

    /// Adds a route or changes it; host bits of `net` are ignored. Returns the value it had.
    ///
    /// # Panics
    /// If `value` is not below [`NONE`].
    pub fn insert(&mut self, net: A::Net, value: u32) -> Option<u32> {
        assert!(value < NONE, "a route's value must be below 2^31 - 1, and is {value}");
        let old = self.routes.insert(net, value);
        if old != Some(value) {
            self.repaint(&net, value);
        }
        old
    }

    /// Removes a route; what it covered falls back to the next shorter one. Returns the value it
    /// had.
    pub fn remove(&mut self, net: &A::Net) -> Option<u32> {
        let old = self.routes.remove(net)?;
        let covering = self.routes.get_lpm(net).filter(|(net, _)| net.prefix_len() > 0);
        let inherited = covering.map_or(NONE, |(_, &value)| value);
        if inherited != old {
            self.repaint(net, inherited);
        }
        Some(old)
    }

    /// Adds or changes many routes: a million IPv4 ones take about a second.
    ///
    /// # Panics
    /// If a value is not below [`NONE`].
    pub fn extend(&mut self, routes: impl IntoIterator<Item = (A::Net, u32)>) {
        let routes: Vec<_> = routes.into_iter().collect();
        if routes.len() < self.routes.len() / REBUILD {
            for (net, value) in routes {
                self.insert(net, value);
            }
            return;
        }
        for (net, value) in routes {
            assert!(value < NONE, "a route's value must be below 2^31 - 1, and is {value}");
            self.routes.insert(net, value);
        }
        let mut table = Lpm::default();
        let mut routes = self.routes.iter().map(|(net, &value)| route::<A>(&net, value)).peekable();
        if let Some(default) = routes.next_if(|route| route.len == 0) {
            table.set_default(default.value);
        }
        table.paint(routes);
        self.table = Arc::new(table);
    }

    /// Makes `value` what the addresses of `net` map to that no route within it covers.
    fn repaint(&mut self, net: &A::Net, value: u32) {
        let table = Arc::make_mut(&mut self.table);
        let top = route::<A>(net, value);
        if top.len == 0 {
            return table.set_default(value);
        }
        let within = self.routes.children(net).map(|(net, &value)| route::<A>(&net, value));
        table.paint(std::iter::once(top).chain(within.filter(|route| route.len > top.len)));
        if value == NONE {
            table.release(&top);
        }
    }
}

fn route<A: Key>(net: &A::Net, value: u32) -> Route {
    Route { bits: A::net_bits(net), len: net.prefix_len(), value }
}

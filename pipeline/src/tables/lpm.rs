//! Longest-prefix match: which value an address maps to.
//!
//! The first 24 bits of an address index a slot directly, through a directory of pages; longer
//! prefixes hang below their slot as nodes of eight bits each. So an IPv4 lookup is one random
//! access to memory, or three where a prefix longer than 24 bits is near, and an IPv6 lookup two
//! more for each further eight bits that routes tell apart.
//!
//! ```text
//!            6 bits     6 bits     12 bits          8 bits      8 bits
//!   Lpm ──▶ directory ──▶ page ──▶ slot ──▶ value
//!                                       └─▶ node ──▶ value
//!                                               └──▶ node ──▶ …
//! ```
//!
//! An [`Lpm`] is a snapshot: it is changed only by its [`Rib`](super::Rib), which copies what it
//! changes as long as somebody else still holds it: a directory, a page and the nodes on one path.
//! Pages without any route are one shared page, so a small table is small: a page is 16 KiB.
//! The default route is kept apart, or it would repaint every page.

use super::block::{Block, CHILD, Route, byte};
use std::collections::HashSet;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

pub use super::block::NONE;

/// Address bits that the root decides.
const ROOT: u8 = 24;
/// Slots of a page.
const PAGE: usize = 1 << 12;
/// Pages of a directory, and directories of a table.
const FAN: usize = 1 << 6;
/// Addresses that go down the tree together.
const BATCH: usize = 64;

type Page = Block<PAGE>;
type Directory = [Arc<Page>; FAN];

mod sealed {
    pub trait Sealed {}
    impl Sealed for std::net::Ipv4Addr {}
    impl Sealed for std::net::Ipv6Addr {}
}

/// An address that a table can be keyed by.
pub trait Key: sealed::Sealed + Copy + Eq + Send + Sync + 'static {
    /// Nodes hang only at the root, and decide the last eight bits.
    const ONE_LEVEL: bool;

    /// A prefix of such addresses.
    type Net: prefix_trie::Prefix + Copy + Eq + Send + Sync;

    /// The address, from the most significant bit on.
    fn bits(self) -> u128;

    /// The network's address in the same form, without host bits.
    fn net_bits(net: &Self::Net) -> u128;
}

impl Key for Ipv4Addr {
    const ONE_LEVEL: bool = true;
    type Net = ipnet::Ipv4Net;

    #[inline]
    fn bits(self) -> u128 {
        u128::from(self.to_bits()) << 96
    }

    fn net_bits(net: &Self::Net) -> u128 {
        net.network().bits()
    }
}

impl Key for Ipv6Addr {
    const ONE_LEVEL: bool = false;
    type Net = ipnet::Ipv6Net;

    #[inline]
    fn bits(self) -> u128 {
        self.to_bits()
    }

    fn net_bits(net: &Self::Net) -> u128 {
        net.network().bits()
    }
}

/// The root's slot of an address or network.
#[inline]
fn top(bits: u128) -> usize {
    (bits >> (128 - ROOT)) as usize
}

/// An immutable longest-prefix-match table; see the [module](self).
///
/// Values are handles below [`NONE`], such as indices of next hops.
#[derive(Clone)]
pub struct Lpm<A> {
    /// What no other route covers maps to this.
    default: u32,
    directories: [Arc<Directory>; FAN],
    /// The page that stands wherever there is no route.
    empty: Arc<Page>,
    key: PhantomData<A>,
}

impl<A: Key> std::fmt::Debug for Lpm<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lpm").field("memory", &self.memory()).finish_non_exhaustive()
    }
}

impl<A: Key> Default for Lpm<A> {
    fn default() -> Self {
        let empty = Arc::new(Page::uniform(NONE));
        let directory = Arc::new(std::array::from_fn(|_| empty.clone()));
        let directories = std::array::from_fn(|_| directory.clone());
        Self { default: NONE, directories, empty, key: PhantomData }
    }
}

impl<A: Key> Lpm<A> {
    /// The value of the longest prefix that contains `addr`.
    #[inline]
    pub fn lookup(&self, addr: A) -> Option<u32> {
        let bits = addr.bits();
        let page = self.page(top(bits));
        let mut slot = page.slot(top(bits));
        let mut node = page.child(slot);
        while let Some(deeper) = node {
            slot = deeper.slot(bits);
            node = deeper.child(slot);
        }
        let value = self.or_default(slot);
        (value != NONE).then_some(value)
    }

    /// [`lookup`](Self::lookup) for many addresses: `out[i]` becomes the value of `addrs[i]`, or
    /// [`NONE`]. Of slices of different lengths the longer one's rest is left alone.
    ///
    /// All addresses go down the tree together, a level at a time, so that their accesses to memory
    /// do not wait for each other.
    #[inline]
    pub fn lookup_batch(&self, addrs: &[A], out: &mut [u32]) {
        for (addrs, out) in addrs.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            self.lookup_chunk(addrs, out);
        }
    }

    /// `lookup_batch` for at most [`BATCH`] addresses.
    #[inline]
    fn lookup_chunk(&self, addrs: &[A], out: &mut [u32]) {
        // Which addresses are not done. The loops that fill it always write and advance by what
        // they found: the processor need not guess which address has a longer prefix.
        let mut deeper = [0_u8; BATCH];
        let mut count = 0;
        for (i, (addr, slot)) in addrs.iter().zip(out.iter_mut()).enumerate() {
            let top = top(addr.bits());
            *slot = self.page(top).slot(top);
            deeper[count % BATCH] = i as u8;
            count += usize::from(*slot & CHILD != 0);
        }
        if count > 0 {
            self.descend(addrs, out, deeper, count);
        }
        for slot in out {
            *slot = self.or_default(*slot);
        }
    }

    /// Takes the first `count` addresses of `deeper` from their root slots to their values.
    fn descend(&self, addrs: &[A], out: &mut [u32], mut deeper: [u8; BATCH], mut count: usize) {
        if A::ONE_LEVEL {
            for i in deeper[..count].iter().map(|&i| usize::from(i)) {
                let bits = addrs[i].bits();
                let node = self.page(top(bits)).child(out[i]);
                out[i] = node.map_or(NONE, |node| node.run(byte(bits, ROOT)));
            }
            return;
        }
        let mut nodes = [None; BATCH];
        for i in deeper[..count].iter().map(|&i| usize::from(i)) {
            nodes[i] = self.page(top(addrs[i].bits())).child(out[i]);
        }
        while count > 0 {
            for i in deeper[..count].iter().map(|&i| usize::from(i)) {
                out[i] = nodes[i].map_or(out[i], |node| node.slot(addrs[i].bits()));
            }
            // Only now: a branch on a slot that is not there yet would hold up the others.
            let mut left = 0;
            for k in 0..count {
                let i = usize::from(deeper[k]);
                nodes[i] = nodes[i].and_then(|node| node.child(out[i]));
                deeper[left] = i as u8;
                left += usize::from(nodes[i].is_some());
            }
            count = left;
        }
    }

    #[inline]
    fn page(&self, top: usize) -> &Page {
        &self.directories[top / PAGE / FAN % FAN][top / PAGE % FAN]
    }

    #[inline]
    fn or_default(&self, value: u32) -> u32 {
        if value == NONE { self.default } else { value }
    }

    /// Bytes of the table, the pages and nodes that it shares with other snapshots included.
    pub fn memory(&self) -> usize {
        let mut seen = HashSet::new();
        let mut bytes = size_of::<Self>();
        for directory in &self.directories {
            if seen.insert(Arc::as_ptr(directory).cast::<()>()) {
                bytes += size_of::<Directory>();
            }
            for page in directory.iter() {
                if seen.insert(Arc::as_ptr(page).cast::<()>()) {
                    bytes += size_of::<Page>() + page.memory();
                }
            }
        }
        bytes
    }

    pub(super) fn set_default(&mut self, value: u32) {
        self.default = value;
    }

    /// Paints routes over what is there. None is the default route, and each comes before those
    /// within it.
    pub(super) fn paint(&mut self, routes: impl Iterator<Item = Route>) {
        let mut routes = routes.peekable();
        while let Some(&route) = routes.peek() {
            let top = top(route.bits);
            if route.len <= ROOT {
                self.fill(top, 1 << (ROOT - route.len), route.value);
                routes.next();
            } else {
                self.page_mut(top / PAGE).plant(top % PAGE, ROOT, &mut routes);
            }
        }
    }

    /// Paints `count` slots of the root: a part of a page, or whole pages, which become one.
    fn fill(&mut self, first: usize, count: usize, value: u32) {
        if count < PAGE {
            let start = first % PAGE;
            return self.page_mut(first / PAGE).fill(start..start + count, value);
        }
        let uniform = match value {
            NONE => self.empty.clone(),
            _ => Arc::new(Page::uniform(value)),
        };
        for page in first / PAGE..(first + count) / PAGE {
            *self.arc_mut(page) = uniform.clone();
        }
    }

    /// Gives the page of `route` back if nothing is left on it.
    pub(super) fn release(&mut self, route: &Route) {
        let top = top(route.bits);
        if self.page(top).is_uniform(NONE) {
            *self.arc_mut(top / PAGE) = self.empty.clone();
        }
    }

    fn page_mut(&mut self, page: usize) -> &mut Page {
        Arc::make_mut(self.arc_mut(page))
    }

    fn arc_mut(&mut self, page: usize) -> &mut Arc<Page> {
        &mut Arc::make_mut(&mut self.directories[page / FAN])[page % FAN]
    }
    /// Nodes that a lookup visits.
    #[cfg(test)]
    pub(super) fn nodes(&self, addr: A) -> usize {
        let bits = addr.bits();
        let page = self.page(top(bits));
        let first = page.child(page.slot(top(bits)));
        std::iter::successors(first, |node| node.child(node.slot(bits))).count()
    }

    /// Directories and pages that are not also `other`'s.
    #[cfg(test)]
    pub(super) fn unshared(&self, other: &Self) -> (usize, usize) {
        let directories = self.directories.iter().zip(&other.directories);
        let pages = directories.clone().flat_map(|(a, b)| a.iter().zip(b.iter()));
        (
            directories.filter(|(a, b)| !Arc::ptr_eq(a, b)).count(),
            pages.filter(|(a, b)| !Arc::ptr_eq(a, b)).count(),
        )
    }
}

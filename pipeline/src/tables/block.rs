//! The two shapes in which a piece of a prefix tree is kept, and how routes are painted into it.
//!
//! A [`Block`] is the plain shape: one slot for each value of a run of address bits. The pages of
//! the root are blocks, and below them a block is what a node is unpacked into to be changed. A
//! [`Node`] is the packed shape of a block of 256 slots, the one that is kept: equal neighbours
//! are one run, so a node with a single host route costs three words of slots and not 1 KiB. Where
//! the routes below a slot agree in further bytes, their node hangs at the slot directly and skips
//! these: the pods of one IPv6 /64 are one node below the root.
//!
//! Invariants:
//! * A slot with [`CHILD`] set names one child of its own block or node and no two slots name the
//!   same; any other slot is a value, [`NONE`] where no route covers it.
//! * Every child is named by a slot, and none is uniform: a uniform one is folded into the slot.
//! * A node skips what it can: none of 256 slots has one child and is otherwise uniform, unless
//!   that child skips bytes itself and maps what differs in them to something else.
//! * A `Node` never changes. What shares it with an older table may rely on that.

use std::iter::Peekable;
use std::ops::Range;
use std::sync::Arc;

/// No route covers the address.
pub const NONE: u32 = CHILD - 1;
/// Marks a slot whose lower bits are the index of a child.
pub(super) const CHILD: u32 = 1 << 31;
/// Address bits that a node decides.
const STRIDE: u8 = 8;
/// Slots of a node.
const WIDTH: usize = 1 << STRIDE;

/// A route in the form in which it is painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// The network, from the most significant bit on; no host bits.
    pub(super) bits: u128,
    /// Length of the prefix in bits.
    pub(super) len: u8,
    /// What the addresses in it map to.
    pub(super) value: u32,
}

impl Route {
    /// The slots it covers, or the slot it lies in, of a node `depth` bits deep.
    fn slots(&self, depth: u8) -> Range<usize> {
        let first = usize::from(byte(self.bits, depth));
        first..first + (1 << (depth + STRIDE).saturating_sub(self.len))
    }
}

/// The first `depth` bits, 1 to 127 of them; the others zero.
fn prefix(bits: u128, depth: u8) -> u128 {
    bits & !(u128::MAX >> depth)
}

/// The eight bits behind the first `depth`, at most 120.
#[inline]
pub(super) fn byte(bits: u128, depth: u8) -> u8 {
    (bits >> (128 - STRIDE - depth)) as u8
}

/// `N` slots, one for each value of some bits of the address, and the children they name.
#[derive(Clone)]
pub(super) struct Block<const N: usize> {
    slots: [u32; N],
    children: Vec<Node>,
}

impl<const N: usize> Block<N> {
    /// A block of one value.
    pub(super) fn uniform(value: u32) -> Self {
        Self { slots: [value; N], children: Vec::new() }
    }

    /// Whether all slots have this value.
    pub(super) fn is_uniform(&self, value: u32) -> bool {
        self.slots.iter().all(|&slot| slot == value)
    }

    /// The slot at `i`, which is taken modulo `N`.
    #[inline]
    pub(super) fn slot(&self, i: usize) -> u32 {
        self.slots[i % N]
    }

    /// The child that a slot names; `None` of a value.
    #[inline]
    pub(super) fn child(&self, slot: u32) -> Option<&Node> {
        self.children.get((slot ^ CHILD) as usize)
    }

    /// Paints one value over a range of slots and what is below them.
    pub(super) fn fill(&mut self, range: Range<usize>, value: u32) {
        let slots = &mut self.slots[range];
        let orphans = slots.iter().any(|slot| slot & CHILD != 0);
        slots.fill(value);
        if orphans {
            let mut old = std::mem::take(&mut self.children);
            for slot in self.slots.iter_mut().filter(|slot| **slot & CHILD != 0) {
                self.children.push(std::mem::take(&mut old[(*slot ^ CHILD) as usize]));
                *slot = CHILD | (self.children.len() - 1) as u32;
            }
        }
    }

    /// Paints below slot `i`, which is `depth` bits deep, those of the next routes that lie in it.
    /// There is at least one; all of them are longer than `depth`, and each comes before those
    /// within it.
    pub(super) fn plant(
        &mut self,
        i: usize,
        depth: u8,
        routes: &mut Peekable<impl Iterator<Item = Route>>,
    ) {
        let slot = self.slots[i];
        let mut below = match self.child(slot) {
            Some(node) => node.unpack(depth),
            None => Block::uniform(slot),
        };
        let home = routes.peek().map_or(0, |route| prefix(route.bits, depth));
        while let Some(&route) = routes.peek().filter(|route| prefix(route.bits, depth) == home) {
            if route.len <= depth + STRIDE {
                below.fill(route.slots(depth), route.value);
                routes.next();
            } else {
                below.plant(route.slots(depth).start, depth + STRIDE, routes);
            }
        }
        match below.pack(depth, home) {
            Packed::Value(value) => self.fill(i..i + 1, value),
            Packed::Node(node) if slot & CHILD != 0 => {
                self.children[(slot ^ CHILD) as usize] = node;
            }
            Packed::Node(node) => {
                self.slots[i] = CHILD | self.children.len() as u32;
                self.children.push(node);
            }
        }
    }

    /// Bytes on the heap below it.
    pub(super) fn memory(&self) -> usize {
        self.children.capacity() * size_of::<Node>()
            + self.children.iter().map(Node::memory).sum::<usize>()
    }
}

/// What a block packs into.
enum Packed {
    Value(u32),
    Node(Node),
}

impl Block<WIDTH> {
    /// Packs what lies `depth` bits deep, in the network `prefix`.
    fn pack(mut self, depth: u8, prefix: u128) -> Packed {
        if self.slots[0] & CHILD == 0 && self.is_uniform(self.slots[0]) {
            return Packed::Value(self.slots[0]);
        }
        if let Some(node) = self.lone_child(depth) {
            return Packed::Node(node);
        }
        let (mut starts, mut before) = ([0_u64; 4], [0_u8; 4]);
        let mut runs = Vec::with_capacity(WIDTH);
        let mut children = Vec::with_capacity(self.children.len());
        let mut last = None;
        for (i, &slot) in self.slots.iter().enumerate() {
            if i % 64 == 0 {
                before[i / 64] = runs.len() as u8; // at most 192
            }
            if last.replace(slot) == Some(slot) {
                continue;
            }
            starts[i / 64] |= 1 << (i % 64);
            if slot & CHILD == 0 {
                runs.push(slot);
            } else {
                runs.push(CHILD | children.len() as u32);
                children.push(std::mem::take(&mut self.children[(slot ^ CHILD) as usize]));
            }
        }
        Packed::Node(Node {
            starts,
            before,
            runs: runs.into(),
            children: children.into(),
            prefix,
            depth,
            otherwise: NONE,
        })
    }

    /// The only child of a block that is uniform otherwise, made to skip the byte that the block
    /// decides.
    fn lone_child(&self, depth: u8) -> Option<Node> {
        let [child] = &self.children[..] else { return None };
        let mut values = self.slots.iter().filter(|slot| **slot & CHILD == 0);
        let otherwise = *values.next()?;
        let fits = child.depth == depth + STRIDE || child.otherwise == otherwise;
        let fits = fits && values.all(|&value| value == otherwise);
        fits.then(|| Node { otherwise, ..child.clone() })
    }
}

/// Eight bits of the address: 256 slots as runs of equal ones.
#[derive(Clone, Default)]
pub(super) struct Node {
    /// Bit `i % 64` of word `i / 64` is set where slot `i` starts a run; that of slot 0 always is.
    starts: [u64; 4],
    /// The slot that each run repeats.
    runs: Arc<[u32]>,
    children: Arc<[Node]>,
    /// The first `depth` bits of the addresses that the slots are for.
    prefix: u128,
    /// What other addresses that come here map to: those that differ in what is skipped.
    otherwise: u32,
    /// Runs that start in the words before each.
    before: [u8; 4],
    /// Address bits before those that the slots are for.
    depth: u8,
}

impl Node {
    /// The slot of an address that comes here.
    #[inline]
    pub(super) fn slot(&self, bits: u128) -> u32 {
        // Both are looked at, so that the processor chooses and does not guess.
        let inside = self.run(byte(bits, self.depth));
        let differs = (bits ^ self.prefix) >> (128 - self.depth) != 0;
        if differs { self.otherwise } else { inside }
    }

    /// The slot at `i`.
    #[inline]
    pub(super) fn run(&self, i: u8) -> u32 {
        let word = usize::from(i / 64);
        let up_to_i = self.starts[word] & (u64::MAX >> (63 - i % 64));
        let run = usize::from(self.before[word]) + up_to_i.count_ones() as usize;
        self.runs[run - 1]
    }

    /// The child that a slot names; `None` of a value.
    #[inline]
    pub(super) fn child(&self, slot: u32) -> Option<&Node> {
        self.children.get((slot ^ CHILD) as usize)
    }

    /// What lies `depth` bits deep, where this node hangs.
    fn unpack(&self, depth: u8) -> Block<WIDTH> {
        if self.depth > depth {
            let mut block = Block::uniform(self.otherwise);
            block.slots[usize::from(byte(self.prefix, depth))] = CHILD;
            block.children.push(self.clone());
            return block;
        }
        let mut block = Block { slots: [NONE; WIDTH], children: self.children.to_vec() };
        for (i, slot) in (0..=u8::MAX).zip(&mut block.slots) {
            *slot = self.run(i);
        }
        block
    }

    fn memory(&self) -> usize {
        size_of_val(&*self.runs)
            + size_of_val(&*self.children)
            + self.children.iter().map(Node::memory).sum::<usize>()
    }
}

//! The table against a list of routes that is searched from one end to the other.
#![allow(clippy::unwrap_used)]

use super::*;
use prefix_trie::Prefix;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What the tests do to both families alike. `bits` are left-aligned.
trait Family: Key + Debug {
    const BITS: u8;
    fn addr(bits: u128) -> Self;
    fn net(bits: u128, len: u8) -> Self::Net;
}

impl Family for Ipv4Addr {
    const BITS: u8 = 32;
    fn addr(bits: u128) -> Self {
        Self::from_bits((bits >> 96) as u32)
    }
    fn net(bits: u128, len: u8) -> Self::Net {
        ipnet::Ipv4Net::new(Self::addr(bits), len).unwrap()
    }
}

impl Family for Ipv6Addr {
    const BITS: u8 = 128;
    fn addr(bits: u128) -> Self {
        Self::from_bits(bits)
    }
    fn net(bits: u128, len: u8) -> Self::Net {
        ipnet::Ipv6Net::new(Self::addr(bits), len).unwrap()
    }
}

/// `(network, length) -> value`.
type Naive = BTreeMap<(u128, u8), u32>;

fn mask(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

fn naive_lookup(routes: &Naive, bits: u128) -> u32 {
    let covering = routes.iter().filter(|((net, len), _)| bits & mask(*len) == *net);
    covering.max_by_key(|((_, len), _)| *len).map_or(NONE, |(_, &value)| value)
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u128, u8, u32),
    /// The route at this index, modulo their number.
    Remove(usize),
    /// A prefix that may not be there.
    RemoveAny(u128, u8),
    Extend(Vec<(u128, u8, u32)>),
    Snapshot,
}

/// Prefixes that crowd around each other and around the borders of slots, pages and nodes.
fn net(width: u8) -> impl Strategy<Value = (u128, u8)> {
    let start = prop_oneof![
        Just(0_u128),
        Just(u128::MAX),
        Just(0x0a00_0000 << 96),
        Just(0x0a00_0100 << 96),
        Just(0x0aff_ff00 << 96),
        Just(0x2001_0db8_0000_0000 << 64),
        Just(0x2001_0db8_00ff_ffff << 64),
        any::<u128>(),
    ];
    let near = prop_oneof![
        Just(0),
        (0..128_u32).prop_map(|bit| 1 << bit),
        any::<u8>().prop_map(u128::from)
    ];
    let borders = [0, 1, 5, 6, 7, 8, 11, 12, 13, 16, 22, 23, 24, 25, 26, 30, 31, 32]
        .into_iter()
        .chain([33, 39, 40, 41, 47, 48, 49, 63, 64, 65, 96, 120, 121, 126, 127, 128])
        .filter(move |&len| len <= width)
        .collect::<Vec<u8>>();
    let len = prop_oneof![3 => proptest::sample::select(borders), 1 => 0..=width];
    (start, near, 0..=128_u32, len).prop_map(|(start, near, shift, len)| {
        ((start ^ near.checked_shl(shift).unwrap_or(0)) & mask(len), len)
    })
}

fn op(width: u8) -> impl Strategy<Value = Op> {
    let value = || 0..20_u32;
    prop_oneof![
        6 => (net(width), value()).prop_map(|((bits, len), value)| Op::Insert(bits, len, value)),
        3 => any::<usize>().prop_map(Op::Remove),
        1 => net(width).prop_map(|(bits, len)| Op::RemoveAny(bits, len)),
        1 => prop::collection::vec((net(width), value()), 0..20).prop_map(|routes| {
            Op::Extend(routes.into_iter().map(|((bits, len), value)| (bits, len, value)).collect())
        }),
        1 => Just(Op::Snapshot),
    ]
}

/// The first and the last address of a prefix, and their neighbours.
fn edges(&(bits, len): &(u128, u8)) -> [u128; 4] {
    let unit = 1 << 96; // the last bit of an IPv4 address; any bit will do for IPv6
    let last = bits | !mask(len);
    [bits, last, bits.wrapping_sub(unit), last.wrapping_add(unit)]
}

fn agree<A: Family>(table: &Lpm<A>, routes: &Naive, probes: &[u128]) {
    let addrs: Vec<A> = probes.iter().map(|&bits| A::addr(bits)).collect();
    let mut batch = vec![0; addrs.len()];
    table.lookup_batch(&addrs, &mut batch);
    for ((&addr, &bits), &found) in addrs.iter().zip(probes).zip(&batch) {
        let bits = bits & mask(A::BITS);
        assert_eq!(found, naive_lookup(routes, bits), "{addr:?} in a batch, of {routes:x?}");
        assert_eq!(table.lookup(addr).unwrap_or(NONE), found, "{addr:?} alone and in a batch");
    }
}

fn run<A: Family>(ops: &[Op], noise: &[u128]) {
    let mut rib = Rib::<A>::new();
    let mut naive = Naive::new();
    let mut snapshots = Vec::new();
    let mut probes = noise.to_vec();
    let empty = rib.snapshot().memory();
    for op in ops {
        match op {
            &Op::Insert(bits, len, value) => {
                probes.extend(edges(&(bits, len)));
                let old = naive.insert((bits, len), value);
                assert_eq!(rib.insert(A::net(bits, len), value), old);
            }
            Op::Remove(_) if naive.is_empty() => {}
            &Op::Remove(n) => {
                let (&(bits, len), _) = naive.iter().nth(n % naive.len()).unwrap();
                assert_eq!(rib.remove(&A::net(bits, len)), naive.remove(&(bits, len)));
            }
            &Op::RemoveAny(bits, len) => {
                assert_eq!(rib.remove(&A::net(bits, len)), naive.remove(&(bits, len)));
            }
            Op::Extend(routes) => {
                rib.extend(routes.iter().map(|&(bits, len, value)| (A::net(bits, len), value)));
                for &(bits, len, value) in routes {
                    probes.extend(edges(&(bits, len)));
                    naive.insert((bits, len), value);
                }
            }
            Op::Snapshot => snapshots.push((rib.snapshot(), naive.clone())),
        }
        assert_eq!(rib.len(), naive.len());
        agree(&rib.snapshot(), &naive, &probes);
    }
    for (table, routes) in &snapshots {
        agree(table, routes, &probes);
    }
    for (net, value) in rib.clone().iter() {
        assert_eq!(rib.remove(&net), Some(value), "{net:?} of length {}", net.prefix_len());
    }
    agree(&rib.snapshot(), &Naive::new(), &probes);
    let directories = 64 * 64 * size_of::<usize>();
    assert!(rib.snapshot().memory() <= empty + directories, "pages are left without a route");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn ipv4_agrees_with_the_naive_table(
        ops in prop::collection::vec(op(32), 1..40),
        noise in prop::collection::vec(any::<u128>(), 1..16),
    ) {
        run::<Ipv4Addr>(&ops, &noise);
    }

    #[test]
    fn ipv6_agrees_with_the_naive_table(
        ops in prop::collection::vec(op(128), 1..40),
        noise in prop::collection::vec(any::<u128>(), 1..16),
    ) {
        run::<Ipv6Addr>(&ops, &noise);
    }
}

#[test]
fn host_bits_are_ignored() {
    let mut rib = Rib::new();
    rib.insert("10.1.2.3/8".parse().unwrap(), 7);
    rib.insert("10.1.2.3/30".parse().unwrap(), 8);
    let table = rib.snapshot();
    assert_eq!(table.lookup(Ipv4Addr::new(10, 0, 0, 0)), Some(7));
    assert_eq!(table.lookup(Ipv4Addr::new(10, 1, 2, 0)), Some(8));
    assert_eq!(rib.get(&"10.0.0.0/8".parse().unwrap()), Some(7));
}

#[test]
fn slices_of_different_lengths_are_answered_as_far_as_both_go() {
    let mut rib = Rib::new();
    rib.insert("::/0".parse().unwrap(), 3);
    let mut out = [9; 3];
    rib.snapshot().lookup_batch(&[Ipv6Addr::LOCALHOST; 2], &mut out);
    assert_eq!(out, [3, 3, 9]);
    rib.snapshot().lookup_batch(&[Ipv6Addr::LOCALHOST; 2], &mut out[..1]);
    assert_eq!(out, [3, 3, 9]);
}

#[test]
fn a_change_copies_one_page_and_one_directory() {
    let mut rib = Rib::<Ipv4Addr>::new();
    rib.extend((0..=255).map(|i| (Ipv4Addr::net(i << 120, 24), 1)));
    let before = rib.snapshot();
    rib.insert("77.0.1.0/24".parse().unwrap(), 2);
    assert_eq!(rib.snapshot().unshared(&before), (1, 1));
}

#[test]
fn bits_that_routes_agree_in_are_skipped() {
    let pod = |i: u128| Ipv6Addr::from_bits((0xfd00_0010_0244_0001 << 64) | i);
    let mut rib = Rib::<Ipv6Addr>::new();
    for i in 1..=200 {
        rib.insert(pod(i).into(), i as u32);
    }
    let table = rib.snapshot();
    assert_eq!((table.nodes(pod(1)), table.lookup(pod(1))), (1, Some(1)));
    assert_eq!((table.nodes(pod(0x1_0001)), table.lookup(pod(0x1_0001))), (1, None));
    // The subnet's own route is told apart eight bytes earlier, and what is skipped stays so.
    rib.insert("fd00:10:244:1::/64".parse().unwrap(), 0);
    let table = rib.snapshot();
    assert_eq!((table.nodes(pod(1)), table.lookup(pod(1))), (2, Some(1)));
    assert_eq!((table.nodes(pod(0x1_0001)), table.lookup(pod(0x1_0001))), (2, Some(0)));
}

#[test]
#[should_panic(expected = "must be below")]
fn a_value_that_is_no_handle_is_refused() {
    Rib::<Ipv6Addr>::new().insert("::/0".parse().unwrap(), NONE);
}

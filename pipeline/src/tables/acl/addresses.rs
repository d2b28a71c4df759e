//! Sets of addresses, as rules put them together: prefixes, without some, in one set and in
//! another.
//!
//! A set is kept as ranges, sorted, of which no two touch: so equal sets are equal values.

use super::program::key;
use ipnet::IpNet;
use std::net::IpAddr;

/// Addresses of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Addresses {
    pub(super) v4: Ranges,
    pub(super) v6: Ranges,
}

/// Numbers, such as addresses of one family: first and last of each range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Ranges(Vec<(u128, u128)>);

/// An address as a number.
#[derive(Clone, Copy)]
pub(super) enum Bits {
    V4(u32),
    V6(u128),
}

impl From<IpAddr> for Bits {
    #[inline]
    fn from(address: IpAddr) -> Bits {
        match address {
            IpAddr::V4(address) => Bits::V4(address.to_bits()),
            IpAddr::V6(address) => Bits::V6(address.to_bits()),
        }
    }
}

impl Addresses {
    /// All there are.
    pub(super) fn all() -> Addresses {
        let up_to = |last: u128| Ranges(vec![(0, last)]);
        Addresses { v4: up_to(u32::MAX.into()), v6: up_to(u128::MAX) }
    }

    pub(super) fn of<'a>(nets: impl IntoIterator<Item = &'a IpNet>) -> Addresses {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match (net.network(), net.broadcast()) {
                (IpAddr::V4(first), IpAddr::V4(last)) => {
                    v4.push((first.to_bits().into(), last.to_bits().into()));
                }
                (IpAddr::V6(first), IpAddr::V6(last)) => v6.push((first.to_bits(), last.to_bits())),
                _ => unreachable!("a prefix is of one family"),
            }
        }
        Addresses { v4: Ranges::new(v4), v6: Ranges::new(v6) }
    }

    /// Those that are in any of them.
    pub(super) fn union(sets: impl IntoIterator<Item = Addresses>) -> Addresses {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for set in sets {
            v4.extend(set.v4.0);
            v6.extend(set.v6.0);
        }
        Addresses { v4: Ranges::new(v4), v6: Ranges::new(v6) }
    }

    /// Those that are in both.
    pub(super) fn and(&self, other: &Addresses) -> Addresses {
        Addresses { v4: self.v4.and(&other.v4), v6: self.v6.and(&other.v6) }
    }

    /// Those that are not in `other`.
    pub(super) fn without(&self, other: &Addresses) -> Addresses {
        Addresses { v4: self.v4.without(&other.v4), v6: self.v6.without(&other.v6) }
    }

    pub(super) fn contains(&self, address: Bits) -> bool {
        match address {
            Bits::V4(bits) => self.v4.contains(bits.into()),
            Bits::V6(bits) => self.v6.contains(bits),
        }
    }

    pub(super) fn memory(&self) -> usize {
        size_of_val(self.v4.ranges()) + size_of_val(self.v6.ranges())
    }
}

impl Ranges {
    /// All [keys](super::program::key) of services.
    pub(super) fn services() -> Ranges {
        Ranges(vec![(0, key(u8::MAX, u16::MAX).into())])
    }

    /// From ranges in any order, of which some may be empty.
    pub(super) fn new(mut ranges: Vec<(u128, u128)>) -> Ranges {
        ranges.retain(|(first, last)| first <= last);
        ranges.sort_unstable();
        ranges.dedup_by(|next, (_, last)| {
            let touches = next.0 <= last.saturating_add(1);
            if touches {
                *last = next.1.max(*last);
            }
            touches
        });
        Ranges(ranges)
    }

    pub(super) fn ranges(&self) -> &[(u128, u128)] {
        &self.0
    }

    fn and(&self, other: &Ranges) -> Ranges {
        let (mut ours, mut theirs) = (self.0.as_slice(), other.0.as_slice());
        let mut both = Vec::new();
        while let ([a, later_ours @ ..], [b, later_theirs @ ..]) = (ours, theirs) {
            let (first, last) = (a.0.max(b.0), a.1.min(b.1));
            if first <= last {
                both.push((first, last));
            }
            if a.1 < b.1 {
                ours = later_ours;
            } else {
                theirs = later_theirs;
            }
        }
        Ranges(both)
    }

    fn without(&self, other: &Ranges) -> Ranges {
        let mut gaps = Vec::with_capacity(other.0.len() + 1);
        let mut first = Some(0);
        for &(start, last) in &other.0 {
            if let Some(before) = start.checked_sub(1) {
                gaps.extend(first.map(|first| (first, before)));
            }
            first = last.checked_add(1);
        }
        gaps.extend(first.map(|first| (first, u128::MAX)));
        self.and(&Ranges(gaps))
    }

    pub(super) fn contains(&self, bits: u128) -> bool {
        let next = self.0.partition_point(|&(first, _)| first <= bits);
        next > 0 && bits <= self.0[next - 1].1
    }

    /// The fewest prefixes that make up the same set, as first and last address.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = (u128, u128)> {
        self.0.iter().flat_map(|&(first, last)| {
            let mut rest = Some(first);
            std::iter::from_fn(move || {
                let first = rest?;
                // As many host bits as are zero in the first address and do not lead beyond the
                // last.
                let room = (last - first).checked_add(1).map_or(128, u128::ilog2);
                let bits = first.trailing_zeros().min(room);
                let end = first | 1_u128.checked_shl(bits).unwrap_or(0).wrapping_sub(1);
                rest = (end < last).then(|| end + 1);
                Some((first, end))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A set within eight numbers at either end of the line, as what it has of them.
    fn ranges() -> impl Strategy<Value = Ranges> {
        let range = (0..16_u8, 0..16_u8).prop_map(|(a, b)| (number(a.min(b)), number(a.max(b))));
        prop::collection::vec(range, 0..5).prop_map(Ranges::new)
    }

    fn number(i: u8) -> u128 {
        if i < 8 { i.into() } else { u128::MAX - u128::from(15 - i) }
    }

    fn has(set: &Ranges) -> Vec<bool> {
        (0..16).map(|i| set.contains(number(i))).collect()
    }

    proptest! {
        #[test]
        fn operations_are_those_of_sets(a in ranges(), b in ranges()) {
            let zip = |f: fn(bool, bool) -> bool| -> Vec<bool> {
                has(&a).into_iter().zip(has(&b)).map(|(a, b)| f(a, b)).collect()
            };
            prop_assert_eq!(has(&a.and(&b)), zip(|a, b| a && b));
            prop_assert_eq!(has(&a.without(&b)), zip(|a, b| a && !b));
            prop_assert_eq!(a.without(&b).without(&a), Ranges::default());
            let union = Ranges::new([a.0.clone(), b.0.clone()].concat());
            prop_assert_eq!(has(&union), zip(|a, b| a || b));
        }

        #[test]
        fn prefixes_make_up_the_set(set in ranges()) {
            let prefixes: Vec<_> = set.prefixes().collect();
            for &(first, last) in &prefixes {
                let host = first ^ last;
                prop_assert!(host & host.wrapping_add(1) == 0 && first & host == 0);
            }
            prop_assert_eq!(Ranges::new(prefixes), set);
        }
    }

    #[test]
    fn a_range_has_few_prefixes() {
        assert_eq!(Ranges(vec![(0, u128::MAX)]).prefixes().collect::<Vec<_>>(), [(0, u128::MAX)]);
        assert_eq!(Ranges(vec![(1, u128::MAX)]).prefixes().count(), 128);
        let six = Ranges(vec![(1, 8)]);
        assert_eq!(six.prefixes().collect::<Vec<_>>(), [(1, 1), (2, 3), (4, 7), (8, 8)]);
    }
}

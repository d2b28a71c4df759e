//! Routes as an Internet routing table has them, and destinations within them.

use ipnet::{Ipv4Net, Ipv6Net};
use pipeline::tables::Key;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::HashSet;
use std::hash::Hash;
use std::net::{Ipv4Addr, Ipv6Addr};

/// How many of a thousand prefixes have which length: IPv4, rounded from what is announced.
const SHARES_V4: [(u8, u16); 16] = [
    (24, 600),
    (22, 115),
    (23, 105),
    (21, 50),
    (20, 45),
    (19, 27),
    (18, 15),
    (16, 14),
    (17, 9),
    (32, 6),
    (25, 4),
    (15, 3),
    (28, 3),
    (14, 2),
    (13, 1),
    (12, 1),
];

/// The same of IPv6.
const SHARES_V6: [(u8, u16); 13] = [
    (48, 457),
    (32, 129),
    (44, 90),
    (40, 79),
    (36, 50),
    (47, 30),
    (46, 30),
    (29, 30),
    (33, 30),
    (42, 20),
    (64, 20),
    (128, 10),
    (34, 25),
];

/// Addresses whose routes can be drawn.
pub trait Family: Key<Net: Copy + Eq + Hash> {
    /// `v4` or `v6`.
    const NAME: &str;

    /// A prefix, with lengths distributed as in an Internet routing table.
    fn draw(random: &mut SmallRng) -> Self::Net;

    /// An address in `net`.
    fn within(net: &Self::Net, random: &mut SmallRng) -> Self;
}

impl Family for Ipv4Addr {
    const NAME: &str = "v4";

    /// From 11.0.0.0 to 122.255.255.255: clear of the overlay's own network and of loopback.
    fn draw(random: &mut SmallRng) -> Ipv4Net {
        let address = 0x0b00_0000 + random.random_range(0..0x7000_0000);
        let length = length(&SHARES_V4, random);
        Ipv4Net::new(Ipv4Addr::from_bits(address), length).expect("at most 32").trunc()
    }

    fn within(net: &Ipv4Net, random: &mut SmallRng) -> Ipv4Addr {
        let host = random.random::<u32>() & net.hostmask().to_bits();
        Ipv4Addr::from_bits(net.network().to_bits() | host)
    }
}

impl Family for Ipv6Addr {
    const NAME: &str = "v6";

    /// Within allocations of /32 in a few blocks, as the registries give them out.
    fn draw(random: &mut SmallRng) -> Ipv6Net {
        let blocks = [0x2001, 0x2400, 0x2600, 0x2800, 0x2a00, 0x2a02, 0x2c0f];
        let block: u128 = blocks[random.random_range(0..blocks.len())];
        let allocation = random.random_range(0..1u128 << 13) << 3;
        let rest = random.random::<u128>() >> 32;
        let address = Ipv6Addr::from_bits(block << 112 | allocation << 96 | rest);
        let length = length(&SHARES_V6, random);
        Ipv6Net::new(address, length).expect("at most 128").trunc()
    }

    fn within(net: &Ipv6Net, random: &mut SmallRng) -> Ipv6Addr {
        let host = random.random::<u128>() & net.hostmask().to_bits();
        Ipv6Addr::from_bits(net.network().to_bits() | host)
    }
}

/// So many prefixes, all different, and the same ones each time.
pub fn prefixes<A: Family>(count: usize) -> Vec<A::Net> {
    let mut random = SmallRng::seed_from_u64(1);
    let (mut seen, mut all) = (HashSet::with_capacity(count), Vec::with_capacity(count));
    while all.len() < count {
        let net = A::draw(&mut random);
        if seen.insert(net) {
            all.push(net);
        }
    }
    all
}

/// So many addresses, each in one of the prefixes, any of which is as likely.
pub fn destinations<A: Family>(prefixes: &[A::Net], count: usize) -> Vec<A> {
    let mut random = SmallRng::seed_from_u64(2);
    let mut any = || prefixes[random.random_range(0..prefixes.len())];
    let nets: Vec<_> = (0..count).map(|_| any()).collect();
    nets.iter().map(|net| A::within(net, &mut random)).collect()
}

/// A length, as often as its share says.
fn length(shares: &[(u8, u16)], random: &mut SmallRng) -> u8 {
    let mut left = random.random_range(0..shares.iter().map(|(_, share)| share).sum());
    for &(length, share) in shares {
        match left.checked_sub(share) {
            Some(rest) => left = rest,
            None => return length,
        }
    }
    unreachable!("`left` is below the sum of all shares")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of prefixes that are drawn, as many have each length as its share says, give or take what
    /// chance does with so many, and what is lost of short ones that are drawn twice.
    fn check<A: Family>(shares: &[(u8, u16)], length: impl Fn(&A::Net) -> u8) {
        const COUNT: usize = 20_000;
        let all = prefixes::<A>(COUNT);
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), COUNT, "all are different");
        assert_eq!(shares.iter().map(|(_, share)| share).sum::<u16>(), 1_000);
        for &(expected, share) in shares {
            let share = f64::from(share) / 1_000.0;
            let found = all.iter().filter(|net| length(net) == expected).count() as f64;
            let deviation = (COUNT as f64 * share * (1.0 - share)).sqrt();
            let off = (found - COUNT as f64 * share).abs();
            assert!(off < 5.0 * deviation, "/{expected}: {found} of {COUNT}, share {share}");
        }
    }

    #[test]
    fn lengths_are_those_of_the_internet() {
        check::<Ipv4Addr>(&SHARES_V4, Ipv4Net::prefix_len);
        check::<Ipv6Addr>(&SHARES_V6, Ipv6Net::prefix_len);
    }

    #[test]
    fn destinations_are_routed() {
        let prefixes = prefixes::<Ipv4Addr>(100);
        for address in destinations::<Ipv4Addr>(&prefixes, 1_000) {
            assert!(prefixes.iter().any(|net| net.contains(&address)), "{address}");
            assert!((11..123).contains(&address.octets()[0]), "{address}");
        }
    }
}

//! Several next hops for one prefix (ECMP): which of them a flow takes.
//!
//! A group has buckets, and a flow's hash is one of them. A bucket is the member's that scores highest for it
//! (highest random weight, RFC 2991 §3): so a member that goes takes no flow of another one's along, one that
//! comes back gets the very flows that it had, and nodes that know the same members choose alike.

use crate::flow::mix;
use crate::snapshot::NextHop;

/// Shares of members differ by some hundredths with as many.
const BUCKETS: usize = 1024;

/// Has all bits well mixed (the fractional part of the golden ratio).
const SCRAMBLE: u64 = 0x9e37_79b9_7f4a_7c15;

/// One of a group's next hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Tells it from other members, on any node and in any life.
    pub id: u64,
    /// Where it is.
    pub next_hop: NextHop,
    /// Whether it takes packets now.
    pub is_up: bool,
}

/// Next hops that share the flows to a prefix.
#[derive(Clone, Debug)]
pub struct Group {
    id: u64,
    members: Vec<Member>,
    buckets: Box<[NextHop; BUCKETS]>,
}

impl Group {
    /// The group of these members that is known by this number. Where none is up all get their shares, so that what then is dropped is dropped for the
    /// reason that it has there.
    pub fn new(id: u64, members: Vec<Member>) -> Group {
        let is_any_up = members.iter().any(|member| member.is_up);
        let up = || members.iter().filter(|member| member.is_up || !is_any_up);
        let owner = |bucket: usize| up().max_by_key(|member| score(bucket, member.id));
        let mut buckets = Box::new([NextHop::NONE; BUCKETS]);
        for (bucket, next_hop) in buckets.iter_mut().enumerate() {
            *next_hop = owner(bucket).map_or(NextHop::NONE, |member| member.next_hop);
        }
        Group { id, members, buckets }
    }

    /// What it is known by.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// All members, those that are not up included.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Where the flow of this hash goes.
    #[inline]
    pub fn pick(&self, hash: u32) -> NextHop {
        self.buckets[hash as usize % BUCKETS]
    }
}

fn score(bucket: usize, id: u64) -> u64 {
    mix(mix(id ^ SCRAMBLE, bucket as u64 ^ SCRAMBLE.rotate_left(21)), SCRAMBLE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Hop;

    /// Members whose ids and peers are `0..n`, of which some are not up.
    fn group(n: u64, down: &[u64]) -> Group {
        let member = |id: u64| Member {
            id,
            next_hop: NextHop::new(Hop::Peer(id as usize)),
            is_up: !down.contains(&id),
        };
        Group::new(0, (0..n).map(member).collect())
    }

    fn shares(group: &Group, n: usize) -> Vec<usize> {
        let mut shares = vec![0; n];
        for hash in 0..BUCKETS as u32 {
            match group.pick(hash).hop() {
                Hop::Peer(peer) => shares[peer] += 1,
                other => panic!("{other:?}"),
            }
        }
        shares
    }

    #[test]
    fn all_members_have_about_the_same_share() {
        for n in [1, 2, 3, 5, 16] {
            let (shares, fair) = (shares(&group(n, &[]), n as usize), BUCKETS / n as usize);
            assert!(shares.iter().all(|s| (fair * 2 / 3..=fair * 4 / 3).contains(s)), "{shares:?}");
        }
    }

    #[test]
    fn only_the_flows_of_a_member_that_went_move_and_they_come_back() {
        let (all, without) = (group(5, &[]), group(5, &[3]));
        for hash in (0..u32::MAX).step_by(1 << 20).map(|hash| hash ^ hash >> 20) {
            let (before, after) = (all.pick(hash), without.pick(hash));
            if before == NextHop::new(Hop::Peer(3)) {
                assert_ne!(after, before);
            } else {
                assert_eq!(after, before);
            }
        }
        // The order in which they are named does not matter.
        let mut members = all.members().to_vec();
        members.reverse();
        let reversed = Group::new(0, members);
        assert!((0..2048).all(|hash| reversed.pick(hash) == all.pick(hash)));
    }

    #[test]
    fn of_none_that_is_up_all_are_asked() {
        let (all, none) = (group(3, &[]), group(3, &[0, 1, 2]));
        assert!((0..2048).all(|hash| none.pick(hash) == all.pick(hash)));
        assert_eq!(Group::new(0, Vec::new()).pick(7), NextHop::NONE);
    }
}

//! What is known of a flow's course, and how long it may be silent.

use super::key::{Key, Kind};
use super::tcp::{self, Flags};
use encap::wire::protocol;

/// Who sends, seen from the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The end whose packet was the first, and was judged.
    Initiator,
    /// The other end.
    Responder,
}

/// How far a flow has come. The numbers are what a slot keeps, where 0 is no flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// One end has spoken. Of a TCP connection it was not the beginning that was seen.
    Unreplied = 1,
    /// Both ends have spoken.
    Replied = 2,
    /// TCP: the initiator called.
    SynSent = 3,
    /// TCP: the responder answered.
    SynReceived = 4,
    /// TCP: the initiator confirmed that.
    Established = 5,
    /// TCP: the initiator has sent all that it had.
    FinWait = 6,
    /// TCP: the responder has.
    CloseWait = 7,
    /// TCP: both have.
    TimeWait = 8,
    /// TCP: the initiator reset the connection.
    Aborted = 9,
    /// TCP: the responder did.
    Refused = 10,
}

/// After how many seconds of silence a flow is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP before the connection stands, or seen from one end only. More than the longest pause
    /// between two SYNs of Linux' (32 s); Linux itself has 120 and 60.
    pub tcp_opening: u32,
    /// A TCP connection. A day: enough for all that send anything at all, keepalives come every two
    /// hours (RFC 9293 §3.8.4); Linux has five days.
    pub tcp_established: u32,
    /// TCP after one end's FIN.
    pub tcp_fin_wait: u32,
    /// TCP after both ends' FIN: as long as an end itself is in TIME-WAIT with Linux.
    pub tcp_time_wait: u32,
    /// TCP after a reset.
    pub tcp_reset: u32,
    /// UDP from one end only.
    pub udp: u32,
    /// UDP from both ends.
    pub udp_replied: u32,
    /// ICMP queries.
    pub icmp: u32,
    /// All other protocols.
    pub other: u32,
    /// A datagram's fragments: as long as an end waits for the rest of them.
    pub fragments: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            tcp_opening: 60,
            tcp_established: 86_400,
            tcp_fin_wait: 120,
            tcp_time_wait: 60,
            tcp_reset: 10,
            udp: 30,
            udp_replied: 120,
            icmp: 30,
            other: 600,
            fragments: 30,
        }
    }
}

impl Timeouts {
    /// Seconds that a flow with this key may be silent in `state`.
    #[inline]
    pub fn of(&self, key: &Key, state: State) -> u32 {
        match (key.kind(), key.protocol()) {
            (Kind::Datagram(_), _) => self.fragments,
            (Kind::Query(_), _) => self.icmp,
            (Kind::Ports, protocol::TCP) => self.of_tcp(state),
            (Kind::Ports, protocol::UDP) if state == State::Replied => self.udp_replied,
            (Kind::Ports, protocol::UDP) => self.udp,
            (Kind::Ports, protocol::ICMPV4 | protocol::ICMPV6) => self.icmp,
            _ => self.other,
        }
    }

    #[inline]
    fn of_tcp(&self, state: State) -> u32 {
        match state {
            State::SynSent | State::SynReceived | State::Unreplied => self.tcp_opening,
            State::Established | State::Replied => self.tcp_established,
            State::FinWait | State::CloseWait => self.tcp_fin_wait,
            State::TimeWait => self.tcp_time_wait,
            State::Aborted | State::Refused => self.tcp_reset,
        }
    }
}

/// What a flow is worth when there is no room, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Worth {
    /// Silent for too long.
    Over,
    /// Only one end has spoken, or the connection does not stand yet: anybody can make these.
    HalfOpen,
    /// A connection that was ended.
    Closing,
    /// Everything else.
    Live,
}

impl State {
    /// The state of a flow whose first packet this is; `None` when no flow begins with it.
    #[inline]
    pub(super) fn first(key: &Key, by: super::Side, flags: Flags) -> Option<State> {
        match (key.kind(), key.protocol()) {
            (Kind::Ports, protocol::TCP) => tcp::first(flags),
            // A reply that nobody asked for.
            (Kind::Query(asks), _) if asks != by => None,
            _ => Some(State::Unreplied),
        }
    }

    /// Whether nothing follows from another packet, as of by far the most: then [`next`](Self::next) is this state.
    #[inline]
    pub(super) fn stays(self, by: Party, flags: Flags) -> bool {
        match self {
            State::Replied => true,
            State::Established => flags.is_plain(),
            State::Unreplied => by == Party::Initiator && flags.is_plain(),
            _ => false,
        }
    }

    /// The state after another packet; `None` when that is the first one of another flow.
    #[inline]
    pub(super) fn next(self, key: &Key, by: Party, flags: Flags) -> Option<State> {
        match (key.protocol(), key.kind()) {
            (protocol::TCP, Kind::Ports) => tcp::next(self, by, flags),
            _ if by == Party::Responder => Some(State::Replied),
            _ => Some(self),
        }
    }

    pub(super) fn worth(self) -> Worth {
        match self {
            State::Unreplied | State::SynSent | State::SynReceived => Worth::HalfOpen,
            State::TimeWait | State::Aborted | State::Refused => Worth::Closing,
            State::Replied | State::Established | State::FinWait | State::CloseWait => Worth::Live,
        }
    }

    /// The state of four bits; `None` for zero, and for what is none.
    #[inline]
    pub(super) fn of_bits(bits: u64) -> Option<State> {
        STATES.get((bits as usize & 15).wrapping_sub(1)).copied()
    }
}

/// From number 1 on.
const STATES: [State; 10] = [
    State::Unreplied,
    State::Replied,
    State::SynSent,
    State::SynReceived,
    State::Established,
    State::FinWait,
    State::CloseWait,
    State::TimeWait,
    State::Aborted,
    State::Refused,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_come_back_from_their_bits() {
        let states = (0..16).filter_map(State::of_bits).map(|state| state as u64);
        assert!(states.eq(1..=10));
    }

    #[test]
    fn who_stays_has_no_other_next() {
        let ends = [std::net::Ipv4Addr::LOCALHOST.into(); 2];
        let mut staying = 0;
        for protocol in [protocol::TCP, protocol::UDP] {
            let (key, _) = Key::new(ends[0], ends[1], protocol, 1, 2);
            // No other protocol has flags, and only TCP's connections stand.
            let (flags, states) = match protocol {
                protocol::TCP => (0..=255, [State::Unreplied, State::SynSent, State::Established]),
                _ => (0..=0, [State::Unreplied, State::Replied, State::Replied]),
            };
            for flags in flags.map(Flags) {
                for (state, by) in states
                    .iter()
                    .flat_map(|&state| [Party::Initiator, Party::Responder].map(|by| (state, by)))
                {
                    if state.stays(by, flags) {
                        staying += 1;
                        assert_eq!(state.next(&key, by, flags), Some(state), "{by:?} {flags:?}");
                    }
                }
            }
        }
        // A connection's 32 sets of flags by either end, one that was seen in its midst by its first; UDP.
        assert_eq!(staying, 32 * 3 + 1 + 2 * 2);
    }
}

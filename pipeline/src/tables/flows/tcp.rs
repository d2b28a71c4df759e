//! What TCP's flags say of a connection: RFC 9293 §3.3.2, seen from between the two ends.
//!
//! Sequence numbers are not looked at, so anybody who knows a connection's ports can forge a segment of
//! it. What such a segment could end, it only makes end sooner:
//!
//! * After a reset a connection is forgotten when both ends are silent for a few seconds; until then its
//!   segments pass. Who really reset it sends nothing more but resets, so another segment
//!   from there shows that the reset was not his, or was refused by the other end (RFC 5961 §3.2), and
//!   the connection is established again. Linux, which does look at sequence numbers, waits as long after
//!   a reset that fits; Calico's BPF programs wait for silence as we do, but never forgive.
//! * After a FIN the silence that ends it is that of a half-closed connection, as in Linux.
//!
//! A segment with SYN alone opens a connection. Where one is over it opens the next, and from the
//! end that was called it is a call of its own: both must be judged anew. RFC 9293 §3.5 lets both ends
//! call at the same time; then the second call is the answer to the first.

use super::state::{Party, State};
use encap::wire::tcp::flag::{ACK, FIN, RST, SYN, URG};

/// The flags of a segment, as they stand in byte 13 of the header; zero for other protocols.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// Whether a TCP sends such a segment: one of SYN, RST and FIN at most, each in the company that it
    /// may have, and otherwise ACK. What stands for congestion (ECE, CWR) and PSH goes with all.
    #[inline]
    pub fn valid(self) -> bool {
        matches!(
            self.0 & (FIN | SYN | RST | ACK | URG),
            SYN | SYN_ACK | SYN_URG | RST | RST_ACK | FIN_ACK | FIN_ACK_URG | ACK | ACK_URG
        )
    }

    #[inline]
    fn has(self, bits: u8) -> bool {
        self.0 & bits != 0
    }

    /// Whether it opens a connection.
    #[inline]
    pub fn is_call(self) -> bool {
        self.0 & (SYN | ACK | RST | FIN) == SYN
    }

    /// Whether it answers a call.
    #[inline]
    pub fn is_answer(self) -> bool {
        self.0 & SYN_ACK == SYN_ACK
    }

    /// Whether it neither opens nor ends anything.
    #[inline]
    pub(super) fn is_plain(self) -> bool {
        !self.has(SYN | FIN | RST)
    }
}

const SYN_ACK: u8 = SYN | ACK;
const SYN_URG: u8 = SYN | URG;
const RST_ACK: u8 = RST | ACK;
const FIN_ACK: u8 = FIN | ACK;
const FIN_ACK_URG: u8 = FIN | ACK | URG;
const ACK_URG: u8 = ACK | URG;

/// The state of a connection whose first segment seen has these flags: one that opens it, or one
/// from its midst, since a router may be younger than the connections through it. `None`: from
/// such a segment nothing follows.
#[inline]
pub(super) fn first(flags: Flags) -> Option<State> {
    match flags.0 & (SYN | FIN | RST | ACK) {
        SYN => Some(State::SynSent),
        ACK => Some(State::Unreplied),
        _ => None,
    }
}

/// The state of a connection in `state` after `by` sent a segment; `None` when the segment opens
/// another connection.
#[inline]
pub(super) fn next(state: State, by: Party, flags: Flags) -> Option<State> {
    if flags.is_call() {
        return call(state, by);
    }
    let is_answered = !matches!(state, State::SynSent | State::Unreplied);
    Some(match (state, by) {
        // One end alone does not get a connection any further, or it could fill the table with
        // such as are worth more than those of others that just begin.
        (_, Party::Initiator) if !is_answered => state,
        (_, Party::Initiator) if flags.has(RST) => State::Aborted,
        (_, Party::Responder) if flags.has(RST) => State::Refused,
        _ if flags.has(FIN) => finish(state, by),
        (State::SynSent, Party::Responder) => State::SynReceived,
        (State::Unreplied, Party::Responder) => State::Established,
        _ if flags.has(SYN) => state,
        (State::SynReceived | State::Aborted, Party::Initiator) => State::Established,
        (State::Refused, Party::Responder) => State::Established,
        _ => state,
    })
}

/// [`next`] for a segment with FIN.
#[inline]
fn finish(state: State, by: Party) -> State {
    match (state, by) {
        (State::TimeWait | State::Aborted | State::Refused, _) => state,
        (State::FinWait, Party::Responder) | (State::CloseWait, Party::Initiator) => {
            State::TimeWait
        }
        (_, Party::Initiator) => State::FinWait,
        (_, Party::Responder) => State::CloseWait,
    }
}

/// [`next`] for a segment with SYN alone.
#[inline]
fn call(state: State, by: Party) -> Option<State> {
    match (state, by) {
        (State::TimeWait | State::Aborted | State::Refused, _) => None,
        (State::SynSent, Party::Responder) => Some(State::SynReceived),
        (_, Party::Responder) => None,
        (_, Party::Initiator) => Some(state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Party::{Initiator, Responder};
    use State::*;
    use encap::wire::tcp::flag::{CWR, ECE, PSH};

    /// The states after each of these segments, the first of which begins it; `None`: another does.
    fn course(segments: &[(Party, u8)]) -> Vec<Option<State>> {
        let mut state = None;
        let step = |&(by, flags): &(Party, u8)| {
            let flags = Flags(flags);
            assert!(flags.valid(), "{flags:?}");
            let after = match state {
                None => first(flags),
                Some(state) => next(state, by, flags),
            };
            state = after.or(state);
            after
        };
        segments.iter().map(step).collect()
    }

    fn end(segments: &[(Party, u8)]) -> Option<State> {
        course(segments).pop().flatten()
    }

    const OPEN: [(Party, u8); 3] = [(Initiator, SYN), (Responder, SYN_ACK), (Initiator, ACK)];

    fn open_and(segments: &[(Party, u8)]) -> Option<State> {
        end(&[&OPEN, segments].concat())
    }

    #[test]
    fn a_connection_opens_and_both_ends_close_it() {
        let all =
            [OPEN.as_slice(), &[(Responder, FIN_ACK), (Initiator, ACK), (Initiator, FIN_ACK)]];
        let last = CloseWait;
        let expected = [SynSent, SynReceived, Established, last, last, TimeWait].map(Some);
        assert_eq!(course(&all.concat()), expected);
        let again = [FIN_ACK, ACK, PSH | ACK].map(|flags| (Initiator, flags));
        let expected = [FinWait; 3].map(Some);
        assert_eq!(course(&[OPEN.as_slice(), &again].concat())[3..], expected);
    }

    #[test]
    fn repeated_segments_change_nothing() {
        assert_eq!(end(&[(Initiator, SYN), (Initiator, SYN)]), Some(SynSent));
        assert_eq!(end(&[OPEN[0], OPEN[1], OPEN[1]]), Some(SynReceived));
        assert_eq!(open_and(&[OPEN[0], OPEN[1], OPEN[2]]), Some(Established));
    }

    /// RFC 9293 §3.5, figure 7.
    #[test]
    fn both_ends_may_call_at_once() {
        let calls = [(Initiator, SYN), (Responder, SYN), (Initiator, SYN_ACK)];
        assert_eq!(course(&calls), [SynSent, SynReceived, SynReceived].map(Some));
        let rest = [(Responder, SYN_ACK), (Initiator, ACK)];
        assert_eq!(end(&[calls.as_slice(), &rest].concat()), Some(Established));
    }

    /// It would pass as an answer where the end that was called may not call itself.
    #[test]
    fn a_call_of_the_end_that_was_called_is_another_connection() {
        for before in [&OPEN[..2], &OPEN[..]] {
            assert_eq!(end(&[before, &[(Responder, SYN)]].concat()), None);
        }
        assert_eq!(end(&[(Initiator, ACK), (Responder, SYN)]), None);
    }

    #[test]
    fn a_call_after_the_end_is_another_connection() {
        let finished = [(Initiator, FIN_ACK), (Responder, FIN_ACK)];
        for by in [Initiator, Responder] {
            assert_eq!(open_and(&[&finished[..], &[(by, SYN)]].concat()), None);
            assert_eq!(open_and(&[(Responder, RST), (by, SYN)]), None);
        }
    }

    #[test]
    fn a_reset_closes_it_and_its_senders_next_segment_shows_that_it_was_forged() {
        for by in [Initiator, Responder] {
            let (other, reset) = match by {
                Initiator => (Responder, Aborted),
                Responder => (Initiator, Refused),
            };
            assert_eq!(open_and(&[(by, RST)]), Some(reset));
            assert_eq!(open_and(&[(by, RST), (other, PSH | ACK)]), Some(reset));
            assert_eq!(open_and(&[(by, RST), (by, RST_ACK)]), Some(reset));
            assert_eq!(open_and(&[(by, RST), (by, ACK)]), Some(Established));
        }
        assert_eq!(end(&[(Initiator, SYN), (Responder, RST_ACK)]), Some(Refused));
    }

    /// Whatever an end sends that nobody answers.
    #[test]
    fn one_end_alone_gets_nowhere() {
        let all = [SYN, ACK, RST, RST_ACK, FIN_ACK, PSH | ACK, ACK | URG];
        for begin in [SYN, ACK] {
            let expected = end(&[(Initiator, begin)]);
            for (a, b, c) in all.iter().flat_map(|a| all.map(|b| (*a, b, ACK))) {
                let segments = [begin, a, b, c].map(|flags| (Initiator, flags));
                assert_eq!(end(&segments), expected, "{segments:?}");
            }
        }
    }

    #[test]
    fn a_connection_is_picked_up_in_its_midst() {
        assert_eq!(
            course(&[(Initiator, ACK), (Responder, ACK)]),
            [Unreplied, Established].map(Some)
        );
        assert_eq!(end(&[(Initiator, ACK), (Responder, FIN_ACK)]), Some(CloseWait));
        for flags in [SYN_ACK, FIN_ACK, RST, RST_ACK] {
            assert_eq!(first(Flags(flags)), None, "{flags:#x}");
        }
    }

    /// The combinations of `tcp_valid_flags` in Linux' `nf_conntrack_proto_tcp.c`.
    #[test]
    fn of_all_flags_nine_combinations_are_sent() {
        let valid = |flags: &u8| Flags(*flags).valid();
        let main = SYN | FIN | RST | ACK | URG;
        let sent: Vec<u8> = (0..64).filter(|flags| flags & !main == 0).filter(valid).collect();
        let mut expected =
            [SYN, SYN_URG, SYN_ACK, RST, RST_ACK, FIN_ACK, FIN_ACK_URG, ACK, ACK_URG];
        expected.sort_unstable();
        assert_eq!(sent, expected);
        for flags in 0..=u8::MAX {
            assert_eq!(valid(&flags), valid(&(flags & !(PSH | ECE | CWR))), "{flags:#x}");
        }
    }
}

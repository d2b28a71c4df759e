//! The table in every order in which two threads may see each other's writes.
#![allow(clippy::unwrap_used)]

use super::slot::Slot;
use super::*;
use ::loom::{sync::Arc, thread};
use encap::wire::protocol::UDP;
use std::net::Ipv4Addr;

/// A flow whose verdict tells its port.
fn entry(port: u16) -> Entry {
    let address = Ipv4Addr::LOCALHOST.into();
    let (key, began) = Key::new(address, address, UDP, port, port);
    let judged = Judged { generation: port.into(), egress: port.into(), ingress: port.into() };
    Entry { key, began, state: State::Unreplied, seen: 0, made: port.into(), judged }
}

/// Reads a slot while it goes from one flow to another.
fn read(read: fn(&Slot)) {
    ::loom::model(move || {
        let slot = Arc::new(Slot::new());
        slot.hold(slot.word()).unwrap().put(&entry(1));
        let writer = {
            let slot = slot.clone();
            thread::spawn(move || slot.hold(slot.word()).unwrap().put(&entry(2)))
        };
        read(&slot);
        writer.join().unwrap();
        assert_eq!(slot.get(&entry(2).key).unwrap().1, entry(2).judged);
    });
}

#[test]
fn loom_what_is_listed_belongs_together() {
    read(|slot| {
        let Some(Entry { key, made, judged, .. }) = slot.entry() else { return };
        let is = |whole: Entry| (whole.key, whole.made, whole.judged) == (key, made, judged);
        assert!(is(entry(1)) || is(entry(2)));
    });
}

#[test]
fn loom_what_is_found_belongs_together() {
    read(|slot| {
        if let Some((_, judged)) = slot.get(&entry(1).key) {
            assert_eq!(judged, entry(1).judged);
        }
    });
}

/// Of three who want a slot, to write it, to move its flow on and to judge that anew, each does it whole
/// or not at all.
#[test]
fn loom_no_change_reaches_another_flow() {
    ::loom::model(|| {
        let slot = Arc::new(Slot::new());
        slot.hold(slot.word()).unwrap().put(&entry(1));
        let word = slot.word();
        let other = {
            let slot = slot.clone();
            thread::spawn(move || {
                let is_moved = slot.exchange(word, word.advanced(State::Replied, 1)).is_ok();
                is_moved | slot.judge(word.version(), Judged::default())
            })
        };
        let held = slot.hold(word);
        let is_taken = held.is_some();
        if let Some(held) = held {
            held.put(&entry(2));
        }
        let is_changed = other.join().unwrap();
        let after = slot.entry().unwrap();
        assert!(!slot.word().is_held() && (is_taken || is_changed));
        if is_taken {
            assert!(after.key == entry(2).key && after.judged == entry(2).judged);
            assert_eq!((after.state, after.seen), (State::Unreplied, 0));
        }
    });
}

/// Two workers keep the same flow at once: one entry is left, and the flow is not lost.
#[test]
fn loom_twins_do_not_stay() {
    ::loom::model(|| {
        let flows = Arc::new(Flows::new(0, 1));
        let keep = |flows: &Flows| {
            let sighting = flows.sighting((entry(1).key, Side::First), Flags::default());
            let mut counters = Counters::default();
            let judged = Judged::default();
            let kept = flows.keep(&sighting, judged, &Timeouts::default(), 0, &mut counters);
            flows.count(counters);
            kept
        };
        let other = {
            let flows = flows.clone();
            thread::spawn(move || keep(&flows))
        };
        let kept = keep(&flows);
        assert!(kept != Kept::Full && other.join().unwrap() != Kept::Full);
        assert_eq!(flows.buckets.slots().filter(|slot| slot.word().state().is_some()).count(), 1);
        assert_eq!(flows.counters().live(), 1);
    });
}

//! Policies that come, change and go while traffic runs. Needs root.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use cableway::control::report::{Acl, Flows};
use daemon_support::daemon::{Daemon, PATIENCE, wait_for};
use daemon_support::two::{Two, finish};
use std::fs;
use std::io::{Read, Write};

/// The policy `web` for the pod b1, with these rules for what is sent to it; other sections.
fn web(rules: &str, more: &str) -> String {
    format!(
        "{more}\n[[policy]]\nname = \"web\"\napplies-to = [{{ port = \"b1\" }}]\ningress = {rules}\n"
    )
}

/// `cableway add policy`, or `apply policy`, of these sections: whether it did, and what was wrong.
fn tell(daemon: &Daemon, verb: &str, sections: &str) -> (bool, String) {
    let file = daemon.file("policy.toml");
    fs::write(&file, sections).unwrap();
    let (is_done, _, error) = daemon.cableway(&format!("{verb} policy {}", file.display()));
    (is_done, error)
}

#[test]
fn policies_change_under_traffic() {
    let two = Two::new();
    let (mut a, mut b) = two.start("eth0", "192.168.70.1", "192.168.70.2");
    assert!(two.a1.pings("10.9.2.2"));

    // A stream of datagrams may pass, and nothing else.
    let some = "[{ action = \"log\", ports = [{ protocol = \"icmp\" }] }, \
                { from = [{ set = \"pods\" }], ports = [{ protocol = \"udp\", port = 7007 }] }]";
    let sets = "[[set]]\nname = \"pods\"\nprefixes = [\"10.9.1.0/24\"]\n";
    assert_eq!(tell(&b, "add", &web(some, sets)), (true, String::new()));
    let stream = two.stream();
    assert!(!two.a1.pings("10.9.2.2"));
    wait_for("the drop to be counted", || b.dropped("acl.ingress") > 0);
    wait_for("the packet to be logged", || {
        let line = "policy web, ingress rule 1: icmp 10.9.1.2 > 10.9.2.2 echo-request";
        b.log().lines().any(|log| log.contains(line) && log.contains("from peer a"))
    });
    let acl: Acl = b.get("/v1/show/acl");
    let hits = |number| acl.acl.iter().find(|rule| rule.number == Some(number)).unwrap().hits;
    assert!(hits(1) == 1 && hits(2) == 1, "the ping, and the stream's first packet: {acl:?}");
    let flows: Flows = b.get("/v1/show/flows?protocol=udp&port=7007&policy=web");
    let [flow] = &flows.flows[..] else { panic!("{flows:?}") };
    assert_eq!(flow.destination.to_string(), "10.9.2.2");
    assert_eq!(flow.ingress.as_deref(), Some("policy web, ingress rule 2"));
    assert_eq!((flow.state.as_str(), flow.is_current), ("replied", true));

    // Neither a reload nor what is refused changes anything.
    assert!(b.reload(&b.config()), "{}", b.log());
    let (is_done, error) = tell(&b, "apply", &web("[{ from = [{ set = \"dns\" }] }]", sets));
    assert!(!is_done && error.contains("there is no set `dns`; expected `pods`"), "{error}");
    let (is_done, error) = tell(&b, "apply", &web("[{ form = [] }]", ""));
    assert!(!is_done && error.contains("policy.toml:5:14: unknown key `form`"), "{error}");
    let (is_done, error) = tell(&b, "add", "[node]\nname = \"x\"\n");
    assert!(!is_done && error.contains("policy.toml:1:2: found section `node`"), "{error}");
    assert!(b.must_not("del set pods").contains("policy `web`"));
    stream.passes();
    assert_eq!(stream.finish(), 0, "datagrams lost while nothing changed for them");

    // What policies no longer allow ends, in both directions.
    let stream = two.stream();
    assert_eq!(tell(&b, "apply", &web("[{ ports = [{ protocol = \"tcp\" }] }]", "")).1, "");
    assert!(stream.is_cut(), "{}", b.show("flows"));
    assert!(b.get::<Acl>("/v1/show/acl").generation > acl.generation);
    assert!(b.must("dump").contains("[[policy]]") && !b.must("dump").contains("[[set]]"));
    b.must("del policy web");
    stream.passes();

    // A connection of TCP that is older than the first policy ends with it, whoever speaks first then.
    let (mut client, mut server) = two.connection(80);
    client.write_all(b"a question").unwrap();
    server.read_exact(&mut [0; 10]).unwrap();
    assert_eq!(tell(&b, "add", &web("[{ ports = [{ protocol = \"udp\" }] }]", "")).1, "");
    server.write_all(b"an answer").unwrap();
    assert!(client.read(&mut [0; 10]).is_err(), "the answer came through");
    stream.passes();
    b.must("del policy web");
    // It is sent again, after a while.
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.read_exact(&mut [0; 9]).unwrap();

    // Of flows that are under way lenient policies say nothing.
    let lenient = b.config() + "[acl]\nestablished = \"lenient\"\n" + &web("[]", "");
    assert!(b.reload(&lenient), "{}", b.log());
    stream.passes();
    assert!(!two.a1.pings("10.9.2.2"));
    // The pod itself may begin, and is answered.
    assert!(two.b1.pings("10.9.1.2"));
    finish([&mut a, &mut b]);
}

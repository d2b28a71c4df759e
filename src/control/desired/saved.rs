//! The desired state as it is written down for a next life, and what that life makes of it.
//!
//! A next life goes on as the last one was: with what came through the API, without what was deleted
//! through it, and after `cableway apply` as the applied file says. If the daemon's own config file
//! is another one than the last life has read, then it is read as at SIGHUP: what came from the file is
//! as it says now, and what came through the API stays. There is nobody to refuse it to, however:
//! where both have a thing, and not alike, the file wins, and what does not fit is logged and left
//! out.
//!
//! The text is JSON of the config's own types, so that a later version reads it as it reads an older
//! config.

use super::{AclSections, Desired, Edit, Entry, Origin, digest};
use crate::config::edit;
use crate::config::{Config, Name, Peer, Port, Route, Unicast, Via};
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::sync::Arc;

/// A desired state, by where things came from.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
pub struct Saved {
    /// See [`Desired`]; empty of a version that did not know it.
    #[serde(default)]
    read: String,
    file: Config,
    api: Additions,
}

/// What came through the API.
#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
struct Additions {
    gateways: Vec<Unicast>,
    peers: Vec<Peer>,
    ports: Vec<Port>,
    routes: Vec<Route>,
    #[serde(flatten)]
    acls: AclSections,
}

impl Additions {
    /// What of a state came from there.
    fn of(desired: &Desired, origin: Origin) -> Additions {
        let gateways = desired.gateways.iter().filter_map(|entry| of(entry, origin));
        let peers = desired.peers.values().filter_map(|entry| of(entry, origin));
        let ports = desired.ports.values().filter_map(|entry| of(entry, origin));
        let routes = desired.routes.iter().filter_map(|(net, entry)| {
            Some(Route { prefix: (*net).into(), via: of(entry, origin)?.clone() })
        });
        Additions {
            gateways: gateways.copied().collect(),
            peers: peers.map(|peer| (**peer).clone()).collect(),
            ports: ports.map(|port| (**port).clone()).collect(),
            routes: routes.collect(),
            acls: desired.acls.sections(|found| found == origin),
        }
    }
}

fn of<T>(entry: &Entry<T>, origin: Origin) -> Option<&T> {
    (entry.origin == origin).then_some(&entry.value)
}

impl Saved {
    /// Of a state.
    pub fn of(desired: &Desired) -> Saved {
        let from_file = Additions::of(desired, Origin::File);
        let mut file = desired.base().clone();
        file.gateway.addresses = from_file.gateways;
        file.peer = from_file.peers;
        file.port = from_file.ports;
        file.route = from_file.routes;
        from_file.acls.put(&mut file);
        Saved { read: desired.read.to_string(), file, api: Additions::of(desired, Origin::Api) }
    }

    /// The state again, which was valid when it was saved.
    pub fn into_state(self) -> Desired {
        let mut desired = Desired::of(self.file, self.read.into());
        let Additions { gateways, peers, ports, routes, acls } = self.api;
        gateways.into_iter().for_each(|address| desired.add_gateway(address));
        peers.into_iter().for_each(|peer| desired.set_peer(Arc::new(peer)));
        ports.into_iter().for_each(|port| desired.set_port(Arc::new(port)));
        routes.into_iter().for_each(|route| desired.set_route(route.prefix.net(), route.via));
        desired.acls.put(acls, Origin::Api);
        desired
    }
}

impl Desired {
    /// What a life begins with after one that was this, and whose config file says `file` now.
    pub fn next(self, file: Config) -> Desired {
        if *self.read == *digest(&file) {
            return self.next_unread(file);
        }
        tracing::info!("the config file is another one than the daemon before had read");
        self.beneath(file)
    }

    /// The same where the file is not read again, unless this version does not take what the last
    /// one did.
    pub fn next_unread(self, file: Config) -> Desired {
        if edit::judge(&self.whole_config(), None).is_empty() { self } else { self.beneath(file) }
    }

    /// What the file says, and what of this came through the API and fits it.
    fn beneath(self, file: Config) -> Desired {
        self.reload(file.clone()).unwrap_or_else(|_| {
            let mut desired = Desired::new(file);
            desired.add_what_fits(Additions::of(&self, Origin::Api));
            desired
        })
    }

    fn add_what_fits(&mut self, additions: Additions) {
        let Additions { gateways, peers, ports, routes, acls } = additions;
        for address in gateways {
            self.add(&format!("gateway address {address}"), Edit::PutGateway(address));
        }
        for peer in peers {
            let what = format!("peer `{}`", peer.name);
            match self.peers.get(&peer.name).map(|known| *known.value == peer) {
                None => self.add(&what, Edit::PutPeer(Box::new(peer))),
                Some(true) => {}
                Some(false) => leave_out(&what, FILE_HAS_ANOTHER),
            }
        }
        for port in ports {
            let what = format!("port `{}`", port.name);
            match self.ports.get(&port.name).map(|known| *known.value == port) {
                None => self.add(&what, Edit::PutPort(Box::new(port))),
                Some(true) => {}
                Some(false) => leave_out(&what, FILE_HAS_ANOTHER),
            }
        }
        for (what, one) in acls.each() {
            match self.acls.has_another(&one) {
                false => self.add(&what, Edit::PutAcls(Box::new(one))),
                true => leave_out(&what, FILE_HAS_ANOTHER),
            }
        }
        let taken = self.destinations();
        let mut left_out = 0;
        for Route { prefix, via } in routes {
            let net = prefix.net();
            let elsewhere = || taken.get(&net).map(|place| edit::elsewhere(net, place));
            let wrong_way = || Some(self.wrong_ways(net, &via, "").into_iter().next()?.message);
            let another = self.routes.get(&net).filter(|known| known.value != via);
            let another = another.map(|_| FILE_HAS_ANOTHER.to_owned());
            match another.or_else(elsewhere).or_else(wrong_way) {
                None => self.set_route(net, via),
                Some(why) if left_out < NAMED => {
                    leave_out(&format!("the route to {net}"), why);
                    left_out += 1;
                }
                Some(_) => left_out += 1,
            }
        }
        if left_out > NAMED {
            leave_out(&format!("{} more routes", left_out - NAMED), "for like reasons");
        }
    }

    fn add(&mut self, what: &str, edit: Edit) {
        match self.edit(edit) {
            Ok(edited) => *self = edited,
            Err(refused) => leave_out(what, refused),
        }
    }

    /// Goes without a port or peer that can't be had, and without the routes by it; how many these
    /// were.
    pub fn remove(&mut self, what: &Via) -> usize {
        match what {
            Via::Port(name) => drop(self.ports.remove(name)),
            Via::Peer(name) => drop(self.peers.remove(name)),
            Via::Unreachable | Via::Blackhole | Via::Any(_) => {}
        }
        let routes: Vec<_> = self.prefixes_by(what).collect();
        let mut removed = 0;
        for net in routes {
            let Some(Entry { value, origin }) = self.remove_route(&net) else { continue };
            match value.without(what) {
                Some(rest) => self.insert_route(net, rest, origin),
                None => removed += 1,
            }
        }
        removed
    }

    /// How much of it came through the API, in words.
    pub fn describe_additions(&self) -> String {
        fn count<'e, T: 'e>(
            entries: impl Iterator<Item = &'e Entry<T>>,
            one: &str,
            many: &str,
        ) -> String {
            let count = entries.filter(|entry| entry.origin == Origin::Api).count();
            format!("{count} {}", if count == 1 { one } else { many })
        }
        [
            count(self.ports.values(), "port", "ports"),
            count(self.peers.values(), "peer", "peers"),
            count(self.gateways.iter(), "gateway address", "gateway addresses"),
            count(self.routes.values(), "route", "routes"),
            count(self.acls.policies.values(), "policy", "policies"),
        ]
        .join(", ")
    }

    /// Whether a port came through the API.
    pub fn is_port_added(&self, name: &Name) -> bool {
        self.ports.get(name).is_some_and(|entry| entry.origin == Origin::Api)
    }

    /// Whether a peer did.
    pub fn is_peer_added(&self, name: &Name) -> bool {
        self.peers.get(name).is_some_and(|entry| entry.origin == Origin::Api)
    }
}

/// How many routes of many are named that are left out.
const NAMED: usize = 3;
const FILE_HAS_ANOTHER: &str = "the config file has another one";

fn leave_out(what: &str, why: impl Display) {
    tracing::error!("left out {what}, which had come through the API: {why}");
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::{A3, FILE, config, desired, peer, port, routes};
    use super::*;

    /// As a later life reads it.
    fn again(state: &Desired) -> Desired {
        let text = serde_json::to_string(&Saved::of(state)).unwrap();
        serde_json::from_str::<Saved>(&text).unwrap().into_state()
    }

    fn edited(edits: impl IntoIterator<Item = Edit>) -> Desired {
        edits.into_iter().fold(desired(), |state, edit| state.edit(edit).unwrap())
    }

    fn next(state: &Desired, file: &str) -> Desired {
        again(state).next(config(file))
    }

    #[track_caller]
    fn same(found: &Desired, expected: &Desired) {
        assert_eq!(Saved::of(found), Saved::of(expected));
        assert_eq!(found.whole_config(), expected.whole_config());
    }

    #[test]
    fn a_state_goes_on_with_where_things_came_from() {
        assert_eq!(Saved::of(&desired()).api, Additions::default());
        let state = edited([port(A3), routes(&[("10.4.0.0/16", peer("b"))], &["10.1.0.0/16"])]);
        assert_eq!(
            state.describe_additions(),
            "1 port, 0 peers, 0 gateway addresses, 1 route, 0 policies"
        );
        same(&again(&state), &state);
        same(&next(&state, FILE), &state);
    }

    #[test]
    fn what_was_deleted_or_replaced_of_the_file_stays_so_while_the_file_does() {
        let state = edited([
            routes(&[("10.3.0.0/16", Via::Unreachable)], &["10.1.0.0/16", "10.2.0.0/16"]),
            Edit::DeletePort("a2".parse().unwrap()),
            Edit::DeletePeer("b".parse().unwrap()),
        ]);
        same(&next(&state, &format!("# A comment.\n{FILE}")), &state);
        // A file that is another one says all of its own again, as it does at SIGHUP.
        let other = FILE.replace("10.1.0.0/16", "10.7.0.0/16");
        let next = next(&state, &other);
        assert_eq!(next.whole_config(), Desired::new(config(&other)).whole_config());
        assert!(!next.has_api_entries(), "the file has another route to 10.3.0.0/16");
    }

    #[test]
    fn an_applied_file_goes_on_while_the_daemons_own_stays() {
        let applied = FILE.replace("10.3.0.0/16", "10.8.0.0/16");
        let state = edited([port(A3), Edit::Apply(Box::new(config(&applied)))]);
        same(&next(&state, FILE), &state);
        assert_eq!(next(&state, &applied).whole_config(), config(&applied));
        // To read the file again is to forget it.
        let state = state.edit(Edit::Reload(Box::new(config(FILE)))).unwrap();
        assert_eq!(state.whole_config(), config(FILE));
        same(&next(&state, FILE), &desired());
    }

    #[test]
    fn a_file_that_was_changed_wins() {
        let c = FILE.replace("\"b\"", "\"c\"").replace("192.0.2.2", "192.0.2.3");
        let c = config(&c.replace("10.0.2.0", "10.0.3.0")).peer.remove(0);
        let state = edited([
            port(A3),
            Edit::PutPeer(Box::new(c)),
            Edit::PutGateway("169.254.1.2".parse().unwrap()),
            routes(
                &[
                    ("10.4.0.0/16", peer("b")),
                    ("10.5.0.0/16", peer("c")),
                    ("10.6.0.0/16", Via::Port("a3".parse().unwrap())),
                    ("10.7.0.0/16", Via::Blackhole),
                ],
                &[],
            ),
        ]);
        // Another port a3, no peer b, and another route.
        let file = FILE
            .replacen("a2\", kind = \"tap", "a3\", kind = \"tun", 1)
            .replace("via = { port = \"a2\" }", "via = { port = \"a3\" }")
            .replace("name = \"b\"", "name = \"d\"")
            .replace("via = { peer = \"b\" }", "via = { peer = \"d\" }")
            .replace("10.1.0.0/16", "10.7.0.0/16");
        let next = next(&state, &file);
        assert_eq!(
            next.ports[&"a3".parse::<Name>().unwrap()].value.netns.as_ref().unwrap().to_string(),
            "a2"
        );
        assert_eq!(
            next.describe_additions(),
            "0 ports, 1 peer, 1 gateway address, 2 routes, 0 policies"
        );
        let prefixes: Vec<_> = next.routes.keys().map(ToString::to_string).collect();
        let expected = ["10.2.0.0/16", "10.3.0.0/16", "10.5.0.0/16", "10.6.0.0/16", "10.7.0.0/16"];
        assert_eq!(prefixes, expected);
        assert_eq!(edit::judge(&next.whole_config(), None), []);
    }

    #[test]
    fn what_can_not_be_had_goes_with_its_routes() {
        let a3 = Via::Port("a3".parse().unwrap());
        let by = [("10.4.0.0/16", a3.clone()), ("10.5.0.0/16", peer("b"))];
        let mut state = edited([port(A3), routes(&by, &[])]);
        assert_eq!(state.remove(&a3), 1);
        same(&state, &edited([routes(&by[1..], &[])]));
    }

    #[test]
    fn edits_are_made_again_as_they_were_made() {
        let edits = [
            port(A3),
            routes(
                &[("10.4.0.0/16", peer("b")), ("10.3.0.0/16", Via::Blackhole)],
                &["10.1.0.0/16"],
            ),
            Edit::DeletePort("a2".parse().unwrap()),
            Edit::PutGateway("169.254.1.2".parse().unwrap()),
            Edit::DeleteGateway("169.254.1.1".parse().unwrap()),
            Edit::DeleteRoute("10.2.0.0/16".parse().unwrap()),
            Edit::Apply(Box::new(config(&FILE.replace("10.3.0.0/16", "10.8.0.0/16")))),
            Edit::PutGateway("169.254.1.3".parse().unwrap()),
            Edit::Reload(Box::new(config(FILE))),
        ];
        let (mut made, mut redone) = (desired(), desired());
        for edit in edits {
            let text = serde_json::to_string(&edit).unwrap();
            made = made.edit(edit).unwrap();
            redone.redo(serde_json::from_str(&text).unwrap());
            same(&redone, &made);
        }
    }
}

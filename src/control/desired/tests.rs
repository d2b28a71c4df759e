#![allow(clippy::unwrap_used)]

use super::plan::{Fixed, Plan, Subject, plan};
use super::*;
use crate::config::Route;

pub(super) const FILE: &str = r#"
node.name = "a"
uplink = [{ device = "eth0" }]
tunnel.vxlan = [{ vni = 1 }]
gateway.addresses = ["169.254.1.1"]
port = [
    { name = "a1", kind = "tun", netns = "a1", device = "eth0", addresses = ["10.0.1.1"] },
    { name = "a2", kind = "tap", netns = "a2", device = "eth0", addresses = ["10.0.1.2"] },
]
peer = [{ name = "b", address = "192.0.2.2", tunnel = "vxlan", subnets = ["10.0.2.0/24"] }]
route = [
    { prefix = "10.1.0.0/16", via = { port = "a2" } },
    { prefix = "10.2.0.0/16", via = { peer = "b" } },
    { prefix = "10.3.0.0/16", via = "blackhole" },
]
"#;

pub(super) fn config(text: &str) -> Config {
    Config::parse(text, "test.toml").unwrap()
}

pub(super) fn desired() -> Desired {
    Desired::new(config(FILE))
}

pub(super) fn port(text: &str) -> Edit {
    let port = format!("node.name = 'x'\nport = [{{ {text} }}]\ngateway.addresses = ['1.1.1.1']");
    Edit::PutPort(Box::new(config(&port).port.remove(0)))
}

pub(super) const A3: &str =
    "name = 'a3', kind = 'tun', netns = 'a3', device = 'eth0', addresses = ['10.0.1.3']";

pub(super) fn routes(put: &[(&str, Via)], delete: &[&str]) -> Edit {
    let put = put.iter().map(|(net, via)| Route { prefix: net.parse().unwrap(), via: via.clone() });
    let delete = delete.iter().map(|net| net.parse().unwrap()).collect();
    Edit::Routes(RouteEdits { put: put.collect(), delete })
}

pub(super) fn peer(name: &str) -> Via {
    Via::Peer(name.parse().unwrap())
}

fn nets(plan: &Plan) -> Vec<String> {
    plan.routes.iter().map(ToString::to_string).collect()
}

fn problems(result: Result<Desired, Refused>) -> Vec<(String, String)> {
    match result.unwrap_err() {
        Refused::Invalid(problems) | Refused::Conflict(problems) => {
            problems.into_iter().map(|problem| (problem.pointer, problem.message)).collect()
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_state_dumps_as_the_config_it_came_from() {
    let whole = desired().whole_config();
    assert_eq!(whole, config(FILE));
    assert_eq!(config(&whole.to_toml()), whole);
}

#[test]
fn nothing_new_is_nothing_to_do() {
    let old = desired();
    assert!(plan(&old, &desired()).unwrap().is_empty());
    let edits = [
        port(
            "name = 'a1', kind = 'tun', netns = 'a1', device = 'eth0', addresses = ['10.0.1.1/32']",
        ),
        routes(&[("10.2.0.0/16", peer("b"))], &["10.9.0.0/16"]),
        Edit::PutGateway("169.254.1.1".parse().unwrap()),
        Edit::Apply(Box::new(config(FILE))),
        Edit::Reload(Box::new(config(FILE))),
    ];
    for edit in edits {
        let new = old.edit(edit.clone()).unwrap();
        assert!(plan(&old, &new).unwrap().is_empty(), "{edit:?}");
    }
}

#[test]
fn a_port_comes_and_goes_with_its_routes_alone() {
    let old = desired();
    let new = old.edit(port(A3)).unwrap();
    let come = plan(&old, &new).unwrap();
    assert_eq!(come.opened[0].name.as_str(), "a3");
    assert_eq!((come.closed.len(), come.adjusted.len(), come.peers.len()), (0, 0, 0));
    assert_eq!(nets(&come), ["10.0.1.3/32"]);
    let go = plan(&new, &new.edit(Edit::DeletePort("a3".parse().unwrap())).unwrap()).unwrap();
    assert_eq!((go.opened.len(), go.closed[0].as_str()), (0, "a3"));
    assert_eq!(nets(&go), ["10.0.1.3/32"]);
}

#[test]
fn a_port_that_stays_is_set_up_otherwise_and_not_opened_again() {
    let old = desired();
    let text = "name = 'a2', kind = 'tap', netns = 'a2', device = 'eth0', mtu = 1400, \
                addresses = ['10.0.1.22']";
    let plan = plan(&old, &old.edit(port(text)).unwrap()).unwrap();
    assert_eq!((plan.opened.len(), plan.closed.len(), plan.adjusted.len()), (0, 0, 1));
    // A route by the port leads to another station now.
    assert_eq!(nets(&plan), ["10.0.1.2/32", "10.0.1.22/32", "10.1.0.0/16"]);
}

#[test]
fn one_that_becomes_another_device_is_opened_before_the_old_one_is_closed() {
    let old = desired();
    let text = "name = 'a1', kind = 'tap', netns = 'a9', device = 'eth0', addresses = ['10.0.1.1']";
    let new = plan(&old, &old.edit(port(text)).unwrap()).unwrap();
    assert_eq!((new.opened[0].name.as_str(), new.closed[0].as_str()), ("a1", "a1"));
    // Which can't be when both are to have one name.
    let text = text.replace("a9", "a1");
    let fixed = plan(&old, &old.edit(port(&text)).unwrap()).unwrap_err();
    assert_eq!(fixed[0].subject, Subject::Port("a1".parse().unwrap()));
    assert!(fixed[0].message.contains("delete that port first"), "{fixed:?}");
}

#[test]
fn a_gateway_changes_what_pods_on_ethernet_are_told() {
    let old = desired();
    let file = FILE.replace("169.254.1.1", "169.254.1.9");
    let plan = plan(&old, &Desired::new(config(&file))).unwrap();
    let adjusted: Vec<_> = plan.adjusted.iter().map(|a| a.port.name.as_str()).collect();
    assert_eq!(adjusted, ["a2"], "a TUN device needs no next hop");
    assert_eq!(nets(&plan), ["169.254.1.1/32", "169.254.1.9/32"]);
}

#[test]
fn what_is_fixed_while_running_is_named() {
    let file = format!("{FILE}[workers]\nmode = 'poll'");
    let fixed = plan(&desired(), &Desired::new(config(&file))).unwrap_err();
    let sections: Vec<_> = fixed.into_iter().map(|Fixed { subject, .. }| subject).collect();
    assert_eq!(sections, [Subject::Section("workers")]);
}

#[test]
fn tunnels_come_and_go_with_their_peers() {
    let file = FILE.replace("vni = 1", "vni = 2");
    let plan = plan(&desired(), &Desired::new(config(&file))).unwrap();
    assert!(plan.has_other_tunnels && plan.is_structural);
    assert!(plan.peers.is_empty() && plan.routes.is_empty());
}

#[test]
fn routes_are_all_or_nothing_and_each_problem_has_its_place() {
    let old = desired();
    let edit = routes(
        &[
            ("10.4.0.0/16", peer("b")),
            ("10.5.0.0/16", peer("nobody")),
            ("10.0.1.1/32", peer("b")),
            ("10.0.2.0/24", Via::Blackhole),
            ("fd00::/64", Via::Port("a2".parse().unwrap())),
            ("10.4.0.0/16", Via::Blackhole),
        ],
        &["10.3.0.0/16"],
    );
    let found = problems(old.edit(edit));
    let expected = [
        ("/put/1/via/peer", "there is no peer `nobody`; expected `b`"),
        ("/put/2/prefix", "port `a1` already says where 10.0.1.1/32 is; expected one place"),
        ("/put/3/prefix", "peer `b` already says where 10.0.2.0/24 is; expected one place"),
        ("/put/4/via/port", "port `a2` has no IPv6 address"),
        ("/put/5/prefix", "/put/0 already says where 10.4.0.0/16 is; expected one place"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((pointer, message), (at, text)) in found.iter().zip(expected) {
        assert!(pointer == at && message.starts_with(text), "{pointer}: {message}");
    }
    let new = old.edit(routes(&[("10.2.0.0/16", Via::Unreachable)], &["10.3.0.0/16"])).unwrap();
    let plan = plan(&old, &new).unwrap();
    assert_eq!(
        (nets(&plan), plan.is_structural),
        (vec!["10.2.0.0/16".into(), "10.3.0.0/16".into()], false)
    );
}

#[test]
fn what_others_refer_to_stays() {
    let old = desired();
    let found = problems(old.edit(Edit::DeletePort("a2".parse().unwrap())));
    assert_eq!(found[0].1, "port `a2` is in use by a route: 10.1.0.0/16; delete that first");
    let many: Vec<_> = (0..9).map(|i| (format!("10.8.{i}.0/24"), peer("b"))).collect();
    let many: Vec<_> = many.iter().map(|(net, via)| (net.as_str(), via.clone())).collect();
    let more = old.edit(routes(&many, &[])).unwrap();
    let found = problems(more.edit(Edit::DeletePeer("b".parse().unwrap())));
    assert!(found[0].1.contains("10.2.0.0/16, 10.8.0.0/24, 10.8.1.0/24, 7 more"), "{found:?}");
    let found = problems(old.edit(Edit::DeleteGateway("169.254.1.1".parse().unwrap())));
    assert!(found[0].1.contains("port `a2` has IPv4 routes and no gateway"), "{found:?}");
    let none = old.edit(Edit::DeletePeer("c".parse().unwrap()));
    assert_eq!(none.unwrap_err().to_string(), "there is no peer `c`; expected `b`");
    // A station that routes lead to can't lose its address either.
    let text = "name = 'a2', kind = 'tap', netns = 'a2', device = 'eth0', check-source = false";
    let found = problems(old.edit(port(text)));
    assert_eq!(found[0].0, "/addresses");
}

#[test]
fn a_put_that_clashes_points_at_itself() {
    let old = desired();
    let found = problems(old.edit(port(&A3.replace("10.0.1.3", "10.0.1.1"))));
    assert_eq!(found[0].0, "/addresses/0");
    assert!(found[0].1.contains("the first in port `a1`"), "{found:?}");
    let found = problems(old.edit(port(&A3.replace("netns = 'a3'", "netns = 'a1'"))));
    assert_eq!(found[0].0, "/device");
    let routed = old.edit(routes(&[("10.0.1.3/32", peer("b"))], &[])).unwrap();
    let found = problems(routed.edit(port(A3)));
    assert!(found[0].1.starts_with("the route to 10.0.1.3/32 already says"), "{found:?}");
}

#[test]
fn a_reload_keeps_what_came_through_the_api() {
    let edits = [port(A3), routes(&[("10.4.0.0/16", peer("b"))], &[])];
    let state = edits.into_iter().fold(desired(), |state, edit| state.edit(edit).unwrap());
    let file = FILE.replace("10.3.0.0/16", "10.5.0.0/16");
    let new = state.edit(Edit::Reload(Box::new(config(&file)))).unwrap();
    assert!(new.ports().contains_key(&"a3".parse::<Name>().unwrap()));
    let prefixes: Vec<_> = new.routes().keys().map(ToString::to_string).collect();
    assert_eq!(prefixes, ["10.1.0.0/16", "10.2.0.0/16", "10.4.0.0/16", "10.5.0.0/16"]);
    // What is in both, alike, is the file's from now on.
    let same = new.edit(Edit::Reload(Box::new(new.whole_config()))).unwrap();
    let back = same.edit(Edit::Reload(Box::new(config(FILE)))).unwrap();
    assert_eq!(back.whole_config(), config(FILE));
    // An application of a file leaves nothing else.
    let applied = new.edit(Edit::Apply(Box::new(config(FILE)))).unwrap();
    assert_eq!(applied.whole_config(), config(FILE));
}

#[test]
fn a_reload_that_clashes_is_refused() {
    let state = desired().edit(port(A3)).unwrap();
    let other = FILE.replacen("a1", "a3", 1);
    let found = problems(state.edit(Edit::Reload(Box::new(config(&other)))));
    assert!(found[0].1.starts_with("port `a3` came through the API and the file has"), "{found:?}");
    let same_address = FILE.replace("10.0.1.1", "10.0.1.3");
    let found = problems(state.edit(Edit::Reload(Box::new(config(&same_address)))));
    assert!(found[0].1.contains("10.0.1.3 is there twice"), "{found:?}");
}

#[test]
fn several_next_hops_are_used_and_lost_one_by_one() {
    let file = FILE.replace("via = \"blackhole\"", "via = [{ peer = \"b\" }, { port = \"a2\" }]");
    let mut state = Desired::new(config(&file));
    assert_eq!(config(&state.whole_config().to_toml()), config(&file));
    let saved = serde_json::to_string(&Saved::of(&state)).unwrap();
    let again = serde_json::from_str::<Saved>(&saved).unwrap().into_state();
    assert_eq!(again.whole_config(), config(&file));
    let found = problems(state.edit(Edit::DeletePeer("b".parse().unwrap())));
    assert_eq!(
        found[0].1,
        "peer `b` is in use by routes: 10.2.0.0/16, 10.3.0.0/16; delete those first"
    );
    let any = |names: [&str; 2]| {
        let list = names.map(|name| serde_json::json!({ "port": name }));
        serde_json::from_value::<Via>(list.to_vec().into()).unwrap()
    };
    let found = problems(state.edit(routes(&[("10.4.0.0/16", any(["a2", "a9"]))], &[])));
    assert_eq!(found[0].0, "/put/0/via/1/port");
    // What can't be had any more leaves the others, and goes with the last.
    assert_eq!(state.remove(&peer("b")), 1);
    let a2 = Via::Port("a2".parse().unwrap());
    assert_eq!(state.routes()[&"10.3.0.0/16".parse::<IpNet>().unwrap()].value, a2);
    assert_eq!((state.groups().count(), state.remove(&a2), state.routes().len()), (0, 2, 0));
}

/// Policies of a file with these sections.
fn acls(text: &str) -> Box<AclSections> {
    Box::new(AclSections::take(&mut config(&format!("{FILE}\n{text}"))))
}

const WEB: &str = r#"
set = [{ name = "dns", prefixes = ["10.96.0.10"] }]
policy = [{ name = "web", applies-to = [{ port = "a1" }], egress = [{ to = [{ set = "dns" }] }] }]
"#;

#[test]
fn policies_come_and_go_without_touching_anything_else() {
    let old = desired();
    let new = old.edit(Edit::PutAcls(acls(WEB))).unwrap();
    let plan = plan(&old, &new).unwrap();
    assert!(plan.has_other_policies && !plan.is_structural && plan.routes.is_empty());
    assert!(
        super::plan::plan(&new, &new.edit(Edit::PutAcls(acls(WEB))).unwrap()).unwrap().is_empty()
    );
    assert_eq!(config(&new.whole_config().to_toml()), new.whole_config());
    let saved = serde_json::to_string(&Saved::of(&new)).unwrap();
    let again = serde_json::from_str::<Saved>(&saved).unwrap().into_state();
    assert_eq!(again.whole_config(), new.whole_config());
    assert!(again.has_api_entries());
    // A reload keeps what came through the API, an applied file does not.
    let reloaded = new.edit(Edit::Reload(Box::new(config(FILE)))).unwrap();
    assert_eq!(reloaded.whole_config(), new.whole_config());
    let applied = new.edit(Edit::Apply(Box::new(config(FILE)))).unwrap();
    assert_eq!(applied.whole_config(), old.whole_config());
    let other = acls("set = [{ name = 'ntp', prefixes = [] }]");
    let replaced = new.edit(Edit::ReplaceAcls(other)).unwrap();
    assert_eq!(replaced.acls().sections(|_| true).set.len(), 1);
    assert!(replaced.acls().policies.is_empty());
}

#[test]
fn what_a_policy_speaks_of_does_not_go() {
    let state = desired().edit(Edit::PutAcls(acls(WEB))).unwrap();
    let name = |name: &str| name.parse::<Name>().unwrap();
    let refused = problems(state.edit(Edit::DeleteAcl(AclName::Set(name("dns")))));
    assert!(refused[0].1.contains("policy `web`: there is no set `dns`"), "{refused:?}");
    let refused = problems(state.edit(Edit::DeletePort(name("a1"))));
    assert!(refused[0].1.contains("policy `web`: there is no port `a1`"), "{refused:?}");
    let refused = state.edit(Edit::DeleteAcl(AclName::Policy(name("wep")))).unwrap_err();
    assert_eq!(refused.to_string(), "there is no policy `wep`; expected `web`");
    let state = state.edit(Edit::DeleteAcl(AclName::Policy(name("web")))).unwrap();
    state.edit(Edit::DeletePort(name("a1"))).unwrap();
    let state = state.edit(Edit::DeleteAcl(AclName::Set(name("dns")))).unwrap();
    assert_eq!(state.whole_config(), config(FILE));
}

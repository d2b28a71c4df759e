//! What may be asked and told, one line of [`ENDPOINTS`] each.
#![allow(clippy::result_large_err, reason = "the error is the answer: a response")]

use super::body::{self, Whole};
use super::openapi::{Endpoint, Part};
use super::{Served, failure, problems};
use crate::config::edit::Problem;
use crate::config::{
    Config, Endpoint as Elsewhere, Name, Peer, Policy, Port, Prefix, Route, Set, Unicast,
};
use crate::control::desired::acl::{Named, Things};
use crate::control::desired::plan::Fixed;
use crate::control::desired::{AclName, AclSections, Desired, Edit, Refused, RouteEdits};
use crate::control::report::What;
use crate::control::samples::DropSamples;
use crate::control::{orders, report, trace};
use axum::Json;
use axum::extract::{Path, Query, State as With};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use pipeline::drops;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Bound;
use std::sync::Arc;

/// Routes that are listed at once when nothing else is said, and at most.
const PAGE: usize = 10_000;
const MOST: usize = 100_000;

/// Everything that may be asked; each path begins with `/v1`.
pub(super) static ENDPOINTS: &[Endpoint] = &[
    Endpoint::get(
        "/ready",
        "Tells that the daemon is at work",
        || get(ready),
        Part::of::<report::Ready>,
    ),
    Endpoint::get("/show/{what}", "Tells what the daemon does", || get(show), Part::of::<Shown>),
    Endpoint::get(
        "/drops/samples",
        "Tells the latest dropped frames, of all reasons or of `reason`",
        || get(samples),
        Part::of::<DropSamples>,
    ),
    Endpoint::post(
        "/trace",
        "Tells what would become of a packet, and why; nothing comes of it",
        || post(trace),
        Part::of::<trace::Input>,
        Part::of::<trace::Report>,
    ),
    Endpoint::get("/openapi.json", "This document", || get(openapi), Part::any),
    Endpoint::get("/ports", "Lists the ports", || get(ports), Part::of::<PortList>),
    Endpoint::get(
        "/ports/{name}",
        "Tells how a port is configured",
        || get(port),
        Part::of::<Port>,
    ),
    Endpoint::put(
        "/ports/{name}",
        "Makes a port, or changes it",
        || put(put_port),
        Part::of::<Port>,
    ),
    Endpoint::delete("/ports/{name}", "Removes a port and its device", || delete(delete_port)),
    Endpoint::get("/peers", "Lists the peers", || get(peers), Part::of::<PeerList>),
    Endpoint::get(
        "/peers/{name}",
        "Tells how a peer is configured",
        || get(peer),
        Part::of::<Peer>,
    ),
    Endpoint::put(
        "/peers/{name}",
        "Adds a peer, or changes it",
        || put(put_peer),
        Part::of::<Peer>,
    ),
    Endpoint::delete("/peers/{name}", "Removes a peer", || delete(delete_peer)),
    Endpoint::get(
        "/gateway/addresses",
        "Lists the gateway's addresses",
        || get(gateways),
        Part::of::<AddressList>,
    ),
    Endpoint::get(
        "/gateway/addresses/{address}",
        "Tells whether the gateway has an address",
        || get(gateway),
        Part::of::<Address>,
    ),
    Endpoint::put(
        "/gateway/addresses/{address}",
        "Adds an address of the gateway",
        || put(put_gateway),
        Part::none,
    ),
    Endpoint::delete("/gateway/addresses/{address}", "Removes an address of the gateway", || {
        delete(delete_gateway)
    }),
    Endpoint::get(
        "/routes",
        "Lists routes from `after` on, `limit` of them at most",
        || get(routes),
        Part::of::<RouteList>,
    ),
    Endpoint::post(
        "/routes",
        "Puts and deletes many routes, all of them or none",
        || post(batch),
        Part::of::<RouteBatch>,
        Part::of::<Done>,
    ),
    Endpoint::get(
        "/routes/{prefix}",
        "Tells where a route leads",
        || get(route),
        Part::of::<Route>,
    ),
    Endpoint::put(
        "/routes/{prefix}",
        "Adds a route, or changes it",
        || put(put_route),
        Part::of::<Route>,
    ),
    Endpoint::delete("/routes/{prefix}", "Removes a route", || delete(delete_route)),
    Endpoint::get(
        "/policies",
        "Lists policies, and the sets and endpoints that their rules speak of",
        || get(policies),
        Part::of::<AclSections>,
    ),
    Endpoint::post(
        "/policies",
        "Adds policies, sets and endpoints, or changes them, all or none",
        || post(put_policies),
        Part::of::<AclSections>,
        Part::of::<Done>,
    ),
    Endpoint::put(
        "/policies",
        "Has these policies, sets and endpoints, and no others",
        || put(replace_policies),
        Part::of::<AclSections>,
    ),
    Endpoint::get(
        "/policies/{name}",
        "Tells what a policy says",
        || get(policy),
        Part::of::<Policy>,
    ),
    Endpoint::put(
        "/policies/{name}",
        "Adds a policy, or changes it",
        || put(put_policy),
        Part::of::<Policy>,
    ),
    Endpoint::delete("/policies/{name}", "Removes a policy", || delete(delete_policy)),
    Endpoint::get("/sets/{name}", "Tells what is in a set", || get(set), Part::of::<Set>),
    Endpoint::put("/sets/{name}", "Adds a set, or changes it", || put(put_set), Part::of::<Set>),
    Endpoint::delete("/sets/{name}", "Removes a set", || delete(delete_set)),
    Endpoint::get(
        "/endpoints/{name}",
        "Tells about an endpoint elsewhere",
        || get(endpoint),
        Part::of::<Elsewhere>,
    ),
    Endpoint::put(
        "/endpoints/{name}",
        "Adds an endpoint elsewhere, or changes it",
        || put(put_endpoint),
        Part::of::<Elsewhere>,
    ),
    Endpoint::delete("/endpoints/{name}", "Removes an endpoint elsewhere", || {
        delete(delete_endpoint)
    }),
    Endpoint::get(
        "/config",
        "Tells all that the node is to be, as a config",
        || get(dump),
        Part::toml,
    ),
    Endpoint::put("/config", "Makes the node be as a config says", || put(apply), Part::toml),
];

/// One of what there is to show, by its name in the path.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it is there for its schema")]
enum Shown {
    Ports(report::Ports),
    Routes(report::Routes),
    Peers(report::Peers),
    Neighbours(report::Neighbours),
    Fdb(report::Fdb),
    Acl(report::Acl),
    Flows(report::Flows),
    Drops(report::Drops),
    Workers(report::Workers),
}

/// An edit was made, or there was nothing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    /// Whether anything has changed.
    pub changed: bool,
    /// The generation of the tables that are in force now.
    pub generation: u64,
}

/// `GET /v1/ports`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PortList {
    /// By name.
    pub ports: Vec<Port>,
}

/// `GET /v1/peers`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PeerList {
    /// By name.
    pub peers: Vec<Peer>,
}

/// `GET /v1/gateway/addresses`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AddressList {
    /// The preferred ones first.
    pub addresses: Vec<Unicast>,
}

/// `GET /v1/gateway/addresses/…`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct Address {
    /// One that there is.
    address: Unicast,
}

/// `GET /v1/routes`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RouteList {
    /// By family and prefix. Those to ports' addresses and to peers' subnets are not among them.
    pub routes: Vec<Route>,
    /// What to ask for as `after` for the next ones, if there are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Prefix>,
}

/// `POST /v1/routes`
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RouteBatch {
    /// Routes to add, or to change.
    pub put: Vec<Route>,
    /// Prefixes that shall have no route of their own; these go first.
    pub delete: Vec<Prefix>,
}

/// `?after=…&limit=…`
#[derive(Debug, Deserialize)]
struct Page {
    after: Option<Prefix>,
    limit: Option<usize>,
}

/// `?file=…`
#[derive(Debug, Deserialize)]
struct File {
    file: Option<String>,
}

/// `?reason=…`
#[derive(Debug, Deserialize)]
struct Of {
    reason: Option<String>,
}

type Answered = Result<Response, Response>;

async fn ready(With(served): With<Served>) -> Response {
    Json(served.state.ready()).into_response()
}

async fn show(
    With(served): With<Served>,
    Path(what): Path<String>,
    Query(filter): Query<report::FlowFilter>,
) -> Response {
    let Some(what) = What::from_name(&what) else {
        let known: Vec<_> = What::ALL.iter().map(|what| what.name()).collect();
        let message = format!("nothing called `{what}` to show; there are {}", known.join(", "));
        return failure(StatusCode::NOT_FOUND, message);
    };
    let state = served.state;
    match what {
        What::Ports => Json(state.ports()).into_response(),
        // There may be very many.
        What::Routes => {
            let routes = body::aside(move || Ok(Json(state.routes()).into_response())).await;
            routes.unwrap_or_else(|failed| failed)
        }
        What::Peers => Json(state.peers()).into_response(),
        What::Neighbours => Json(state.neighbours()).into_response(),
        What::Fdb => Json(state.fdb()).into_response(),
        What::Acl => Json(state.acl()).into_response(),
        What::Flows => {
            let flows = body::aside(move || Ok(Json(state.flows(&filter)).into_response())).await;
            flows.unwrap_or_else(|failed| failed)
        }
        What::Drops => Json(state.drops()).into_response(),
        What::Workers => Json(state.workers()).into_response(),
    }
}

async fn samples(With(served): With<Served>, Query(of): Query<Of>) -> Answered {
    let reason = of.reason.map(|name| {
        drops::named(&name).ok_or_else(|| {
            let message = format!(
                "no drop reason is called `{name}`; expected one such as `route.source`: \
                 `cableway show drops --all` has them all"
            );
            failure(StatusCode::NOT_FOUND, message)
        })
    });
    Ok(Json(served.state.drop_samples(reason.transpose()?)).into_response())
}

async fn trace(With(served): With<Served>, body: Whole) -> Answered {
    let unprocessable = |problem| problems(StatusCode::UNPROCESSABLE_ENTITY, vec![problem]);
    let input = serde_json::from_value(body::json(&body.0)?)
        .map_err(|error| unprocessable(Problem::whole(error.to_string())))?;
    let traced = body::aside(move || Ok(served.state.trace(&input))).await?;
    let report = traced.map_err(|wrong| {
        unprocessable(Problem { pointer: wrong.pointer.to_owned(), message: wrong.message })
    })?;
    Ok(Json(report).into_response())
}

async fn openapi() -> Response {
    Json(super::document()).into_response()
}

impl Served {
    fn desired(&self) -> Arc<Desired> {
        self.state.desired.load_full()
    }

    async fn edit(&self, edit: Edit) -> Answered {
        match self.editor.edit(edit).await {
            Ok(changed) => {
                let generation = self.state.snapshot.load().generation;
                Ok(Json(Done { changed, generation }).into_response())
            }
            Err(refused) => Err(refused.into_response()),
        }
    }
}

async fn ports(With(served): With<Served>) -> Response {
    let ports = served.desired().ports().values().map(|entry| (*entry.value).clone()).collect();
    Json(PortList { ports }).into_response()
}

async fn port(With(served): With<Served>, Path(name): Path<String>) -> Answered {
    let desired = served.desired();
    let port = name.parse::<Name>().ok().and_then(|name| desired.ports().get(&name));
    let port = port.ok_or_else(|| desired.no_port(&name).into_response())?;
    Ok(Json(&*port.value).into_response())
}

async fn put_port(With(served): With<Served>, Path(name): Path<String>, body: Whole) -> Answered {
    let mut config = body::element("port", "name", &name, &body.0)?;
    let port = config.port.pop().expect("a list of one was read");
    served.edit(Edit::PutPort(Box::new(port))).await
}

async fn delete_port(With(served): With<Served>, Path(name): Path<String>) -> Answered {
    match name.parse() {
        Ok(name) => served.edit(Edit::DeletePort(name)).await,
        Err(_) => Err(served.desired().no_port(&name).into_response()),
    }
}

async fn peers(With(served): With<Served>) -> Response {
    let peers = served.desired().peers().values().map(|entry| (*entry.value).clone()).collect();
    Json(PeerList { peers }).into_response()
}

async fn peer(With(served): With<Served>, Path(name): Path<String>) -> Answered {
    let desired = served.desired();
    let peer = name.parse::<Name>().ok().and_then(|name| desired.peers().get(&name));
    let peer = peer.ok_or_else(|| desired.no_peer(&name).into_response())?;
    Ok(Json(&*peer.value).into_response())
}

async fn put_peer(With(served): With<Served>, Path(name): Path<String>, body: Whole) -> Answered {
    let mut config = body::element("peer", "name", &name, &body.0)?;
    let peer = config.peer.pop().expect("a list of one was read");
    served.edit(Edit::PutPeer(Box::new(peer))).await
}

async fn delete_peer(With(served): With<Served>, Path(name): Path<String>) -> Answered {
    match name.parse() {
        Ok(name) => served.edit(Edit::DeletePeer(name)).await,
        Err(_) => Err(served.desired().no_peer(&name).into_response()),
    }
}

async fn gateways(With(served): With<Served>) -> Response {
    let addresses = served.desired().gateways().iter().map(|entry| entry.value).collect();
    Json(AddressList { addresses }).into_response()
}

async fn gateway(With(served): With<Served>, Path(address): Path<String>) -> Answered {
    let (address, desired): (Unicast, _) = (in_path(&address)?, served.desired());
    if desired.gateways().iter().any(|entry| entry.value == address) {
        return Ok(Json(Address { address }).into_response());
    }
    Err(desired.no_gateway(address.ip()).into_response())
}

async fn put_gateway(With(served): With<Served>, Path(address): Path<String>) -> Answered {
    served.edit(Edit::PutGateway(in_path(&address)?)).await
}

async fn delete_gateway(With(served): With<Served>, Path(address): Path<String>) -> Answered {
    served.edit(Edit::DeleteGateway(in_path::<Unicast>(&address)?.ip())).await
}

async fn routes(With(served): With<Served>, Query(page): Query<Page>) -> Answered {
    let desired = served.desired();
    body::aside(move || Ok(Json(list(&desired, &page)).into_response())).await
}

fn list(desired: &Desired, page: &Page) -> RouteList {
    let limit = page.limit.unwrap_or(PAGE).clamp(1, MOST);
    let start = page.after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.net()));
    let mut rest = desired.routes().range((start, Bound::Unbounded));
    let routes = rest.by_ref().take(limit);
    let routes =
        routes.map(|(net, entry)| Route { prefix: (*net).into(), via: entry.value.clone() });
    let routes: Vec<_> = routes.collect();
    let next = rest.next().and_then(|_| Some(routes.last()?.prefix));
    RouteList { routes, next }
}

async fn batch(With(served): With<Served>, body: Whole) -> Answered {
    let RouteBatch { put, delete } = body::aside(move || body::batch(&body.0)).await?;
    served.edit(Edit::Routes(RouteEdits { put, delete })).await
}

async fn route(With(served): With<Served>, Path(prefix): Path<String>) -> Answered {
    let (prefix, desired): (Prefix, _) = (in_path(&prefix)?, served.desired());
    let entry = desired.routes().get(&prefix.net());
    let via = entry.ok_or_else(|| desired.no_route(&prefix).into_response())?.value.clone();
    Ok(Json(Route { prefix, via }).into_response())
}

async fn put_route(
    With(served): With<Served>,
    Path(prefix): Path<String>,
    body: Whole,
) -> Answered {
    let prefix: Prefix = in_path(&prefix)?;
    let config = body::element("route", "prefix", &prefix.to_string(), &body.0)?;
    let put = config.route;
    let answer = served.editor.edit(Edit::Routes(RouteEdits { put, delete: Vec::new() })).await;
    match answer {
        Ok(changed) => {
            let generation = served.state.snapshot.load().generation;
            Ok(Json(Done { changed, generation }).into_response())
        }
        // Its pointers are those of a batch of one.
        Err(Refused::Invalid(found)) => {
            let within = found.into_iter().map(|problem| Problem {
                pointer: problem.pointer.strip_prefix("/put/0").unwrap_or_default().to_owned(),
                ..problem
            });
            Err(Refused::Invalid(within.collect()).into_response())
        }
        Err(refused) => Err(refused.into_response()),
    }
}

async fn delete_route(With(served): With<Served>, Path(prefix): Path<String>) -> Answered {
    served.edit(Edit::DeleteRoute(in_path(&prefix)?)).await
}

async fn policies(With(served): With<Served>) -> Response {
    Json(served.desired().acls().sections(|_| true)).into_response()
}

async fn put_policies(With(served): With<Served>, body: Whole) -> Answered {
    let sections = body::aside(move || body::policies(&body.0)).await?;
    served.edit(Edit::PutAcls(Box::new(sections))).await
}

async fn replace_policies(With(served): With<Served>, body: Whole) -> Answered {
    let sections = body::aside(move || body::policies(&body.0)).await?;
    served.edit(Edit::ReplaceAcls(Box::new(sections))).await
}

/// One of what policies are made of.
fn one<T: Serialize + Named>(served: &Served, things: &Things<T>, name: &str) -> Answered {
    let found = name.parse::<Name>().ok().and_then(|name| things.get(&name));
    let found = found.ok_or_else(|| served.desired().no_such(T::KIND, name).into_response())?;
    Ok(Json(&*found.value).into_response())
}

/// Puts what `body` says under this name.
async fn put_one<T: Named>(served: &Served, name: &str, body: &Whole) -> Answered {
    let mut config = body::element(T::KIND, "name", name, &body.0)?;
    served.edit(Edit::PutAcls(Box::new(AclSections::take(&mut config)))).await
}

async fn delete_one<T: Named>(served: &Served, name: &str, of: fn(Name) -> AclName) -> Answered {
    match name.parse() {
        Ok(name) => served.edit(Edit::DeleteAcl(of(name))).await,
        Err(_) => Err(served.desired().no_such(T::KIND, name).into_response()),
    }
}

async fn policy(With(served): With<Served>, Path(name): Path<String>) -> Answered {
    one(&served, &served.desired().acls().policies, &name)
}

async fn put_policy(With(served): With<Served>, Path(name): Path<String>, body: Whole) -> Answered {
    put_one::<Policy>(&served, &name, &body).await
}

async fn delete_policy(With(served): With<Served>, Path(name): Path<String>) -> Answered {
    delete_one::<Policy>(&served, &name, AclName::Policy).await
}

async fn set(With(served): With<Served>, Path(name): Path<String>) -> Answered {
    one(&served, &served.desired().acls().sets, &name)
}

async fn put_set(With(served): With<Served>, Path(name): Path<String>, body: Whole) -> Answered {
    put_one::<Set>(&served, &name, &body).await
}

async fn delete_set(With(served): With<Served>, Path(name): Path<String>) -> Answered {
    delete_one::<Set>(&served, &name, AclName::Set).await
}

async fn endpoint(With(served): With<Served>, Path(name): Path<String>) -> Answered {
    one(&served, &served.desired().acls().endpoints, &name)
}

async fn put_endpoint(
    With(served): With<Served>,
    Path(name): Path<String>,
    body: Whole,
) -> Answered {
    put_one::<Elsewhere>(&served, &name, &body).await
}

async fn delete_endpoint(With(served): With<Served>, Path(name): Path<String>) -> Answered {
    delete_one::<Elsewhere>(&served, &name, AclName::Endpoint).await
}

async fn dump(With(served): With<Served>) -> Answered {
    let desired = served.desired();
    Ok(body::toml(body::aside(move || Ok(desired.whole_config().to_toml())).await?))
}

async fn apply(With(served): With<Served>, Query(file): Query<File>, body: Whole) -> Answered {
    let file = file.file.unwrap_or_else(|| "config".to_owned());
    let text = body::text(&body.0)?.to_owned();
    let (config, text, file) = body::aside(move || {
        let config = Config::parse(&text, &file);
        let config = config.map_err(|errors| {
            let lines = errors.to_string();
            let found = lines.lines().map(Problem::whole).collect();
            problems(StatusCode::UNPROCESSABLE_ENTITY, found)
        })?;
        Ok((config, text, file))
    })
    .await?;
    match served.editor.edit(Edit::Apply(Box::new(config))).await {
        Err(Refused::Fixed(fixed)) => {
            Err(problems(StatusCode::CONFLICT, located(&file, &text, &fixed)))
        }
        Err(refused) => Err(refused.into_response()),
        Ok(changed) => {
            let generation = served.state.snapshot.load().generation;
            Ok(Json(Done { changed, generation }).into_response())
        }
    }
}

fn located(file: &str, text: &str, fixed: &[Fixed]) -> Vec<Problem> {
    orders::locate(file, text, fixed).to_string().lines().map(Problem::whole).collect()
}

/// A value in the path.
fn in_path<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Response> {
    text.parse().map_err(|error: T::Err| {
        problems(StatusCode::UNPROCESSABLE_ENTITY, vec![Problem::whole(error.to_string())])
    })
}

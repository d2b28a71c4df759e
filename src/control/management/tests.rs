#![allow(clippy::unwrap_used)]

use super::*;
use crate::control::desired::plan::plan;
use crate::control::orders;
use crate::control::report::{self, What};
use crate::control::state::tests::state;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

/// A daemon without a machine: what is asked for is so at once.
struct Fake {
    router: Router,
}

impl Fake {
    fn new() -> Fake {
        let state = Arc::new(state());
        let (editor, mut requests) = orders::editor();
        let node = state.clone();
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                let old = node.desired.load_full();
                let new = old.edit(request.edit);
                let result = new.and_then(|new| match plan(&old, &new) {
                    Ok(plan) => {
                        node.desired.store(Arc::new(new));
                        Ok(!plan.is_empty())
                    }
                    Err(fixed) => Err(Refused::Fixed(fixed)),
                });
                let _ = request.answer.send(result);
            }
        });
        Fake { router: router(Served { state, editor }) }
    }

    async fn ask(&self, method: &str, path: &str, body: impl Into<Body>) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (
            status,
            serde_json::from_slice(&body).unwrap_or_else(|_| json!(str::from_utf8(&body).unwrap())),
        )
    }

    async fn json(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.ask(method, path, body.to_string()).await
    }
}

async fn ask(method: &str, path: &str) -> (u16, Value) {
    Fake::new().ask(method, path, Body::empty()).await
}

fn port() -> Value {
    json!({ "kind": "tun", "netns": "p", "device": "eth0", "addresses": ["10.0.1.7/24"] })
}

#[tokio::test]
async fn things_are_put_told_listed_and_deleted() {
    let fake = Fake::new();
    let peer = json!({ "address": "192.168.77.3", "tunnel": "vxlan", "subnets": ["10.0.3.0/24"] });
    let route = json!({ "via": { "peer": "b" } });
    let things = [
        ("/v1/ports/a/7", Some(port()), "name", "a/7"),
        ("/v1/peers/c", Some(peer), "name", "c"),
        ("/v1/routes/10.9.0.0%2F16", Some(route), "prefix", "10.9.0.0/16"),
        ("/v1/gateway/addresses/10.0.1.1", None, "address", "10.0.1.1"),
    ];
    for (path, body, key, value) in things {
        let body = || body.clone().map_or_else(String::new, |body| body.to_string());
        let (status, done) = fake.ask("PUT", path, body()).await;
        assert_eq!((status, &done["changed"]), (200, &json!(true)), "{path}: {done}");
        let (_, done) = fake.ask("PUT", path, body()).await;
        assert_eq!(done["changed"], json!(false), "{path}");
        if !key.is_empty() {
            let (status, told) = fake.ask("GET", path, "").await;
            assert_eq!((status, &told[key]), (200, &json!(value)), "{path}: {told}");
            let (_, done) = fake.json("PUT", path, told).await;
            assert_eq!(done["changed"], json!(false), "what is told can be put");
        }
        let (list, _) = path.rsplit_once('/').unwrap();
        let (status, told) = fake.ask("GET", list.trim_end_matches("/a"), "").await;
        assert_eq!(status, 200, "{list}: {told}");
    }
    let (_, dumped) = fake.ask("GET", "/v1/config", "").await;
    let dumped = dumped.as_str().unwrap().to_owned();
    assert!(dumped.contains("a/7") && dumped.contains("10.9.0.0/16"), "{dumped}");
    for (path, ..) in [("/v1/ports/a/7", 0), ("/v1/peers/c", 0), ("/v1/routes/10.9.0.0/16", 0)] {
        assert_eq!(fake.ask("DELETE", path, "").await.0, 200, "{path}");
        let (status, gone) = fake.ask("DELETE", path, "").await;
        assert_eq!(status, 404, "{path}: {gone}");
        assert_eq!(fake.ask("GET", path, "").await.0, 404, "{path}");
    }
    let (status, done) = fake.ask("PUT", "/v1/config", dumped).await;
    assert_eq!((status, &done["changed"]), (200, &json!(true)), "{done}");
    assert_eq!(fake.ask("GET", "/v1/ports/a/7", "").await.0, 200);
}

#[tokio::test]
async fn routes_come_in_batches_and_pages() {
    let fake = Fake::new();
    let put =
        (0..250_u32).map(|i| json!({ "prefix": format!("10.7.{i}.0/24"), "via": "blackhole" }));
    let batch = json!({ "put": put.collect::<Vec<_>>(), "delete": ["10.250.0.0/16"] });
    assert_eq!(fake.json("POST", "/v1/routes", batch.clone()).await.1["changed"], json!(true));
    assert_eq!(fake.json("POST", "/v1/routes", batch).await.1["changed"], json!(false));
    let (mut seen, mut query) = (0, "?limit=100".to_owned());
    loop {
        let (_, page) = fake.ask("GET", &format!("/v1/routes{query}"), "").await;
        seen += page["routes"].as_array().unwrap().len();
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=100&after={next}");
    }
    assert_eq!(seen, 250);
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_place() {
    let fake = Fake::new();
    let mut bad = port();
    bad["mtu"] = json!("large");
    bad["adresses"] = json!([]);
    let route = |prefix: &str, via: Value| json!({ "prefix": prefix, "via": via });
    let wrong = [
        ("PUT", "/v1/ports/x", "{ \"kind\":".to_owned(), 400, None),
        ("PUT", "/v1/ports/x", "[]".to_owned(), 422, Some("")),
        ("PUT", "/v1/ports/x", bad.to_string(), 422, Some("/mtu")),
        ("PUT", "/v1/ports/x", bad.to_string(), 422, Some("/adresses")),
        ("PUT", "/v1/ports/x", json!({ "name": "y" }).to_string(), 422, Some("/name")),
        ("PUT", "/v1/ports/x%20y", port().to_string(), 422, Some("/name")),
        ("PUT", "/v1/peers/x", json!({}).to_string(), 422, Some("")),
        ("PUT", "/v1/routes/10.0.0.1%2F8", json!({}).to_string(), 422, Some("")),
        (
            "PUT",
            "/v1/routes/10.0.0.0/8",
            route("10.0.0.0/8", json!({ "peer": "z" })).to_string(),
            422,
            Some("/via/peer"),
        ),
        (
            "POST",
            "/v1/routes",
            json!({ "put": [route("10.6.0.0/16", json!("no"))] }).to_string(),
            422,
            Some("/put/0/via"),
        ),
        ("POST", "/v1/routes", json!({ "puts": [] }).to_string(), 422, Some("/puts")),
        ("POST", "/v1/routes", json!({ "delete": ["x"] }).to_string(), 422, Some("/delete/0")),
        ("POST", "/v1/routes", json!({ "put": 7 }).to_string(), 422, Some("/put")),
        ("PUT", "/v1/gateway/addresses/10.0.1.2", String::new(), 422, Some("")),
        ("PUT", "/v1/config", "[node".to_owned(), 422, Some("")),
        ("PUT", "/v1/config", "[node]\nname = 'z'".to_owned(), 409, Some("")),
        ("DELETE", "/v1/gateway/addresses/fd00::2", String::new(), 404, None),
        ("DELETE", "/v1/ports/nobody", String::new(), 404, None),
        ("DELETE", "/v1/ready", String::new(), 405, None),
        ("GET", "/v1/routes?limit=many", String::new(), 400, None),
        ("GET", "/v1/ports/%ff", String::new(), 400, None),
        ("POST", "/v2", String::new(), 404, None),
    ];
    for (method, path, body, expected, pointer) in wrong {
        let (status, answer) = fake.ask(method, path, body).await;
        assert_eq!(status, expected, "{method} {path}: {answer}");
        assert!(answer["error"].is_string(), "{method} {path}: {answer}");
        if let Some(pointer) = pointer {
            let told = answer["problems"].as_array().unwrap();
            assert!(told.iter().any(|told| told["pointer"] == pointer), "{path}: {answer}");
        }
    }
    assert_eq!(
        fake.json(
            "POST",
            "/v1/routes",
            json!({ "put": [route("10.6.0.0/16", json!({ "port": "a1" }))] })
        )
        .await
        .0,
        200
    );
    let (status, answer) = fake.ask("DELETE", "/v1/ports/a1", "").await;
    assert_eq!(status, 409);
    assert!(
        answer["error"].as_str().unwrap().contains("in use by a route: 10.6.0.0/16"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_unread() {
    let fake = Fake::new();
    let unread = Body::from_stream(futures::stream::once(async {
        panic!("nothing is read of it");
        #[allow(unreachable_code)]
        Ok::<Vec<u8>, std::io::Error>(Vec::new())
    }));
    let request = Request::builder().method("POST").uri("/v1/routes");
    let request = request.header("content-length", 100_000_000).body(unread).unwrap();
    assert_eq!(fake.router.clone().oneshot(request).await.unwrap().status(), 413);
    // Nor is more read than is taken of one that does not say how long it is.
    let chunk = || Ok::<_, std::io::Error>(vec![b' '; 1 << 20]);
    let endless = Body::from_stream(futures::stream::repeat_with(chunk));
    let request = Request::builder().method("POST").uri("/v1/routes").body(endless).unwrap();
    assert_eq!(fake.router.clone().oneshot(request).await.unwrap().status(), 413);
}

/// The document is what the code says, and all in it is served.
#[tokio::test]
async fn the_openapi_document_is_true() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let document = document();
    let text = serde_json::to_string_pretty(&document).unwrap() + "\n";
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let file = std::fs::read_to_string(path).unwrap_or_default();
    assert!(file == text, "{path} is not what the code says; UPDATE_EXPECT=1 makes it so");
    assert_eq!(ask("GET", "/v1/openapi.json").await.1, document);
    for (method, template) in ENDPOINTS.iter().map(openapi::Endpoint::line) {
        assert!(document["paths"][&template][method].is_object(), "{method} {template}");
        let path = template.replace("{prefix}", "10.0.0.0/8").replace("{what}", "ports");
        let path = path.replace("{name}", "x").replace("{address}", "10.0.0.1");
        let (status, answer) = ask(&method.to_uppercase(), &path).await;
        let is_served = status != 405 && !answer["error"].to_string().contains("no such path");
        assert!(is_served, "{method} {path}: {status} {answer}");
    }
    // Every reference leads somewhere.
    for reference in text.split("\"$ref\": \"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}

#[tokio::test]
async fn everything_there_is_to_show_is_answered() {
    for what in What::ALL {
        let (status, value) = ask("GET", &format!("/v1/show/{}", what.name())).await;
        assert_eq!(status, 200, "{}", what.name());
        let list = value[what.name()].as_array();
        assert!(list.is_some_and(|list| !list.is_empty()), "{}: {value}", what.name());
    }
}

#[tokio::test]
async fn ready_names_the_node() {
    let (status, value) = ask("GET", "/v1/ready").await;
    assert_eq!(status, 200);
    assert_eq!((value["ready"].as_bool(), value["node"].as_str()), (Some(true), Some("a")));
}

#[tokio::test]
async fn what_is_not_there_is_refused_with_words() {
    let (status, value) = ask("GET", "/v1/show/nonsense").await;
    assert_eq!(status, 404);
    let error = value["error"].as_str().unwrap();
    assert!(error.contains("`nonsense`") && error.contains("neighbours"), "{error}");
    let (status, value) = ask("GET", "/metrics").await;
    assert_eq!(status, 404);
    assert!(value["error"].as_str().unwrap().contains("/metrics"));
    let (status, value) = ask("DELETE", "/v1/show/ports").await;
    assert_eq!(status, 405);
    assert!(value["error"].as_str().unwrap().contains("DELETE"));
}

#[test]
fn a_client_reads_what_the_server_says() {
    let path = std::env::temp_dir().join(format!("ctl-{}-client.sock", std::process::id()));
    let text = format!("[node]\nname = 'a'\nsocket = {path:?}");
    let node = crate::config::Config::parse(&text, "test.toml").unwrap().node;
    let socket = Socket::bind(&node).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                _ = serve(&socket, Arc::new(state()), orders::editor().0) => unreachable!("it serves on"),
                _ = stopped => {}
            }
        });
    });
    let drops: report::Drops = client::get(&path, "/v1/show/drops").unwrap();
    assert_eq!(drops, state().drops());
    let error = client::get::<report::Ready>(&path, "/v1/nothing").unwrap_err().to_string();
    assert!(error.contains("404"), "{error}");
    drop(stop);
    server.join().unwrap();
    assert!(!path.exists());
}

#[test]
fn a_client_without_a_daemon_says_what_to_do() {
    let path = std::env::temp_dir().join(format!("ctl-{}-none.sock", std::process::id()));
    let error = client::get::<report::Ready>(&path, "/v1/ready").unwrap_err().to_string();
    assert!(error.contains("cableway run"), "{error}");
}

#[tokio::test]
async fn the_latest_dropped_frames_are_told() {
    let fake = Fake::new();
    let (status, all) = fake.ask("GET", "/v1/drops/samples", Body::empty()).await;
    assert_eq!(status, 200, "{all}");
    let samples = all["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 2);
    let told = ["reason", "port", "packet"].map(|key| samples[0][key].as_str().unwrap());
    assert_eq!(told, ["port.full", "a1", "(nothing of it was received)"]);
    let (_, same) = fake.ask("GET", "/v1/drops/samples?reason=port.full", Body::empty()).await;
    assert_eq!(same["samples"].as_array().unwrap().len(), 2);
    let (_, none) = fake.ask("GET", "/v1/drops/samples?reason=parse.vlan", Body::empty()).await;
    assert_eq!(none["samples"], json!([]));
    let (status, error) = fake.ask("GET", "/v1/drops/samples?reason=full", Body::empty()).await;
    assert_eq!(status, 404);
    assert!(error["error"].as_str().unwrap().contains("`route.source`"), "{error}");
}

#[tokio::test]
async fn packets_are_traced() {
    let fake = Fake::new();
    let input = json!({ "port": "a1", "packet": "udp 10.0.1.2:1 > 10.99.0.1:2" });
    let (status, report) = fake.json("POST", "/v1/trace", input).await;
    assert_eq!(status, 200, "{report}");
    let outcome = &report["frames"][0]["outcome"];
    assert_eq!(outcome["is"], "dropped", "{report}");
    let wrong = [
        (json!({ "port": "a1", "packet": "udp 10.0.1.2:1" }), "/packet", "expected `>`"),
        (json!({ "port": "zz", "packet": "icmp 10.0.1.2 > 10.0.1.3" }), "/port", "one of eth0, a1"),
        (json!({ "prot": "a1" }), "", "unknown field `prot`"),
    ];
    for (input, pointer, message) in wrong {
        let (status, error) = fake.json("POST", "/v1/trace", input).await;
        assert_eq!((status, &error["problems"][0]["pointer"]), (422, &json!(pointer)), "{error}");
        let told = error["problems"][0]["message"].as_str().unwrap();
        assert!(told.contains(message), "{error}");
    }
}

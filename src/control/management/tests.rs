#![allow(clippy::unwrap_used)]

use super::*;
use crate::control::orders;
use crate::control::report;
use crate::control::state::tests::state;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

async fn ask(method: &str, path: &str) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let response = router(Arc::new(state())).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
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

//! The management socket: HTTP and JSON on a Unix socket, for the command line, for scripts, and for
//! programs that tell the node what pods, peers and routes there are.
//!
//! [`ENDPOINTS`] is the list of what may be asked; the router and the OpenAPI document are made of it.
//! A request is read whole before anything is done about it, so that a client that dies leaves nothing
//! half done; how long that may take, how much it may be, and how many may come at once, is bounded.
//!
//! Everything that is not done is answered with a JSON body, [`Failure`]. Who may open the socket may
//! ask: whose it is says the config.

mod api;
mod body;
pub mod client;
mod given;
mod openapi;
mod socket;

pub use api::{AddressList, Done, PeerList, PortList, RouteBatch, RouteList};
pub use openapi::document;
pub use socket::{Socket, SocketError};

use super::desired::Refused;
use super::orders::Editor;
use super::report::Failure;
use super::state::State;
use crate::config::edit::Problem;
use api::ENDPOINTS;
use axum::Json;
use axum::Router;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long a client may take to say what it wants, up to the body.
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection is kept, whatever it is used for.
const CONNECTION: Duration = Duration::from_secs(300);
/// Connections at once. Others wait to be taken.
const CONNECTIONS: usize = 128;
/// How long nobody is taken when that fails: there are no descriptors left.
const REST: Duration = Duration::from_millis(100);

/// Bytes of a refusal that are passed on.
const REFUSAL: usize = 4096;

/// What requests are about.
#[derive(Clone)]
pub struct Served {
    /// What there is to tell.
    pub state: Arc<State>,
    /// Where to ask for something else.
    pub editor: Editor,
}

/// Answers on `socket` until it is dropped with the future.
///
/// # Errors
/// When the socket can't be listened on; a failing connection is not an error.
pub async fn serve(socket: &Socket, state: Arc<State>, editor: Editor) -> io::Result<()> {
    let listener = socket.listener()?;
    let service = TowerToHyperService::new(router(Served { state, editor }));
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = room.clone().acquire_owned().await.expect("the semaphore is never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("management socket: taking a connection: {error}");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD);
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        tokio::spawn(async move {
            // What goes wrong with a client is the client's to see.
            let _ = tokio::time::timeout(CONNECTION, connection).await;
            drop(place);
        });
    }
}

/// All that may be asked.
pub fn router(served: Served) -> Router {
    let router = ENDPOINTS.iter().fold(Router::new(), |router, endpoint| {
        router.route(&endpoint.pattern(), (endpoint.serve)())
    });
    router
        .method_not_allowed_fallback(refuse_method)
        .fallback(refuse_path)
        .layer(axum::middleware::map_response(in_json))
        .with_state(served)
}

/// What axum refuses itself, such as a query that it can't read, it refuses in plain text.
async fn in_json(response: Response) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE);
    if !response.status().is_client_error() || kind.is_some_and(|kind| kind == "application/json") {
        return response;
    }
    let status = response.status();
    let text = axum::body::to_bytes(response.into_body(), REFUSAL).await.unwrap_or_default();
    failure(status, String::from_utf8_lossy(&text).into_owned())
}

async fn refuse_path(uri: Uri) -> Response {
    let message =
        format!("no such path: {}; GET /v1/openapi.json tells which there are", uri.path());
    failure(StatusCode::NOT_FOUND, message)
}

async fn refuse_method(method: Method, uri: Uri) -> Response {
    let message = format!(
        "{method} is not understood for {}; GET /v1/openapi.json tells what is",
        uri.path()
    );
    failure(StatusCode::METHOD_NOT_ALLOWED, message)
}

fn failure(status: StatusCode, error: String) -> Response {
    (status, Json(Failure { error, problems: Vec::new() })).into_response()
}

/// The answer to a request that is wrong in so many places.
fn problems(status: StatusCode, problems: Vec<Problem>) -> Response {
    let error = match &problems[..] {
        [only] => only.message.clone(),
        [first, others @ ..] => format!("{}; and {} more", first.message, others.len()),
        [] => "the request was refused".to_owned(),
    };
    (status, Json(Failure { error, problems })).into_response()
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let all = |fixed: Vec<super::desired::plan::Fixed>| {
            fixed.into_iter().map(|fixed| Problem::whole(fixed.message)).collect()
        };
        match self {
            Refused::Invalid(found) => problems(StatusCode::UNPROCESSABLE_ENTITY, found),
            Refused::Missing(message) => failure(StatusCode::NOT_FOUND, message),
            Refused::Conflict(found) => problems(StatusCode::CONFLICT, found),
            Refused::Fixed(fixed) => problems(StatusCode::CONFLICT, all(fixed)),
            Refused::Failed(message) => failure(StatusCode::CONFLICT, message),
            Refused::Ending => failure(StatusCode::SERVICE_UNAVAILABLE, self.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;

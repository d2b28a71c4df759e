//! The management socket: HTTP and JSON on a Unix socket, for the command line and for scripts.
//!
//! ```text
//! GET /v1/ready          the daemon is at work
//! GET /v1/show/<what>    one of report::What; the types are those of `report`
//! ```
//!
//! Everything else is answered with 404 or 405 and a JSON body `{"error": "…"}`. Who may open the
//! socket may ask: it belongs to the daemon's user alone.

pub mod client;
mod socket;

pub use socket::{Socket, SocketError};

use super::orders::Editor;
use super::report::{Failure, What};
use super::state::State;
use axum::Json;
use axum::Router;
use axum::extract::Path;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::io;
use std::sync::Arc;

/// Answers on `socket` until it is dropped with the future.
///
/// # Errors
/// When the socket fails as a whole; a failing connection is not an error.
pub async fn serve(socket: &Socket, state: Arc<State>, _editor: Editor) -> io::Result<()> {
    axum::serve(socket.listener()?, router(state)).await
}

/// All that may be asked.
pub fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/v1/ready", get(ready))
        .route("/v1/show/{what}", get(show))
        .method_not_allowed_fallback(refuse_method)
        .fallback(refuse_path)
        .with_state(state)
}

async fn ready(state: axum::extract::State<Arc<State>>) -> Response {
    Json(state.ready()).into_response()
}

async fn show(state: axum::extract::State<Arc<State>>, Path(what): Path<String>) -> Response {
    let Some(what) = What::from_name(&what) else {
        let known: Vec<_> = What::ALL.iter().map(|what| what.name()).collect();
        let message = format!("nothing called `{what}` to show; there are {}", known.join(", "));
        return failure(StatusCode::NOT_FOUND, message);
    };
    match what {
        What::Ports => Json(state.ports()).into_response(),
        What::Routes => Json(state.routes()).into_response(),
        What::Peers => Json(state.peers()).into_response(),
        What::Neighbours => Json(state.neighbours()).into_response(),
        What::Fdb => Json(state.fdb()).into_response(),
        What::Drops => Json(state.drops()).into_response(),
        What::Workers => Json(state.workers()).into_response(),
    }
}

async fn refuse_path(uri: Uri) -> Response {
    let message = format!("no such path: {}; there are /v1/ready and /v1/show/<what>", uri.path());
    failure(StatusCode::NOT_FOUND, message)
}

async fn refuse_method(method: Method, uri: Uri) -> Response {
    let message = format!("{method} is not understood for {}; ask with GET", uri.path());
    failure(StatusCode::METHOD_NOT_ALLOWED, message)
}

fn failure(status: StatusCode, error: String) -> Response {
    (status, Json(Failure { error })).into_response()
}

#[cfg(test)]
mod tests;

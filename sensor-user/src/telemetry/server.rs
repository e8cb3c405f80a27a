//! The page Prometheus reads.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use tokio::net::TcpListener;

/// Why the metrics cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Somebody else has the port.
    #[error(
        "cannot serve metrics at {0}: the port is in use, maybe by another daemon; give another with --metrics, or \
         metrics_listen = \"off\" in the configuration"
    )]
    InUse(SocketAddr),
    /// The system refuses.
    #[error("cannot serve metrics at {address}: {source}; give another address with --metrics")]
    Io {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// Listens at the address.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, TelemetryError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => TelemetryError::InUse(address),
        _ => TelemetryError::Io { address, source },
    })
}

/// Serves the metrics until dropped.
pub async fn serve(listener: TcpListener, registry: Registry) -> io::Result<()> {
    let pages = Router::new().route("/", get(front)).route("/metrics", get(metrics)).with_state(registry);
    axum::serve(listener, pages).await
}

async fn front() -> Html<&'static str> {
    Html("<!doctype html><title>Sekisho</title><p>Sekisho: <a href=\"/metrics\">metrics</a></p>\n")
}

async fn metrics(State(registry): State<Registry>) -> Response {
    match text(&registry) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// All metrics in Prometheus' text format.
pub fn text(registry: &Registry) -> Result<String, prometheus::Error> {
    TextEncoder::new().encode_to_string(&registry.gather())
}

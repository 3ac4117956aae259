//! Who may come in: whoever has the token, from this machine, and no web page.
// spec: API-1

use super::State;
use super::serve::Guest;
use axum::Json;
use axum::extract::{Request, State as Extract};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use mesh_node::{CommandError, ErrorKind};
use serde_json::json;

/// An error as the API gives it.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    error: String,
    hint: Option<String>,
    kind: &'static str,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, error: impl Into<String>, hint: Option<&str>) -> Self {
        let kind = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "forbidden",
            StatusCode::NOT_FOUND => "not-found",
            StatusCode::CONFLICT => "conflict",
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => "invalid",
            _ => "unavailable",
        };
        Self { status, error: error.into(), hint: hint.map(str::to_owned), kind }
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let (status, kind) = match error.kind {
            ErrorKind::Invalid => (StatusCode::BAD_REQUEST, "invalid"),
            ErrorKind::NotFound => (StatusCode::NOT_FOUND, "not-found"),
            ErrorKind::Ambiguous => (StatusCode::CONFLICT, "ambiguous"),
            ErrorKind::Conflict => (StatusCode::CONFLICT, "conflict"),
            ErrorKind::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        Self { status, error: error.message, hint: error.hint, kind }
    }
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        let hint = match error.kind() {
            std::io::ErrorKind::StorageFull => Some("free some space on the disk of this peer's data folder"),
            std::io::ErrorKind::QuotaExceeded => Some(
                "start the peer with a larger --disk, or wait: what was given to tasks that have ended goes within an hour",
            ),
            _ => None,
        };
        let status = match error.kind() {
            std::io::ErrorKind::NotFound => StatusCode::NOT_FOUND,
            std::io::ErrorKind::FileTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            std::io::ErrorKind::QuotaExceeded => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string(), hint)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.error, "hint": self.hint, "kind": self.kind });
        (self.status, Json(body)).into_response()
    }
}

/// Is this the name or address of this very machine, with or without a port?
fn is_here(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A header that is given once; of two, nobody knows which another program would believe.
fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut given = headers.get_all(name).iter();
    let value = given.next()?.to_str().ok()?;
    given.next().is_none().then_some(value)
}

/// Compares without telling by its time where two texts differ.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

fn refuse(state: &State, headers: &HeaderMap) -> Option<Problem> {
    let forbidden =
        |what: &str, hint| Problem::new(StatusCode::FORBIDDEN, format!("use the API: {what}"), Some(hint));
    // A name that resolves here by somebody else's doing is how a web page would get in.
    let host = text(headers, header::HOST).is_some_and(|host| state.remote || is_here(host));
    if !host {
        return Some(forbidden("it was not asked for by this machine's name", "ask 127.0.0.1 or localhost"));
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let own = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
        if own.is_none() || own != text(headers, header::HOST) {
            return Some(forbidden("a web page of another origin asked", "programs send no Origin header"));
        }
    }
    let given = text(headers, header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    if given.is_none_or(|given| !same(given, &state.token)) {
        return Some(Problem::new(
            StatusCode::UNAUTHORIZED,
            "use the API: the token is missing or wrong",
            Some(
                "send `Authorization: Bearer TOKEN` with the token from api.json in this peer's data folder",
            ),
        ));
    }
    None
}

/// Lets in whom it may.
pub(crate) async fn guard(Extract(state): Extract<State>, request: Request, next: Next) -> Response {
    let refused = refuse(&state, request.headers()).or_else(|| {
        let stays = request.extensions().get::<Guest>().is_none_or(Guest::shows_token);
        (!stays)
            .then(|| Problem::new(StatusCode::REQUEST_TIMEOUT, "use the API: the token came too late", None))
    });
    match refused {
        // Whoever was refused is not heard again on this connection, since each answer holds a place until it is read.
        Some(problem) => ([(header::CONNECTION, "close")], problem).into_response(),
        None => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: API-1
    #[test]
    fn only_this_machine_is_here() {
        for here in ["127.0.0.1", "127.0.0.1:80", "localhost:1", "LOCALHOST", "[::1]:8", "127.9.9.9:1"] {
            assert!(is_here(here), "{here}");
        }
        for there in [
            "",
            "example.org",
            "127.0.0.1.example.org",
            "localhost.example.org:1",
            "10.0.0.1",
            "[::2]:1",
            ":80",
        ] {
            assert!(!is_here(there), "{there}");
        }
    }

    #[test]
    fn tokens_are_compared_whole() {
        assert!(same("abc", "abc"));
        assert!(!same("abc", "abd") && !same("abc", "ab") && !same("", "a"));
    }
}

//! The command line's side of the HTTP API: asks the running node, and waits for its answer.
// spec: API-1

mod transfer;

pub(crate) use transfer::Download;

use crate::api::{FILE, Published, is_served};
use crate::exit_codes;
use crate::failure::{Failure, Result};
use crate::home::Home;
use crate::keys;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// How long the node may take for what it answers from what it knows.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most bytes of an answer that is read whole: ten thousand tasks with their sentences.
const MAX_ANSWER: usize = 64 << 20;

type Body = BoxBody<Bytes, Infallible>;

/// Speaks to this machine's node. Cheap to clone; every request has a connection of its own.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    addr: SocketAddr,
    token: String,
    /// Where that stood.
    published: Arc<File>,
    path: PathBuf,
}

fn not_running() -> Failure {
    let place = Home::find().map_or_else(|_| String::new(), |home| format!(" in {}", home.data().display()));
    Failure::new(format!("ask the node: the node is not running{place}"))
        .hint("start it with `mesh up`")
        .code(exit_codes::NODE_NOT_RUNNING)
}

/// The same of a folder in which no node has written where it listens.
// spec: CLI-5
fn not_started(folder: &Path) -> Failure {
    match folder.join(keys::DEVICE).exists() {
        true => not_running(),
        false => not_running().hint(format!(
            "there are no keys in {}: make them with `mesh init` and start it with `mesh up`, or name its folder with --home",
            folder.display()
        )),
    }
}

fn broken(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::because("ask the node: the connection broke", error)
        .hint("`mesh status` says whether it still runs")
        .code(exit_codes::NODE_NOT_RUNNING)
}

/// One part of an address that names something. An empty one is another address, where something else is.
// spec: CLI-5
pub(crate) fn named(what: &str, text: &str, lists: &str) -> Result<String> {
    match text {
        "" => Err(Failure::new(format!("find the {what}: its name is empty"))
            .hint(format!("give its name or the beginning of its id or key; {lists}"))),
        _ => Ok(segment(text)),
    }
}

/// One part of an address, whatever is in it.
pub(crate) fn segment(text: &str) -> String {
    let mut path = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => path.push(char::from(byte)),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

fn runtime() -> Result<Runtime> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Failure::because("ask the node", &error))
}

impl Client {
    /// Finds the node that runs on these folders.
    pub(crate) fn find() -> Result<Self> {
        Self::by(Home::find()?.data())
    }

    fn by(data: &Path) -> Result<Self> {
        let path = data.join(FILE);
        let unreadable = |error| Failure::file("find the node by", &path, &error);
        let mut published = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(not_started(data)),
            Err(error) => return Err(unreadable(error)),
        };
        let mut bytes = Vec::new();
        published.read_to_end(&mut bytes).map_err(unreadable)?;
        let Published { mut addr, token, .. } = serde_json::from_slice(&bytes).map_err(|error| {
            Failure::because(format!("find the node by {}", path.display()), &error)
                .hint("start it anew with `mesh up`")
        })?;
        if addr.ip().is_unspecified() {
            // It listens everywhere, so here too.
            addr.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        Ok(Self { addr, token, published: Arc::new(published), path })
    }

    /// Asks for what there is.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        self.ask(Method::GET, path, None, Some(PATIENCE))
    }

    /// Asks for what there is, as a type of its own.
    pub(crate) fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        understand(self.get(path)?)
    }

    /// Has something done.
    pub(crate) fn post(&self, path: &str, body: &impl Serialize) -> Result<Value> {
        self.ask(Method::POST, path, Some(json(body)?), Some(PATIENCE))
    }

    /// Has something done that takes as long as others take.
    pub(crate) fn post_patiently(&self, path: &str, body: &impl Serialize) -> Result<Value> {
        self.ask(Method::POST, path, Some(json(body)?), None)
    }

    /// Has something set.
    pub(crate) fn put(&self, path: &str, body: &impl Serialize) -> Result<Value> {
        self.ask(Method::PUT, path, Some(json(body)?), Some(PATIENCE))
    }

    /// Has something ended.
    pub(crate) fn delete(&self, path: &str) -> Result<Value> {
        self.ask(Method::DELETE, path, None, Some(PATIENCE))
    }

    fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        patience: Option<Duration>,
    ) -> Result<Value> {
        let kind = body.is_some().then_some("application/json");
        let body = Full::new(body.unwrap_or_default()).boxed();
        runtime()?.block_on(async {
            let asked = async { whole(self.send(method, path, kind, body).await?).await };
            let late = || {
                Failure::new(format!("ask the node: it did not answer within {} s", PATIENCE.as_secs()))
                    .hint("`mesh up` prints what it is busy with")
            };
            match patience {
                Some(patience) => tokio::time::timeout(patience, asked).await.map_err(|_| late())?,
                None => asked.await,
            }
        })
    }

    fn request(&self, method: Method, path: &str, kind: Option<&str>, body: Body) -> Result<Request<Body>> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.addr.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        request.body(body).map_err(|error| Failure::because("ask the node", &error))
    }

    async fn connect(&self) -> Result<http1::SendRequest<Body>> {
        let stream = TcpStream::connect(self.addr).await.map_err(|error| match error.kind() {
            ErrorKind::ConnectionRefused => not_running(),
            _ => broken(&error),
        })?;
        // Now that somebody is there: a peer that was killed has left its address to whoever takes it, and they would be
        // told the token and all that is asked.
        match is_served(&self.published) {
            Ok(true) => {}
            Ok(false) => return Err(not_running()),
            Err(error) => return Err(Failure::file("find the node by", &self.path, &error)),
        }
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        // Its errors are those of the request, too.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    /// Sends a request; an answer that tells of an error is one.
    async fn send(
        &self,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: Body,
    ) -> Result<Response<Incoming>> {
        let request = self.request(method, path, kind, body)?;
        let response = self.connect().await?.send_request(request).await;
        checked(response.map_err(|error| broken(&error))?).await
    }
}

fn json(body: &impl Serialize) -> Result<Bytes> {
    let bytes = serde_json::to_vec(body).map_err(|error| Failure::because("write JSON", &error))?;
    Ok(bytes.into())
}

/// What the node answered, as a type.
pub(crate) fn understand<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| {
        Failure::because("understand the node's answer", &error)
            .hint("the node may be another version of mesh; end it and start it with `mesh up`")
    })
}

async fn checked(response: Response<Incoming>) -> Result<Response<Incoming>> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = body_of(response).await?;
    Err(problem(status, &body))
}

/// The error in an answer.
fn problem(status: StatusCode, body: &[u8]) -> Failure {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
    let failure =
        Failure::new(text("error").unwrap_or_else(|| format!("ask the node: it answered {status}")));
    let failure = match text("hint") {
        Some(hint) => failure.hint(hint),
        None => failure,
    };
    let refused =
        [StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND, StatusCode::CONFLICT];
    if refused.contains(&status) { failure.refused() } else { failure }
}

async fn body_of(response: Response<Incoming>) -> Result<Vec<u8>> {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if bytes.len() > MAX_ANSWER {
            return Err(Failure::new("read the node's answer: it is longer than any should be"));
        }
    }
    Ok(bytes)
}

async fn whole(response: Response<Incoming>) -> Result<Value> {
    let bytes = body_of(response).await?;
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&bytes).map_err(|error| Failure::because("understand the node's answer", &error))
}

/// A failure of the connection as an error of reading.
fn as_io(error: hyper::Error) -> io::Error {
    io::Error::new(ErrorKind::ConnectionAborted, error)
}

#[cfg(test)]
mod tests;

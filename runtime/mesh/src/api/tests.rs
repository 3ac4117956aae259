//! The API over a real socket, with a node that a test answers for.

use super::State;
use super::serve::patiently;
use super::services::{Chunks, ImportReport, Later, Services, Stream};
use crate::up::Handle;
use bytes::Bytes;
use mesh_node::{Answer, Command, ErrorKind, Happening};
use mesh_protocol::ids::{BlobHash, TaskId};
use mesh_protocol::task::Blob;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc, oneshot};

struct Nothing;

impl Services for Nothing {
    fn put_blob(&self, mut body: Chunks, most: u64) -> Later<'_, io::Result<Blob>> {
        Box::pin(async move {
            let mut bytes = Vec::new();
            while let Some(piece) = body.recv().await {
                bytes.extend_from_slice(&piece?);
            }
            assert!(bytes.len() as u64 <= most);
            Ok(Blob { hash: BlobHash(*blake3::hash(&bytes).as_bytes()), len: bytes.len() as u64 })
        })
    }
    fn need_blob(&self, _: BlobHash) -> Later<'_, io::Result<Option<u64>>> {
        Box::pin(async { Ok(None) })
    }
    fn given_to(&self, _: TaskId) -> Vec<Blob> {
        vec![Blob { hash: BlobHash([7; 32]), len: 7 }]
    }
    fn blob_path(&self, _: BlobHash) -> Option<PathBuf> {
        None
    }
    fn ledger(&self) -> Later<'_, io::Result<Vec<Vec<u8>>>> {
        Box::pin(async { Ok(vec![b"entry".to_vec()]) })
    }
    fn follow(&self, _: TaskId, _: Stream, _: u64) -> Later<'_, io::Result<Chunks>> {
        Box::pin(async {
            let (send, receive) = mpsc::channel(1);
            let _sent = send.send(Ok(Bytes::from_static(b"said"))).await;
            Ok(receive)
        })
    }
    fn net_status(&self) -> serde_json::Value {
        serde_json::json!({})
    }
    fn energy(&self) -> serde_json::Value {
        serde_json::json!({})
    }
    fn config(&self) -> serde_json::Value {
        serde_json::json!([])
    }
    fn import(&self, entries: Vec<Vec<u8>>) -> Later<'_, ImportReport> {
        Box::pin(async move { ImportReport { taken: entries.len(), ..ImportReport::default() } })
    }
    fn addrs(&self) -> Vec<std::net::SocketAddr> {
        Vec::new()
    }
}

struct Server {
    addr: std::net::SocketAddr,
    happenings: broadcast::Sender<Happening>,
    _stop: oneshot::Sender<()>,
}

async fn server() -> Server {
    server_with(PATIENCE).await
}

async fn server_with(patience: Duration) -> Server {
    let (questions, mut asked) = mpsc::channel::<crate::up::Question>(8);
    let (happenings, _) = broadcast::channel(8);
    tokio::spawn(async move {
        while let Some(question) = asked.recv().await {
            let answer = match question.command {
                Command::Revoke { grant } => Err(mesh_node::CommandError {
                    kind: ErrorKind::NotFound,
                    message: format!("revoke {grant}"),
                    hint: Some("look".into()),
                }),
                _ => Ok(Answer::Done),
            };
            let _gone = question.answer.send(answer);
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let state = State {
        handle: Handle::new(questions, happenings.clone()),
        services: Arc::new(Nothing),
        token: "secret".into(),
        remote: false,
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let until = async {
        let _dropped = stopped.await;
    };
    tokio::spawn(patiently(state, listener, until, patience));
    Server { addr, happenings, _stop: stop }
}

/// Long enough for any request of ours, and short enough to be waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends bytes as they are, and gives the whole answer.
async fn raw(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn ask(server: &Server, method: &str, path: &str, headers: &str, body: &str) -> String {
    let host = if headers.contains("Host:") { String::new() } else { format!("Host: {}\r\n", server.addr) };
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\n{host}{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    raw(server, &request).await
}

const TOKEN: &str = "Authorization: Bearer secret\r\n";
const JSON: &str = "Authorization: Bearer secret\r\nContent-Type: application/json\r\n";

// spec: API-1
#[tokio::test]
async fn only_the_owners_programs_come_in() {
    let server = server().await;
    let status = |answer: String| answer[9..12].to_owned();
    let get = async |headers: &str| status(ask(&server, "POST", "/v1/resume", headers, "").await);
    assert_eq!(get(TOKEN).await, "200");
    assert_eq!(get("").await, "401");
    assert_eq!(get("Authorization: Bearer secreT\r\n").await, "401");
    assert_eq!(get("Authorization: Basic secret\r\n").await, "401");
    assert_eq!(get(&format!("Host: evil.example\r\n{TOKEN}")).await, "403");
    assert_eq!(get(&format!("Host: localhost:1\r\n{TOKEN}")).await, "200");
    assert_eq!(get(&format!("Host: localhost:1\r\nHost: evil.example\r\n{TOKEN}")).await, "403");
    assert_eq!(get("Authorization: Bearer secret\r\nAuthorization: Bearer x\r\n").await, "401");
    assert_eq!(get(&format!("Origin: http://evil.example\r\n{TOKEN}")).await, "403");
    assert_eq!(get(&format!("Origin: null\r\n{TOKEN}")).await, "403");
    assert_eq!(get(&format!("Origin: http://{}\r\n{TOKEN}", server.addr)).await, "200");
}

// spec: API-2, CLI-5
#[tokio::test]
async fn every_wrong_request_is_told_what_is_wrong() {
    let server = server().await;
    let answer = ask(&server, "GET", "/v1/nothing", TOKEN, "").await;
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("\"hint\""), "{answer}");
    let answer = ask(&server, "PUT", "/v1/status", TOKEN, "").await;
    assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("\"error\""), "{answer}");
    let answer = ask(&server, "DELETE", "/v1/permissions/ab", TOKEN, "").await;
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("revoke ab") && answer.contains("look"));
    for body in ["", "{", "[]", "{\"ticket\":1}", "{\"ticket\":\"x\",\"more\":1}", "\u{0}"] {
        let answer = ask(&server, "POST", "/v1/join", JSON, body).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("\"hint\""), "{body}: {answer}");
    }
    let long = format!("{{\"ticket\":\"{}\"}}", "x".repeat(2 << 20));
    assert!(ask(&server, "POST", "/v1/join", JSON, &long).await.starts_with("HTTP/1.1 413"));
    let answer = ask(&server, "GET", "/v1/tasks/ab/logs?stream=stdin", TOKEN, "").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    for (method, path) in
        [("GET", "/v1/tasks/%ff"), ("DELETE", "/v1/permissions/%80"), ("POST", "/v1/ledger")]
    {
        let answer = ask(&server, method, path, TOKEN, "junk").await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("\"hint\""), "{path}: {answer}");
    }
    for garbage in ["GET\r\n\r\n", "\u{0}\u{1}\u{2}\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
        let _closed = raw(&server, garbage).await;
    }
    assert!(ask(&server, "POST", "/v1/resume", TOKEN, "").await.starts_with("HTTP/1.1 200"), "it goes on");
}

// spec: API-1, NET-4
#[tokio::test]
async fn whoever_says_nothing_does_not_stay() {
    let server = server().await;
    // More than there is room for.
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(server.addr).await.unwrap());
    }
    // Neither does whoever never ends what they began.
    for begun in ["", "\r\n\r\n", "GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\n"] {
        assert!(!raw(&server, begun).await.starts_with("HTTP/1.1 200"), "{begun}");
    }
    assert!(ask(&server, "POST", "/v1/resume", TOKEN, "").await.starts_with("HTTP/1.1 200"));
}

// spec: API-1, NET-4
#[tokio::test]
async fn whoever_shows_no_token_gives_way_and_whoever_has_shown_it_stays() {
    let server = server_with(Duration::from_secs(600)).await;
    let mut watcher = TcpStream::connect(server.addr).await.unwrap();
    let request = format!("GET /v1/events HTTP/1.1\r\nHost: {}\r\n{TOKEN}\r\n", server.addr);
    watcher.write_all(request.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    let soon = Duration::from_secs(60);
    let until = async |watcher: &mut TcpStream, heard: &mut Vec<u8>, text: &str| {
        while !String::from_utf8_lossy(heard).contains(text) {
            heard.push(tokio::time::timeout(soon, watcher.read_u8()).await.unwrap().unwrap());
        }
    };
    until(&mut watcher, &mut heard, "\r\n\r\n").await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(b"GET /v1/status HTTP/1.1\r\n").await.unwrap();
        silent.push(stream);
    }
    let answer = tokio::time::timeout(soon, ask(&server, "POST", "/v1/resume", TOKEN, "")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.happenings.send(Happening::Warning { text: "full".into() }).unwrap();
    until(&mut watcher, &mut heard, "{\"event\":\"warning\",\"text\":\"full\"}").await;
    // Nobody goes for nothing: the last ones are still waited for.
    let mut last = silent.pop().unwrap();
    last.write_all(format!("Host: {}\r\nConnection: close\r\n\r\n", server.addr).as_bytes()).await.unwrap();
    let mut answer = String::new();
    last.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

// spec: API-1, NET-4
#[tokio::test]
async fn whoever_is_refused_is_heard_once_and_cannot_stay_by_not_reading() {
    let server = server_with(Duration::from_secs(600)).await;
    let request = format!("POST /v1/resume HTTP/1.1\r\nHost: {}\r\n\r\n", server.addr);
    let soon = Duration::from_secs(60);
    let answers = tokio::time::timeout(soon, raw(&server, &request.repeat(2))).await.unwrap();
    assert!(answers.starts_with("HTTP/1.1 401") && answers.matches("HTTP/1.1").count() == 1, "{answers}");

    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(1024).unwrap();
    let mut stream = socket.connect(server.addr).await.unwrap();
    let asks = async { while stream.write_all(request.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(soon, asks).await.expect("it is cut off");
}

// spec: DEL-1
#[tokio::test]
async fn a_task_whose_bytes_are_not_here_is_not_taken() {
    let server = server().await;
    let draft = mesh_node::Draft {
        description: String::new(),
        name: "x".into(),
        module: mesh_protocol::ids::ModuleHash([1; 32]),
        module_len: 1,
        args: vec![],
        env: vec![],
        stdin: None,
        inputs: vec![],
        input: mesh_protocol::ids::InputHash([2; 32]),
        limits: mesh_protocol::limits::Limits::default(),
        permissions: mesh_protocol::permissions::Permissions::default(),
        sla: mesh_protocol::task::Sla::Normal,
        importance: None,
        followed: false,
        start_by_ms: None,
        finish_by_ms: None,
        nonce: [3; 32],
        on: None,
        dry_run: false,
        replicas: 1,
        quorum: 1,
    };
    let answer = ask(&server, "POST", "/v1/tasks", JSON, &serde_json::to_string(&draft).unwrap()).await;
    assert!(answer.starts_with("HTTP/1.1 409") && answer.contains("/v1/blobs"), "{answer}");
}

// spec: API-1, ARC-7
#[test]
fn a_full_store_says_what_can_be_done() {
    let problem = super::door::Problem::from(io::Error::from(io::ErrorKind::QuotaExceeded));
    let answer = axum::response::IntoResponse::into_response(problem);
    assert_eq!(answer.status(), 507);
    let body =
        tokio::runtime::Runtime::new().unwrap().block_on(axum::body::to_bytes(answer.into_body(), 10_000));
    assert!(String::from_utf8_lossy(&body.unwrap()).contains("--disk"));
}

// spec: API-2
#[tokio::test]
async fn bytes_and_events_are_streamed() {
    let server = server().await;
    let answer = ask(&server, "POST", "/v1/blobs", TOKEN, "some bytes").await;
    assert!(answer.contains(&blake3::hash(b"some bytes").to_hex().to_string()), "{answer}");
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let request = format!("GET /v1/events HTTP/1.1\r\nHost: {}\r\n{TOKEN}\r\n", server.addr);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains("\r\n\r\n") {
        heard.push(stream.read_u8().await.unwrap());
    }
    server.happenings.send(Happening::Warning { text: "full".into() }).unwrap();
    while !String::from_utf8_lossy(&heard).contains("{\"event\":\"warning\",\"text\":\"full\"}") {
        heard.push(stream.read_u8().await.unwrap());
    }
}

#[tokio::test]
async fn a_watcher_that_goes_is_forgotten_though_nothing_happens() {
    let server = server().await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let request = format!("GET /v1/events HTTP/1.1\r\nHost: {}\r\n{TOKEN}\r\n", server.addr);
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.read_u8().await.unwrap();
    assert_eq!(server.happenings.receiver_count(), 1);
    drop(stream);
    let forgotten = async {
        while server.happenings.receiver_count() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), forgotten).await.unwrap();
}

// spec: API-2
#[test]
fn the_openapi_document_is_what_was_agreed() {
    let document = serde_json::to_string_pretty(&super::routes::document()).unwrap() + "\n";
    let kept = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let agreed = std::fs::read_to_string(&kept).unwrap_or_default();
    if agreed != document {
        let new = kept.with_extension("json.new");
        std::fs::write(&new, &document).unwrap();
        panic!("the API has changed; if that is meant, move {} over {}", new.display(), kept.display());
    }
}

use super::*;
use std::io::Write as _;
use std::net::TcpListener;

/// A node that answers one request with `answer`, and gives what it was asked.
fn node(answer: &'static str) -> (Client, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (client, published) = client(addr);
    let asked = std::thread::spawn(move || {
        let _runs = published;
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        let mut byte = [0; 4096];
        loop {
            let len = stream.read(&mut byte).unwrap();
            asked.extend_from_slice(&byte[..len]);
            let text = String::from_utf8_lossy(&asked);
            let chunked = text.contains("transfer-encoding: chunked");
            let full = match text.split_once("\r\n\r\n") {
                Some((_, body)) if chunked => body.ends_with("0\r\n\r\n"),
                Some((head, body)) => {
                    let want = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                    body.len() >= want.map_or(0, |len| len.parse().unwrap())
                }
                None => false,
            };
            if full || len == 0 {
                break;
            }
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&asked).into_owned()
    });
    (client, asked)
}

/// Asks a peer that listens there, as long as the other is kept.
fn client(addr: SocketAddr) -> (Client, crate::api::Unpublish) {
    let folder = tempfile::tempdir().unwrap();
    let published = crate::api::publish(folder.path(), addr, "secret").unwrap();
    (Client::by(folder.path()).unwrap(), published)
}

// spec: API-1, CLI-5
#[test]
fn an_answer_is_read_and_the_token_sent() {
    let (client, asked) = node("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"a\":[1,2]}");
    let value = client.post("/v1/x", &serde_json::json!({ "b": 1 })).unwrap();
    assert_eq!(value["a"][1], 2);
    let asked = asked.join().unwrap();
    assert!(asked.starts_with("POST /v1/x HTTP/1.1\r\n") && asked.ends_with("{\"b\":1}"), "{asked}");
    assert!(asked.contains("authorization: Bearer secret") && asked.contains("host: 127.0.0.1:"), "{asked}");
}

// spec: CLI-5
#[test]
fn an_error_keeps_its_words_and_its_hint() {
    let body =
        "HTTP/1.1 404 Not Found\r\ncontent-length: 34\r\n\r\n{\"error\":\"find it\",\"hint\":\"do so\"}";
    let failure = node(body).0.get("/v1/x").unwrap_err();
    assert_eq!(failure.to_string(), "error: find it\nhint: do so");
    let failure = node("HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno").0.get("/v1/x").unwrap_err();
    assert!(failure.to_string().contains("500"));
    let failure = node("").0.get("/v1/x").unwrap_err();
    assert!(failure.to_string().contains("connection broke"), "{failure}");
}

// spec: CLI-5
#[test]
fn a_node_that_does_not_run_is_said_to() {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (client, _runs) = client(addr);
    let failure = client.get("/v1/status").unwrap_err();
    assert_eq!(failure.exit_code(), exit_codes::NODE_NOT_RUNNING);
    assert!(failure.to_string().contains("hint: start it with `mesh up`"));
}

// spec: API-1
#[test]
fn nothing_is_said_to_whoever_listens_where_a_peer_was_killed() {
    let somebody = TcpListener::bind("127.0.0.1:0").unwrap();
    let (client, runs) = client(somebody.local_addr().unwrap());
    drop(runs);
    let failure = client.post("/v1/join", &"a ticket").unwrap_err();
    assert_eq!(failure.exit_code(), exit_codes::NODE_NOT_RUNNING);
    assert!(failure.to_string().contains("hint: start it with `mesh up`"));
    assert!(client.upload("/v1/blobs", &b"bytes"[..], &mut |_| ()).is_err());
    for _ in 0..2 {
        let mut heard = Vec::new();
        somebody.accept().unwrap().0.read_to_end(&mut heard).unwrap();
        assert!(heard.is_empty(), "{}", String::from_utf8_lossy(&heard));
    }
}

#[test]
fn bytes_go_and_come_in_pieces() {
    let (client, asked) = node("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
    let mut sent = Vec::new();
    let bytes = vec![b'x'; 600_000];
    client.upload("/v1/blobs", &bytes[..], &mut |total| sent.push(total)).unwrap();
    assert_eq!(sent, [262_144, 524_288, 600_000]);
    assert!(asked.join().unwrap().len() > 600_000);

    let (client, _asked) =
        node("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    let mut text = String::new();
    client.download("/v1/x").unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "abcde");
    let (client, _asked) = node("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    let cut_off = client.download("/v1/x").unwrap().read_to_string(&mut text);
    assert!(cut_off.is_err(), "an answer that ends too early is no end");
}

// spec: CLI-5
#[test]
fn where_no_peer_ever_was_it_is_said_to_be_made_first() {
    let folder = tempfile::tempdir().unwrap();
    let said = not_started(folder.path()).to_string();
    assert!(said.contains("mesh init") && said.contains(&folder.path().display().to_string()), "{said}");
    std::fs::write(folder.path().join(keys::DEVICE), "").unwrap();
    assert!(not_started(folder.path()).to_string().ends_with("hint: start it with `mesh up`"));
}

// spec: CLI-5
#[test]
fn an_empty_name_is_no_address() {
    let said = named("grant", "", "`mesh permissions` lists grants").unwrap_err().to_string();
    assert!(said.starts_with("error: find the grant") && said.contains("mesh permissions"), "{said}");
    assert_eq!(named("grant", "3f2a", "").unwrap(), "3f2a");
}

// spec: CLI-1
#[test]
fn what_the_node_refuses_can_have_an_exit_code_of_its_own() {
    let body = br#"{"error":"submit: the day's quota is used up","hint":"wait"}"#;
    let code = |status| problem(status, body).if_refused(exit_codes::REFUSED).exit_code();
    assert_eq!(code(StatusCode::FORBIDDEN), exit_codes::REFUSED);
    assert_eq!(code(StatusCode::BAD_REQUEST), exit_codes::REFUSED);
    assert_eq!(code(StatusCode::SERVICE_UNAVAILABLE), exit_codes::FAILED);
}

#[test]
fn any_name_is_one_part_of_an_address() {
    assert_eq!(segment("a/b ü?"), "a%2Fb%20%C3%BC%3F");
}

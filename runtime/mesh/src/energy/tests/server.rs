//! A small server on loopback: it speaks HTTP as far as these services do, and fails in all the ways in which they do.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request as far as anybody looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// A status, more headers, and a body.
    Say(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// A body that ends before it is over.
    CutOff(Vec<u8>),
    /// Nothing, for as long as somebody waits.
    Silence,
    /// A byte now and then.
    Drip,
    /// The connection ends without a word.
    HangUp,
}

pub(super) fn json(status: u16, value: &serde_json::Value) -> Reply {
    Reply::Say(
        status,
        vec![("Content-Type", "application/json; charset=utf-8".into())],
        value.to_string().into_bytes(),
    )
}

/// Answers for as long as the test runs.
pub(super) struct Server {
    pub(super) addr: SocketAddr,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(super) fn new(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (seen, answer) = (asked.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, answer) = (seen.clone(), answer.clone());
                std::thread::spawn(move || serve(stream, &seen, &*answer));
            }
        });
        Self { addr, asked }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(super) fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, seen: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request) -> Reply) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        match line.trim_end() {
            "" => break,
            text => lines.push(text.to_owned()),
        }
    }
    let path = lines[0].split(' ').nth(1).unwrap().to_owned();
    let headers = lines[1..].iter().filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let request = Request { path, headers };
    seen.lock().unwrap().push(request.clone());
    let mut stream = stream;
    let head = |status: u16, more: &[(&str, String)], len: usize| {
        let more: String = more.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("HTTP/1.1 {status} Whatever\r\n{more}Content-Length: {len}\r\nConnection: close\r\n\r\n")
    };
    // Whoever asked may have gone; that is what some of these answers are for.
    let _gone = match answer(&request) {
        Reply::Say(status, more, body) => stream
            .write_all(head(status, &more, body.len()).as_bytes())
            .and_then(|()| stream.write_all(&body)),
        Reply::CutOff(body) => {
            stream.write_all(head(200, &[], body.len() * 2).as_bytes()).and_then(|()| stream.write_all(&body))
        }
        Reply::Silence => {
            // Until the other side gives up.
            let mut rest = String::new();
            reader.read_line(&mut rest).map(|_| ())
        }
        Reply::Drip => {
            let mut sent = stream.write_all(head(200, &[], 1 << 20).as_bytes());
            while sent.is_ok() {
                std::thread::sleep(std::time::Duration::from_millis(20));
                sent = stream.write_all(b" ");
            }
            sent
        }
        Reply::HangUp => Ok(()),
    };
}

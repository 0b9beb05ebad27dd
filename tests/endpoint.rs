//! An OpenAI-compatible endpoint in the process of a test, for the binary or the client to ask.

use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A request.
pub(crate) struct Asked {
    /// Which it is of all, from 0.
    pub(crate) number: usize,
    /// What came as its authorisation.
    pub(crate) key: String,
    /// Its JSON.
    pub(crate) body: Value,
}

/// A response: its status, headers of its own, and its body.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) text: String,
}

/// Answers every request with `reply`, each on a thread of its own, until the process ends; the endpoint's URL. Asked for
/// its models, it has some: that is no request.
pub(crate) fn serve(reply: impl Fn(Asked) -> Reply + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    let reply = Arc::new(reply);
    std::thread::spawn(move || {
        let count = Arc::new(AtomicUsize::new(0));
        for stream in listener.incoming().flatten() {
            let (reply, count) = (reply.clone(), count.clone());
            std::thread::spawn(move || answer(&stream, &count, &*reply));
        }
    });
    url
}

/// Reads one HTTP/1.1 request, answers it and closes.
pub(crate) fn answer(stream: &TcpStream, count: &AtomicUsize, reply: &dyn Fn(Asked) -> Reply) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut key) = (0, String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().unwrap_or(0),
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => value.clone_into(&mut key),
            None if line.trim().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let Reply { status, headers, text } = match serde_json::from_slice(&body) {
        Ok(body) => reply(Asked { number: count.fetch_add(1, Ordering::SeqCst), key, body }),
        Err(_) => Reply { status: 200, headers: Vec::new(), text: r#"{"object": "list", "data": []}"#.to_owned() },
    };
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("HTTP/1.1 {status} Said\r\n{headers}connection: close\r\n");
    let mut stream = stream;
    stream.write_all(format!("{head}content-length: {}\r\n\r\n{text}", text.len()).as_bytes())
}

//! A server that takes whatever is posted to it, and remembers it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// One request.
#[derive(Debug, Clone)]
pub struct Posted {
    /// The path, with its query.
    pub path: String,
    /// The headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// A server on the loopback device. It serves until the test process ends: its threads only wait.
#[derive(Debug)]
pub struct HttpStub {
    port: u16,
    posted: Arc<Mutex<Vec<Posted>>>,
}

impl HttpStub {
    /// A server that answers 200 to everything.
    ///
    /// # Panics
    /// When no port is free.
    pub fn start() -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").expect("a port is free"))
    }

    /// The same at a port of the caller's choice.
    ///
    /// # Panics
    /// When it is taken.
    pub fn at_port(port: u16) -> Self {
        Self::at(TcpListener::bind(("127.0.0.1", port)).expect("the port is free"))
    }

    fn at(listener: TcpListener) -> Self {
        let port = listener.local_addr().expect("it has an address").port();
        let posted = Arc::new(Mutex::default());
        let heard = Arc::clone(&posted);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let heard = Arc::clone(&heard);
                thread::spawn(move || serve(&stream, &heard));
            }
        });
        Self { port, posted }
    }

    /// Its address, without a path.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What was posted so far.
    pub fn posted(&self) -> Vec<Posted> {
        let posted = self.posted.lock();
        posted.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers requests until the other side closes.
fn serve(stream: &TcpStream, heard: &Mutex<Vec<Posted>>) {
    let mut reader = BufReader::new(stream);
    while let Some(posted) = read(&mut reader) {
        heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(posted);
        let mut writer = stream;
        let answer =
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}";
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Posted> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length")?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Posted {
        path,
        headers,
        body,
    })
}

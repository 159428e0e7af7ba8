//! Asks the HTTP API as many clients at once, for the benchmark. Arguments: its port, a token, and one of
//!
//! * `singles RATE SECONDS CONNECTIONS`: one task a request, so many a second; a request that is late counts from when it was due
//! * `batches SECONDS CONNECTIONS`: a hundred tasks a request, as fast as it goes
//! * `streams COUNT`: so many streams of events; then a task is sent, and each is to hear of it
//!
//! It prints one line of JSON.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Tasks of one batch.
const BATCH: usize = 100;
/// Enough for a thread that only reads lines.
const STACK: usize = 128 << 10;
/// So long everything has to be answered.
const LIMIT: Duration = Duration::from_secs(60);

/// A connection that is kept.
struct Connection {
    stream: BufReader<TcpStream>,
    token: String,
}

impl Connection {
    fn open(port: u16, token: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self {
            stream: BufReader::new(stream),
            token: token.to_owned(),
        })
    }

    fn ask(&mut self, head: &str, kind: &str, body: &str) -> Outcome<()> {
        let request = format!(
            "{head} HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        Ok(())
    }

    /// Reads the head of an answer; gives its status and the length of its body.
    fn head(&mut self) -> Outcome<(u16, usize)> {
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err("the connection was closed".into());
            }
            let line = line.trim_end();
            if line.is_empty() {
                return Ok((status, length));
            }
            if status == 0 {
                status = line.split(' ').nth(1).unwrap_or_default().parse()?;
            } else if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
    }

    /// Sends a request and reads the whole answer.
    fn exchange(&mut self, head: &str, kind: &str, body: &str, wanted: u16) -> Outcome<()> {
        self.ask(head, kind, body)?;
        let (status, length) = self.head()?;
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer)?;
        if status == wanted {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&answer);
        Err(format!("{head} was answered with {status}: {text}").into())
    }

    fn send_one(&mut self) -> Outcome<()> {
        self.send(r#"{"task": "demo.noop"}"#)
    }

    fn send(&mut self, body: &str) -> Outcome<()> {
        self.exchange("POST /api/v1/tasks", "application/json", body, 202)
    }
}

/// Runs the same on so many threads; gives what each gave.
fn together<T: Send + 'static>(
    count: u32,
    act: impl Fn(u32) -> Outcome<T> + Clone + Send + 'static,
) -> Outcome<Vec<T>> {
    let threads: Vec<_> = (0..count)
        .map(|number| {
            let act = act.clone();
            thread::spawn(move || act(number))
        })
        .collect();
    let ended = threads.into_iter().map(|thread| {
        let ended = thread.join();
        ended.unwrap_or_else(|_| Err("a client panicked".into()))
    });
    ended.collect()
}

fn percentile(sorted: &[Duration], share: usize) -> f64 {
    let place = (sorted.len() * share / 100).min(sorted.len().saturating_sub(1));
    sorted.get(place).map_or(0.0, |one| one.as_secs_f64() * 1e3)
}

fn count(length: usize) -> f64 {
    f64::from(u32::try_from(length).unwrap_or(u32::MAX))
}

fn singles(port: u16, token: &str, numbers: &[u32]) -> Outcome<String> {
    let &[rate, seconds, connections] = numbers else {
        return Err("singles takes a rate, seconds and connections".into());
    };
    let token = token.to_owned();
    let pause = Duration::from_secs(1) * connections / rate;
    let each = rate * seconds / connections;
    let began = Instant::now() + Duration::from_millis(200);
    let times = together(connections, move |number| {
        let mut connection = Connection::open(port, &token)?;
        let first = began + pause * number / connections;
        let mut times = Vec::new();
        for turn in 0..each {
            let due = first + pause * turn;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            connection.send_one()?;
            times.push(due.elapsed());
        }
        Ok(times)
    })?;
    let elapsed = began.elapsed().as_secs_f64();
    let mut times: Vec<Duration> = times.into_iter().flatten().collect();
    times.sort_unstable();
    Ok(format!(
        r#"{{"requests": {}, "per_second": {:.1}, "p50_ms": {:.3}, "p99_ms": {:.3}}}"#,
        times.len(),
        count(times.len()) / elapsed,
        percentile(&times, 50),
        percentile(&times, 99)
    ))
}

fn batches(port: u16, token: &str, numbers: &[u32]) -> Outcome<String> {
    let &[seconds, connections] = numbers else {
        return Err("batches takes seconds and connections".into());
    };
    let token = token.to_owned();
    let began = Instant::now();
    let sent = together(connections, move |_| {
        let mut connection = Connection::open(port, &token)?;
        let body = "{\"task\": \"demo.noop\"}\n".repeat(BATCH);
        let mut sent = 0;
        while began.elapsed() < Duration::from_secs(u64::from(seconds)) {
            let path = "POST /api/v1/task-batches";
            connection.exchange(path, "application/x-ndjson", &body, 200)?;
            sent += BATCH;
        }
        Ok(sent)
    })?;
    let sent: usize = sent.iter().sum();
    let rate = count(sent) / began.elapsed().as_secs_f64();
    Ok(format!(r#"{{"tasks": {sent}, "per_second": {rate:.1}}}"#))
}

fn streams(port: u16, token: &str, numbers: &[u32]) -> Outcome<String> {
    let &[wanted] = numbers else {
        return Err("streams takes their number".into());
    };
    let began = Instant::now();
    let (open, opened) = channel();
    let (tell, told) = channel();
    for _ in 0..wanted {
        let (token, open, tell) = (token.to_owned(), open.clone(), tell.clone());
        let listen = move || -> Outcome<()> {
            let mut connection = Connection::open(port, &token)?;
            // Of another name than what was sent before: workers may still be telling of that.
            let path = "GET /api/v1/task-runs/stream?task=demo.mul";
            connection.ask(path, "application/json", "")?;
            let (status, _) = connection.head()?;
            if status != 200 {
                return Err(format!("a stream was answered with {status}").into());
            }
            open.send(())?;
            let mut line = String::new();
            while !line.starts_with("event: succeeded") {
                line.clear();
                if connection.stream.read_line(&mut line)? == 0 {
                    return Err("a stream ended".into());
                }
            }
            tell.send(Instant::now())?;
            Ok(())
        };
        let builder = thread::Builder::new().stack_size(STACK);
        // Who fails says nothing, and is missed below.
        builder.spawn(move || drop(listen()))?;
    }
    for _ in 0..wanted {
        opened.recv_timeout(LIMIT)?;
    }
    let open_ms = began.elapsed().as_secs_f64() * 1e3;
    let sent = Instant::now();
    Connection::open(port, token)?.send(r#"{"task": "demo.mul", "args": [6, 7]}"#)?;
    let mut times = Vec::new();
    for _ in 0..wanted {
        times.push(told.recv_timeout(LIMIT)?.duration_since(sent));
    }
    times.sort_unstable();
    Ok(format!(
        r#"{{"streams": {wanted}, "open_ms": {open_ms:.1}, "told_p50_ms": {:.2}, "told_last_ms": {:.2}}}"#,
        percentile(&times, 50),
        percentile(&times, 100)
    ))
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, token, what, numbers @ ..] = arguments.as_slice() else {
        return Err("a port, a token and what to measure are the arguments".into());
    };
    let port = port.parse()?;
    let numbers: Vec<u32> = numbers
        .iter()
        .map(|number| number.parse())
        .collect::<Result<_, _>>()?;
    let line = match what.as_str() {
        "singles" => singles(port, token, &numbers)?,
        "batches" => batches(port, token, &numbers)?,
        "streams" => streams(port, token, &numbers)?,
        other => return Err(format!("{other} is not known").into()),
    };
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

//! Asking sentinels where the master is, as redis-py does it (`redis/sentinel.py`, `discover_master`).
//!
//! Blocking, so that the thread which renews a lease can do it without the async runtime; the others ask from a thread of
//! their own. It happens when a connection was lost or refused to write, never while all is well.

use std::{
    collections::HashMap,
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use lovage_settings::{RedisUrl, Sentinels};
use redis::{RedisError, Value};

use super::server::{Login, Server, chain};

/// The shortest time that one sentinel is given.
const LEAST: Duration = Duration::from_millis(200);

/// The sentinels of one master.
#[derive(Debug)]
pub(super) struct Watchmen {
    /// Credentials, database and encryption are the master's.
    master: RedisUrl,
    name: String,
    label: String,
    min_others: u64,
    timeout: Option<Duration>,
    sentinels: Vec<Server>,
    /// The one that knew it last is asked first.
    first: AtomicUsize,
    /// One asks at a time; how often it was tried, and what the last attempt met.
    asking: Mutex<Option<RedisError>>,
    attempts: AtomicUsize,
}

impl Watchmen {
    pub(super) fn new(url: &RedisUrl, sentinels: &Sentinels) -> Result<Self, RedisError> {
        let options = &sentinels.options;
        let login = Login {
            username: options.username.as_deref(),
            password: options.password.as_ref(),
            database: 0,
        };
        let servers = sentinels
            .addresses
            .iter()
            .map(|(host, port)| Server::at(host, *port, options.tls.as_ref(), login));
        Ok(Self {
            master: url.clone(),
            name: options.master_name.clone(),
            label: sentinels.label(),
            min_others: options.min_other_sentinels,
            timeout: options.timeout,
            sentinels: servers.collect::<Result<_, _>>()?,
            first: AtomicUsize::new(0),
            asking: Mutex::new(None),
            attempts: AtomicUsize::new(0),
        })
    }

    /// The name of the master and its sentinels.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// The logical database of the master.
    pub(super) fn database(&self) -> i64 {
        self.master.database
    }

    /// Asks until one names a server that says itself that it is the master. Whoever waited while another asked in vain
    /// gets that answer too.
    pub(super) fn find(&self, timeout: Duration) -> Result<Server, RedisError> {
        let attempts = self.attempts.load(Ordering::Acquire);
        let mut last = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if self.attempts.load(Ordering::Acquire) != attempts
            && let Some(error) = &*last
        {
            return Err(error.clone());
        }
        let found = self.ask_all(timeout);
        *last = found.as_ref().err().cloned();
        self.attempts.fetch_add(1, Ordering::Release);
        found
    }

    fn ask_all(&self, timeout: Duration) -> Result<Server, RedisError> {
        let count = self.sentinels.len();
        let each = u32::try_from(count).map_or(LEAST, |count| timeout / count.max(1));
        let each = self.timeout.unwrap_or(each).max(LEAST).min(timeout);
        let first = self.first.load(Ordering::Relaxed);
        let mut complaints: Vec<String> = Vec::new();
        let mut refused: Vec<(String, u16)> = Vec::new();
        for place in (0..count).map(|step| (first + step) % count) {
            let sentinel = &self.sentinels[place];
            let outcome = self.ask(sentinel, each).and_then(|at| {
                if refused.contains(&at) {
                    return Err(format!("also names {}:{}", at.0, at.1));
                }
                let verified = self.verify(&at, timeout);
                if verified.is_err() {
                    refused.push(at);
                }
                verified
            });
            match outcome {
                Ok(server) => {
                    self.first.store(place, Ordering::Relaxed);
                    return Ok(server);
                }
                Err(complaint) => complaints.push(format!("{}: {complaint}", sentinel.address)),
            }
        }
        let text = format!(
            "no sentinel knows a usable master {}: {}",
            self.name,
            complaints.join("; ")
        );
        Err(io::Error::other(text).into())
    }

    /// Where this sentinel says that the master is.
    fn ask(&self, sentinel: &Server, timeout: Duration) -> Result<(String, u16), String> {
        let mut connection = sentinel
            .connect_blocking(timeout)
            .map_err(|error| chain(&error))?;
        let state: HashMap<String, String> = redis::cmd("SENTINEL")
            .arg("MASTER")
            .arg(&self.name)
            .query(&mut connection)
            .map_err(|error| chain(&error))?;
        believable(&state, self.min_others)
    }

    /// Asks the server itself: right after a fail-over a sentinel may still name the old one.
    fn verify(&self, (host, port): &(String, u16), timeout: Duration) -> Result<Server, String> {
        let said = |error: RedisError| format!("names {host}:{port}, {}", chain(&error));
        let server = Server::at(
            host,
            *port,
            self.master.tls.as_ref(),
            Login::of(&self.master),
        )
        .map_err(said)?;
        let mut connection = server.connect_blocking(timeout).map_err(said)?;
        match redis::cmd("ROLE").query::<Value>(&mut connection) {
            Ok(role) if is_master(&role) => Ok(server),
            Ok(_) => Err(format!("names {host}:{port}, which is not a master")),
            // An account without permission to ask: the first write will tell.
            Err(error) if error.code() == Some("NOPERM") => Ok(server),
            Err(error) => Err(said(error)),
        }
    }
}

/// redis-py's rule (`check_master_state`), and the address.
fn believable(state: &HashMap<String, String>, min_others: u64) -> Result<(String, u16), String> {
    let field = |name: &str| state.get(name).map_or("", String::as_str);
    let flags: Vec<&str> = field("flags").split(',').collect();
    if !flags.contains(&"master") {
        return Err(format!("it is {} there", field("flags")));
    }
    if flags.contains(&"s_down") || flags.contains(&"o_down") {
        return Err("it is down there".to_owned());
    }
    let others: u64 = field("num-other-sentinels").parse().unwrap_or(0);
    if others < min_others {
        return Err(format!(
            "it sees {others} other sentinels, at least {min_others} are wanted"
        ));
    }
    match (field("ip"), field("port").parse()) {
        ("", _) | (_, Err(_)) => Err("its answer has no address".to_owned()),
        (host, Ok(port)) => Ok((host.to_owned(), port)),
    }
}

fn is_master(role: &Value) -> bool {
    match role {
        Value::Array(items) => match items.first() {
            Some(Value::BulkString(role)) => role == b"master",
            Some(Value::SimpleString(role)) => role == "master",
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::believable;

    #[test]
    fn a_sentinel_is_believed_as_redis_py_believes_it() {
        let ask = |flags: &str, others: &str, wanted: u64| {
            let fields = [
                ("ip", "10.0.0.1"),
                ("port", "6380"),
                ("flags", flags),
                ("num-other-sentinels", others),
            ];
            let state = fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            believable(&state, wanted)
        };
        assert_eq!(ask("master", "2", 2), Ok(("10.0.0.1".to_owned(), 6380)));
        assert!(ask("master,failover_in_progress", "0", 0).is_ok());
        assert!(ask("master,s_down", "2", 0).is_err());
        assert!(ask("s_down,o_down,master", "2", 0).is_err());
        assert!(ask("slave", "2", 0).is_err());
        assert!(ask("master", "1", 2).is_err());
    }
}

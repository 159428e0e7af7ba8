//! Which server is in use: one of a fail-over list, or the master that sentinels name.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lovage_settings::{RedisAddress, RedisUrl};
use redis::{
    RedisError,
    aio::{MultiplexedConnection, PubSub},
};
use tokio::sync::{oneshot, watch};

use super::{link::demoted, sentinel::Watchmen, server::Server};

/// The server in use, as an ever growing number. In a list its place is the remainder; with sentinels a new number means
/// a new master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice(usize);

/// The servers of a URL. All connections of a broker, or of a result store, share one of these, so that they agree on the
/// server in use and move together.
pub struct Servers {
    way: Way,
    current: watch::Sender<Choice>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long an answer may take.
    pub response_timeout: Duration,
}

enum Way {
    /// A fail-over list, tried in order.
    Listed(Vec<Arc<Server>>),
    /// Sentinels, and what they said last.
    Asked(Box<Watchmen>, Mutex<Master>),
}

#[derive(Default)]
struct Master {
    known: Option<Arc<Server>>,
    /// A connection to it was lost since they were asked.
    doubted: bool,
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Servers").field(&self.address()).finish()
    }
}

impl Servers {
    /// The servers of these URLs; nothing is connected yet.
    ///
    /// # Errors
    /// When the list is empty, or a file of certificates cannot be used.
    pub fn new(
        urls: &[RedisUrl],
        connect_timeout: Duration,
        response_timeout: Duration,
    ) -> Result<Arc<Self>, RedisError> {
        let way = match urls {
            [] => {
                let empty = "the list of Redis servers is empty";
                return Err((redis::ErrorKind::InvalidClientConfig, empty).into());
            }
            [url] => match &url.address {
                RedisAddress::Sentinel(sentinels) => {
                    Way::Asked(Box::new(Watchmen::new(url, sentinels)?), Mutex::default())
                }
                RedisAddress::Tcp { .. } | RedisAddress::Unix(_) => {
                    Way::Listed(vec![Arc::new(Server::new(url)?)])
                }
            },
            many => {
                let list = many.iter().map(|url| Server::new(url).map(Arc::new));
                Way::Listed(list.collect::<Result<_, _>>()?)
            }
        };
        Ok(Arc::new(Self {
            way,
            current: watch::Sender::new(Choice(0)),
            connect_timeout,
            response_timeout,
        }))
    }

    fn place(&self, Choice(number): Choice) -> usize {
        match &self.way {
            Way::Listed(list) => number % list.len(),
            Way::Asked(..) => number,
        }
    }

    /// The server chosen when a connection to it failed, or it refused to write: a list moves on to the next, unless
    /// somebody else has done so since; sentinels are asked again.
    pub fn give_up(&self, choice: Choice) {
        match &self.way {
            Way::Listed(_) => {
                self.current.send_if_modified(|current| {
                    let ours = *current == choice;
                    if ours {
                        *current = Choice(choice.0.wrapping_add(1));
                    }
                    ours
                });
            }
            Way::Asked(..) => self.lost(choice),
        }
    }

    /// A connection to the server chosen then ended. A list tries the same one again; sentinels are asked, before
    /// anybody connects, whether it is still the master.
    pub fn lost(&self, choice: Choice) {
        if let Way::Asked(_, master) = &self.way
            && choice == *self.current.borrow()
        {
            master
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .doubted = true;
        }
    }

    /// A request over a connection to the server chosen then ended in this error, and the connection with it. True: the
    /// server has become a replica, so that the request is worth another attempt, elsewhere.
    pub fn ended(&self, choice: Choice, error: &RedisError) -> bool {
        let demoted = demoted(error);
        if demoted {
            self.give_up(choice);
        } else {
            self.lost(choice);
        }
        demoted
    }

    /// Whether a connection to the server chosen then is one to the server in use.
    pub fn in_use(&self, choice: Choice) -> bool {
        self.place(choice) == self.place(*self.current.borrow())
    }

    /// Returns when another server than now is in use.
    pub async fn moved(&self) {
        let mut current = self.current.subscribe();
        let now = *current.borrow_and_update();
        // The other end lives as long as this value: there is no error.
        let _ = current
            .wait_for(|choice| self.place(*choice) != self.place(now))
            .await;
    }

    /// The address in use, for messages.
    pub fn address(&self) -> String {
        match &self.way {
            Way::Listed(list) => {
                let choice = *self.current.borrow();
                list[self.place(choice)].address.clone()
            }
            Way::Asked(watchmen, master) => {
                let master = master.lock().unwrap_or_else(PoisonError::into_inner);
                match &master.known {
                    Some(server) => format!("{} ({})", server.address, watchmen.label()),
                    None => watchmen.label().to_owned(),
                }
            }
        }
    }

    /// The logical database in use.
    pub fn database(&self) -> i64 {
        match &self.way {
            Way::Listed(list) => list[self.place(*self.current.borrow())].database,
            Way::Asked(watchmen, _) => watchmen.database(),
        }
    }

    /// Whether the address, as [`RedisAddress::label`] writes it, is one of these.
    pub fn knows(&self, address: &str) -> bool {
        match &self.way {
            Way::Listed(list) => list.iter().any(|server| server.address == address),
            Way::Asked(watchmen, _) => watchmen.label() == address,
        }
    }

    /// How many there are to try, one [`Self::connect`] each.
    pub fn count(&self) -> usize {
        match &self.way {
            Way::Listed(list) => list.len(),
            Way::Asked(..) => 1,
        }
    }

    /// The server in use, if that is known.
    fn picked(&self) -> Option<(Choice, Arc<Server>)> {
        let choice = *self.current.borrow();
        match &self.way {
            Way::Listed(list) => Some((choice, Arc::clone(&list[self.place(choice)]))),
            Way::Asked(_, master) => {
                let master = master.lock().unwrap_or_else(PoisonError::into_inner);
                let known = master.known.as_ref().filter(|_| !master.doubted)?;
                // Read under the lock: the number belongs to this server.
                Some((*self.current.borrow(), Arc::clone(known)))
            }
        }
    }

    /// The server in use; asks the sentinels when it is not known.
    fn pick_blocking(&self, timeout: Duration) -> Result<(Choice, Arc<Server>), RedisError> {
        if let Some(picked) = self.picked() {
            return Ok(picked);
        }
        let Way::Asked(watchmen, master) = &self.way else {
            // A list always knows.
            return Err(std::io::Error::other("no server is chosen").into());
        };
        let found = watchmen.find(timeout)?;
        let mut master = master.lock().unwrap_or_else(PoisonError::into_inner);
        master.doubted = false;
        match &master.known {
            Some(known) if known.address == found.address => {}
            before => {
                if let Some(before) = before {
                    tracing::warn!(
                        from = before.address,
                        to = found.address,
                        "the sentinels name a new master"
                    );
                }
                master.known = Some(Arc::new(found));
                self.current
                    .send_modify(|current| *current = Choice(current.0.wrapping_add(1)));
            }
        }
        let known = master.known.clone();
        let choice = *self.current.borrow();
        drop(master);
        known
            .map(|server| (choice, server))
            .ok_or_else(|| std::io::Error::other("no master is known").into())
    }

    async fn pick(self: &Arc<Self>) -> Result<(Choice, Arc<Server>), RedisError> {
        if let Some(picked) = self.picked() {
            return Ok(picked);
        }
        let (sender, receiver) = oneshot::channel();
        let servers = Arc::clone(self);
        // A thread of its own: those of the runtime may all be busy with tasks that block.
        std::thread::Builder::new()
            .name("lovage-sentinel".into())
            .spawn(move || {
                // Nobody waits any more: what was found is known to the others all the same.
                let _ = sender.send(servers.pick_blocking(servers.connect_timeout));
            })?;
        receiver.await.unwrap_or_else(|_| {
            Err(std::io::Error::other("asking the sentinels ended early").into())
        })
    }

    /// Makes one attempt at the server in use; a failure moves on to the next.
    ///
    /// # Errors
    /// What the attempt met.
    pub async fn connect(
        self: &Arc<Self>,
        response: Option<Duration>,
    ) -> Result<(Choice, MultiplexedConnection), RedisError> {
        let (choice, server) = self.pick().await?;
        server
            .connect(self.connect_timeout, response)
            .await
            .map(|connection| (choice, connection))
            .inspect_err(|_| self.give_up(choice))
    }

    /// Opens a connection for subscriptions.
    ///
    /// # Errors
    /// What the attempt met; it moves on to the next server.
    pub async fn subscriber(self: &Arc<Self>) -> Result<(Choice, PubSub), RedisError> {
        let (choice, server) = self.pick().await?;
        server
            .subscriber(self.connect_timeout)
            .await
            .map(|subscription| (choice, subscription))
            .inspect_err(|_| self.give_up(choice))
    }

    /// Opens a blocking connection, every operation of which is bounded by `timeout`.
    pub(crate) fn connect_blocking(
        &self,
        timeout: Duration,
    ) -> Result<(Choice, redis::Connection), RedisError> {
        let (choice, server) = self.pick_blocking(timeout)?;
        server
            .connect_blocking(timeout)
            .map(|connection| (choice, connection))
            .inspect_err(|_| self.give_up(choice))
    }
}

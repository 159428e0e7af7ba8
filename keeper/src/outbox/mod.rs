//! The relay of the outbox: rows that were committed become messages, each once.
//!
//! One process relays at a time, the one that has the lease `keeper:outbox`. It reads a batch, hands it to the broker, which
//! writes each message and its mark in one step, and deletes the rows. Dying between any two of these leaves rows whose marks
//! are known, so that the next relay's messages are passed over. A relay that was stopped and resumes after another took over is
//! refused by the broker, for it has seen a higher fence. Rows are never skipped by their ids: see the database's store.
//!
//! | module | knows |
//! |---|---|
//! | `compose` | a row as a message |
//! | `relay` | one batch: read, hand over, delete |

mod compose;
mod relay;

use std::{fmt, sync::Arc, time::Duration};

use chrono::Utc;
use lovage_broker::Broker;
use lovage_client::Composer;
use lovage_database::{
    Database,
    store::{
        lease::Lease,
        outbox::{self, Listener},
    },
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::relay::{Relay, Step};
use crate::duty::{Duty, LENGTH, Work};

pub use self::relay::Error;

/// The name of the lease of the one that relays.
pub const LEASE: &str = "keeper:outbox";

/// What the relay works with.
#[derive(Clone)]
pub struct Parts {
    /// Where the outbox is.
    pub database: Database,
    /// Where messages go.
    pub broker: Arc<dyn Broker>,
    /// Makes messages of rows that are calls: routes, default queue, serializer.
    pub composer: Composer,
    /// This process, as nobody else is called.
    pub holder: String,
    /// For how long this process may be silent before another relays. Default 10 s.
    pub lease: Duration,
    /// How often it looks where the database tells nobody of new rows (SQLite). Default 100 ms.
    pub poll: Duration,
    /// How often it looks anyway. Default 5 s.
    pub look: Duration,
    /// So many rows at once. Default 500.
    pub batch: u64,
}

impl Parts {
    /// With the defaults of the fields' documentation.
    pub fn new(
        database: Database,
        broker: Arc<dyn Broker>,
        composer: Composer,
        holder: String,
    ) -> Self {
        Self {
            database,
            broker,
            composer,
            holder,
            lease: LENGTH,
            poll: Duration::from_millis(100),
            look: Duration::from_secs(5),
            batch: 500,
        }
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("holder", &self.holder)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// Relays, or waits to, until the token is cancelled. Errors are logged and tried again.
pub async fn run(parts: Parts, token: CancellationToken) {
    let duty = Duty {
        name: LEASE,
        database: parts.database.clone(),
        holder: parts.holder.clone(),
        length: parts.lease,
    };
    duty.hold(parts, token).await;
}

impl Work for Parts {
    type Error = Error;

    /// Relays until told to stop. Where that is does not matter: what is repeated is harmless.
    async fn run(&self, lease: &Lease, stop: &CancellationToken) -> Result<(), Error> {
        match stop.run_until_cancelled(relay(self, lease.clone())).await {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Relays until something goes wrong.
async fn relay(parts: &Parts, lease: Lease) -> Error {
    let mut relay = Relay::new(parts, lease);
    let mut listener = match Listener::open(&parts.database).await {
        Ok(listener) => listener,
        Err(error) => return error.into(),
    };
    loop {
        match relay.step().await {
            Ok(Step::Busy) => {}
            Ok(Step::Idle) => {
                if let Err(error) = wait(parts, listener.as_mut()).await {
                    return error.into();
                }
            }
            Err(error) => return error,
        }
    }
}

/// Waits until there may be something to do.
async fn wait(
    parts: &Parts,
    listener: Option<&mut Listener>,
) -> Result<(), lovage_database::Error> {
    match listener {
        Some(listener) => tokio::select! {
            changed = listener.changed() => changed,
            () = sleep(parts.look) => Ok(()),
        },
        None => {
            sleep(parts.poll).await;
            Ok(())
        }
    }
}

/// Relays all that is there now, when nobody else does. Gives how many messages were sent; `None` when another process relays, which
/// does it then.
///
/// # Errors
/// [`Error`].
pub async fn relay_now(parts: &Parts) -> Result<Option<u64>, Error> {
    let Some(lease) = Lease::take(&parts.database, LEASE, &parts.holder, parts.lease).await? else {
        return Ok(None);
    };
    let mut relay = Relay::new(parts, lease);
    let relayed = loop {
        match relay.step().await {
            Ok(Step::Busy) => {
                if !relay.renew().await? {
                    break Ok(None);
                }
            }
            Ok(Step::Idle) => break Ok(Some(relay.published())),
            Err(error) => break Err(error),
        }
    };
    relay.release().await?;
    relayed
}

/// What a sweep of the outbox found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// So many messages were sent by it.
    pub sent: u64,
    /// So many wait although another process relays, the oldest of them for longer than a message should.
    pub waiting: u64,
    /// So many were put aside, and wait for somebody to mend them.
    pub refused: u64,
}

/// Sends what waits when no process relays; when one does, looks whether messages wait for longer than `patience` all the same.
/// Safe beside any relay: it takes its lease or leaves the outbox alone. So `parts` must have a holder of their own.
///
/// # Errors
/// [`Error`].
pub async fn sweep(parts: &Parts, patience: Duration) -> Result<Swept, Error> {
    let mut swept = Swept::default();
    match relay_now(parts).await {
        Ok(Some(sent)) => swept.sent = sent,
        // It took over from us, and goes on.
        Ok(None) | Err(Error::Superseded { .. }) => {
            let depth = outbox::depth(parts.database.reader()).await?;
            let since = depth.oldest.map(|oldest| Utc::now() - oldest);
            if since.is_some_and(|since| since.to_std().is_ok_and(|since| since > patience)) {
                swept.waiting = depth.waiting;
            }
        }
        Err(error) => return Err(error),
    }
    swept.refused = outbox::refused_count(parts.database.reader()).await?;
    Ok(swept)
}

/// The causes of an error in one line, as the log and the `error` column have it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

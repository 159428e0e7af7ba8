//! Asking workers, and telling them (`celery/app/control.py`; `kombu/pidbox.py`, `Mailbox`).

use std::{fmt, sync::Arc, time::Duration};

use lovage_broker::{Ask, Broker, Enough, Error};
use lovage_protocol::{
    Lamport, QueueName, Value,
    control::{self, Matching, Reply, Request},
};
use tracing::debug;

use crate::machine;

/// Celery's default.
const WAIT: Duration = Duration::from_secs(1);

/// Remote control from afar. Cloning shares it.
#[derive(Clone)]
pub struct Control {
    broker: Arc<dyn Broker>,
    clock: Lamport,
}

/// A request that is being made up.
#[derive(Debug)]
pub struct Question {
    control: Control,
    request: Request,
    wait: Duration,
    enough: Enough,
}

impl Control {
    /// Control of all workers on a broker.
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self::on_clock(broker, Lamport::default())
    }

    /// The same for who has a logical clock already.
    pub fn on_clock(broker: Arc<dyn Broker>, clock: Lamport) -> Self {
        Self { broker, clock }
    }

    /// A request with a command's name: to all, and waiting a second, but no longer than until all who heard it replied.
    pub fn ask(&self, method: &str) -> Question {
        Question {
            control: self.clone(),
            request: Request::new(method),
            wait: WAIT,
            enough: Enough::Everybody,
        }
    }
}

impl Question {
    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.request.arguments.insert(name.to_owned(), value.into());
        self
    }

    /// Asks these nodes only, and waits until each has replied.
    #[must_use]
    pub fn to(mut self, nodes: Vec<String>) -> Self {
        self.enough = Enough::Replies(u64::try_from(nodes.len()).unwrap_or(u64::MAX));
        self.request.destination = Some(nodes);
        self
    }

    /// Asks the nodes whose names match.
    #[must_use]
    pub fn matching(mut self, matching: Matching) -> Self {
        self.enough = Enough::Never;
        self.request.matching = Some(matching);
        self
    }

    /// How long replies are waited for.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// How many replies end the wait.
    #[must_use]
    pub fn enough(mut self, enough: Enough) -> Self {
        self.enough = enough;
        self
    }

    /// Sends the request and gathers the replies to it.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn send(self) -> Result<Vec<Reply>, Error> {
        let Self {
            control,
            request,
            wait,
            enough,
        } = self;
        let expires = machine::now() + wait.as_secs_f64();
        let ask = Ask {
            exchange: control::EXCHANGE.to_owned(),
            payload: request.to_json(control.clock.forward(), expires).into(),
            reply_exchange: control::REPLY_EXCHANGE.to_owned(),
            reply_key: request.reply_key.clone(),
            reply_queue: QueueName::parse(&request.reply_queue())
                .expect("a UUID and a constant make a name"),
            wait,
            enough,
        };
        let replies = control.broker.ask(ask).await?;
        let replies = replies.iter().filter_map(|raw| match Reply::parse(raw) {
            Ok(reply) if reply.ticket.as_deref() == Some(&request.ticket) => Some(reply),
            Ok(_) => None,
            Err(error) => {
                debug!(
                    error = &error as &dyn std::error::Error,
                    "a reply cannot be read"
                );
                None
            }
        });
        Ok(replies
            .inspect(|reply| {
                if let Some(theirs) = reply.clock {
                    control.clock.adjust(theirs);
                }
            })
            .collect())
    }

    /// Sends the request; nobody is to reply.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn tell(self) -> Result<(), Error> {
        let Self {
            control, request, ..
        } = self;
        let payload = request.to_json_without_reply(control.clock.forward(), 0.0);
        control
            .broker
            .broadcast(control::EXCHANGE, "", payload.into())
            .await
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

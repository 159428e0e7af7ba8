//! What workers make of each other's events (`celery/worker/consumer/gossip.py`): the common clock, who came and who is gone, and
//! elections: all agree on the one that does a thing, and it does it.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::StreamExt;
use lovage_broker::Broker;
use lovage_protocol::{
    Value,
    event::{Event, EventText},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    cluster::{Change, Cluster},
    emitter::Emitter,
    machine,
    receiver::receive,
};

/// How often is looked for nodes that died without a word.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// An election whose votes do not all come is forgotten after this time.
const ELECTION_LIFE: Duration = Duration::from_secs(60);
/// So many elections are held at once.
const MOST_ELECTIONS: usize = 1_000;

/// What a won election is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Elected {
    /// What kind of thing; Celery knows `task`.
    pub topic: String,
    /// What is to be done; for `task`, the signature to send.
    pub action: Value,
}

/// A worker's part in the talk.
#[derive(Clone)]
pub struct Gossip {
    broker: Arc<dyn Broker>,
    emitter: Emitter,
    /// `hostname.pid`, by which candidates are told apart.
    full_name: Arc<str>,
    state: Arc<Mutex<State>>,
    won: Arc<dyn Fn(Elected) + Send + Sync>,
}

#[derive(Debug, Default)]
struct State {
    cluster: Cluster,
    elections: HashMap<String, Election>,
}

#[derive(Debug)]
struct Election {
    began: Instant,
    candidates: Vec<Candidate>,
    /// Candidates that this node has not acknowledged: it stands itself first. A Celery worker that gets an acknowledgement
    /// while it knows of one candidate only breaks.
    owed: usize,
    /// Nodes that have acknowledged; nothing until this node takes part itself.
    votes: Option<HashSet<String>>,
}

#[derive(Debug, Clone)]
struct Candidate {
    clock: i64,
    full_name: String,
    elected: Elected,
}

impl Gossip {
    /// The gossip of whoever emits; `won` does what this node is elected to do.
    pub fn new(
        broker: Arc<dyn Broker>,
        emitter: Emitter,
        won: impl Fn(Elected) + Send + Sync + 'static,
    ) -> Self {
        let origin = emitter.origin();
        let full_name = format!("{}.{}", origin.hostname, origin.pid).into();
        Self {
            broker,
            emitter,
            full_name,
            state: Arc::default(),
            won: Arc::new(won),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let heard = async {
            loop {
                // Not the clock of the emitter: what this node said itself moves it by one only.
                let pattern = "worker.#";
                match receive(&*self.broker, pattern, lovage_protocol::Lamport::default()).await {
                    Ok(heard) => return heard,
                    Err(error) => {
                        debug!(
                            error = &error as &dyn std::error::Error,
                            "gossip waits for the broker"
                        );
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                }
            }
        };
        let mut heard = tokio::select! {
            heard = heard => heard,
            () = stop.cancelled() => return,
        };
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = look.tick() => self.look().await,
                event = heard.next() => match event {
                    Some(event) => self.hear(&event).await,
                    None => return,
                }
            }
        }
    }

    async fn look(&self) {
        let owed = self.state().look(Instant::now());
        // This node was not asked to stand; the others still wait for its word.
        for id in owed {
            self.acknowledge(&id).await;
        }
    }

    async fn hear(&self, event: &Event) {
        match event.kind.as_str() {
            "worker-elect" => self.candidate(event).await,
            "worker-elect-ack" => self.vote(event),
            _ => {}
        }
        let (clock, own) = (self.emitter.clock(), &self.emitter.origin().hostname);
        if event.hostname == *own {
            clock.forward();
            return;
        }
        clock.adjust(event.clock.unwrap_or(0));
        match self.state().cluster.hear(event, Instant::now()) {
            Change::Joined => debug!("{} joined the party", event.hostname),
            Change::Left => debug!("{} left", event.hostname),
            Change::None => {}
        }
    }

    /// Stands for an election that everybody was asked to hold.
    pub async fn elect(&self, id: &str, topic: &str, action: Value) {
        {
            let mut state = self.state();
            if state.elections.len() >= MOST_ELECTIONS {
                warn!("too many elections are held at once: {id} is left out");
                return;
            }
            state.election(id).votes.get_or_insert_default();
        }
        let write = |event: &mut EventText<'_>| {
            event.text("id", id);
            event.text("topic", topic);
            event.value("action", &action);
            event.int("cver", 1);
        };
        self.say("worker-elect", write).await;
        let owed = self
            .state()
            .elections
            .get_mut(id)
            .map(|election| std::mem::take(&mut election.owed));
        for _ in 0..owed.unwrap_or(0) {
            self.acknowledge(id).await;
        }
    }

    async fn acknowledge(&self, id: &str) {
        self.say("worker-elect-ack", |event| event.text("id", id))
            .await;
    }

    async fn say(&self, kind: &str, write: impl FnOnce(&mut EventText<'_>)) {
        if let Err(error) = self.emitter.now(kind, machine::now(), write).await {
            warn!(
                error = &error as &dyn std::error::Error,
                "{kind} was not sent"
            );
        }
    }

    async fn candidate(&self, event: &Event) {
        let (Some(id), Some(topic), Some(clock)) =
            (event.text("id"), event.text("topic"), event.clock)
        else {
            warn!(node = event.hostname, "election request missing field");
            return;
        };
        let pid = event.fields.get("pid").and_then(Value::as_i64);
        let candidate = Candidate {
            clock,
            full_name: format!("{}.{}", event.hostname, pid.unwrap_or(0)),
            elected: Elected {
                topic: topic.to_owned(),
                action: event.fields.get("action").cloned().unwrap_or(Value::Null),
            },
        };
        let stands = {
            let mut state = self.state();
            if state.elections.len() >= MOST_ELECTIONS && !state.elections.contains_key(id) {
                return;
            }
            let election = state.election(id);
            election.candidates.push(candidate);
            let stands = election.votes.is_some();
            if !stands {
                election.owed += 1;
            }
            stands
        };
        if stands {
            self.acknowledge(id).await;
        }
    }

    fn vote(&self, event: &Event) {
        let Some(id) = event.text("id") else { return };
        let winner = self.state().vote(id, &event.hostname, Instant::now());
        let Some(winner) = winner else { return };
        if *winner.full_name == *self.full_name {
            info!("I won the election {id}");
            (self.won)(winner.elected);
        } else {
            info!("node {} elected for {id}", winner.full_name);
        }
    }
}

impl State {
    /// Forgets what is over; gives the elections in which this node does not stand, once for each word that it owes.
    fn look(&mut self, now: Instant) -> Vec<String> {
        for node in self.cluster.lost(now) {
            info!("missed heartbeat from {node}");
        }
        let mut owed = Vec::new();
        self.elections.retain(|id, election| {
            let age = now.duration_since(election.began);
            if age >= LOOK_EVERY {
                owed.extend(std::iter::repeat_n(
                    id.clone(),
                    std::mem::take(&mut election.owed),
                ));
            }
            age < ELECTION_LIFE
        });
        owed
    }

    fn election(&mut self, id: &str) -> &mut Election {
        self.elections
            .entry(id.to_owned())
            .or_insert_with(|| Election {
                began: Instant::now(),
                candidates: Vec::new(),
                owed: 0,
                votes: None,
            })
    }

    /// The winner, once all others that live have voted. This node's own vote counts as well, for it is heard as the others' are.
    fn vote(&mut self, id: &str, voter: &str, now: Instant) -> Option<Candidate> {
        let others = self.cluster.alive(now);
        let election = self.elections.get_mut(id)?;
        let votes = election.votes.as_mut()?;
        votes.insert(voter.to_owned());
        // A vote may be heard before the candidate's own words are.
        if votes.len() < others || election.candidates.is_empty() {
            return None;
        }
        let election = self.elections.remove(id)?;
        election
            .candidates
            .into_iter()
            .min_by(|a, b| (a.clock, &a.full_name).cmp(&(b.clock, &b.full_name)))
    }
}

impl fmt::Debug for Gossip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gossip")
            .field("node", &self.full_name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use lovage_broker::MemoryBroker;
    use lovage_protocol::{Lamport, event::Origin};
    use tokio::sync::mpsc;

    use super::*;
    use crate::emitter::EmitterOptions;

    fn gossip(broker: &MemoryBroker, hostname: &str) -> (Gossip, mpsc::UnboundedReceiver<Elected>) {
        let options = EmitterOptions {
            origin: Origin {
                hostname: hostname.to_owned(),
                pid: 1,
                utcoffset: 0.0,
            },
            clock: Lamport::default(),
            task_events: false,
            waiting: 1,
            rate: None,
        };
        let broker: Arc<dyn Broker> = Arc::new(broker.clone());
        let emitter = Emitter::new(Arc::clone(&broker), options);
        let (sender, won) = mpsc::unbounded_channel();
        let gossip = Gossip::new(broker, emitter, move |elected| {
            let _ = sender.send(elected);
        });
        (gossip, won)
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_several_is_elected_and_a_lone_one_too() {
        let broker = MemoryBroker::new();
        let stop = CancellationToken::new();
        let mut nodes = Vec::new();
        for name in ["a@h", "b@h", "c@h"] {
            let (gossip, won) = gossip(&broker, name);
            tokio::spawn(gossip.clone().run(stop.clone()));
            nodes.push((gossip, won));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        for (node, _) in &nodes {
            node.emitter.forced_heartbeat().await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        let action = Value::from("dance");
        for (node, _) in &nodes {
            node.elect("e1", "task", action.clone()).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let winners: Vec<Elected> = nodes
            .iter_mut()
            .filter_map(|(_, won)| won.try_recv().ok())
            .collect();
        let topic = "task".to_owned();
        assert_eq!(winners, [Elected { topic, action }]);
        stop.cancel();

        let alone = MemoryBroker::new();
        let (lone, mut won) = gossip(&alone, "lone@h");
        tokio::spawn(lone.clone().run(CancellationToken::new()));
        tokio::time::sleep(Duration::from_millis(1)).await;
        lone.elect("e2", "task", Value::Null).await;
        assert_eq!(won.recv().await.unwrap().topic, "task");
    }
}

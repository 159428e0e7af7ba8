//! A producer that sends as a Lovage client does: unique tasks and limits are decided as it sends.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fastrand::Rng;
use lovage_client::{Client, ClientOptions, Error, Outgoing};
use lovage_protocol::{TaskId, Value};
use lovage_settings::Settings;
use lovage_worker::Catalogue;

use super::load::{Job, Mix};
use super::tasks;

/// The pause between two calls.
const PAUSE: Duration = Duration::from_millis(8);

/// What a client has sent.
#[derive(Debug, Default)]
pub struct Sent {
    /// What it sent.
    pub jobs: Vec<Job>,
    /// What was not sent: of which task each was the duplicate, and the key.
    pub refused: Vec<(String, u64)>,
}

/// A thread that calls until it is told to stop.
#[derive(Debug)]
pub struct Caller {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Sent>>,
}

impl Caller {
    /// Begins to call, at a Redis that is not to be hurt.
    pub fn start(url: String, mix: Mix, seed: u64) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be made");
            runtime.block_on(call(&url, &mix, Rng::with_seed(seed), &told))
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// Ends it, and gives what it sent.
    ///
    /// # Panics
    /// When it panicked.
    pub fn stop(&mut self) -> Sent {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is stopped once");
        thread.join().expect("the caller does not panic")
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn client(url: &str) -> Client {
    let variables = ["CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"];
    let variables = variables.map(|name| (name.to_owned(), url.to_owned()));
    let (settings, _) = Settings::from_lookup(variables).expect("the settings are good");
    let specs = Catalogue::specs(&[tasks::module()]).expect("the tasks can be collected");
    let own = Catalogue::own_options(&specs, &settings).expect("the tasks have good options");
    let broker = lovage_broker::connect(&settings.broker).await;
    let place = settings.broker.url.clone().expect("it was set");
    let results = lovage_results::connect(&settings.results, &place, None).await;
    let options = ClientOptions {
        own,
        ..ClientOptions::from(&settings)
    };
    Client::new(
        broker.expect("Redis can be reached"),
        results.expect("Redis can be reached"),
        options,
    )
}

async fn call(url: &str, mix: &Mix, mut rng: Rng, stop: &AtomicBool) -> Sent {
    let client = client(url).await;
    let mut sent = Sent::default();
    // Far from the numbers of the other producer.
    let mut number = 1 << 40;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let (job, message) = mix.next(&mut rng, number);
        let mut call = Outgoing::new(mix.task);
        call.id = Some(TaskId::from(job.id.as_str()));
        call.args = arguments(&message.arguments());
        match client.send_outgoing::<Value>(call).await {
            Ok(_) => sent.jobs.push(job),
            Err(Error::Duplicate { of, .. }) => {
                let key = job.key.expect("only a task with a key can be a duplicate");
                sent.refused.push((of.as_str().to_owned(), key));
            }
            Err(error) => panic!("a call was not sent: {error}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
    sent
}

fn arguments(values: &serde_json::Value) -> Vec<Value> {
    match Value::from_json(values.to_string().as_bytes()) {
        Ok(Value::List(items)) => items,
        other => panic!("arguments are a list, not {other:?}"),
    }
}

/// Whether all that was refused was the duplicate of a task of its key.
///
/// # Errors
/// The first that was not.
pub fn check_refused(refused: &[(String, u64)], jobs: &[Job]) -> Result<(), String> {
    let keys: HashMap<&str, Option<u64>> =
        jobs.iter().map(|job| (job.id.as_str(), job.key)).collect();
    let wrong = refused
        .iter()
        .find(|(of, key)| keys.get(of.as_str()) != Some(&Some(*key)));
    match wrong {
        None => Ok(()),
        Some((of, key)) => Err(format!(
            "a call of key {key} was refused as a duplicate of {of}"
        )),
    }
}

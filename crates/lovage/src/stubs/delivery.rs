//! How producers send each task: the queue and the options that our own client would take.

use lovage_broker::{Place, Topology};
use lovage_client::{OwnOptions, Router};
use lovage_registry::TaskSpec;
use lovage_settings::{ExchangeType, TaskSettings};

use super::python::quoted;
use crate::failure::{Failure, chain};

/// Settings, asked for one task after the other.
#[derive(Debug)]
pub(crate) struct Deliveries<'a> {
    settings: &'a TaskSettings,
    router: Router,
    topology: Topology,
    /// Queues that are not reached by their name alone: name, exchange, kind and key of each.
    special: Vec<[String; 4]>,
}

impl<'a> Deliveries<'a> {
    /// Reads the settings.
    pub(crate) fn new(settings: &'a TaskSettings) -> Result<Self, Failure> {
        Ok(Self {
            settings,
            router: Router::new(settings),
            topology: Topology::new(settings).map_err(|error| Failure::settings(chain(&error)))?,
            special: Vec::new(),
        })
    }

    /// The options of a task, as Python's `task` takes them.
    pub(crate) fn of(&mut self, task: &TaskSpec, own: &OwnOptions) -> Result<Vec<String>, Failure> {
        let routed = self.router.route(&task.name);
        let mut options = Vec::new();
        let mut option = |name: &str, value: String| options.push(format!("{name}={value}"));
        let priority = match (&own.queue, routed) {
            (Some(queue), routed) => {
                option("queue", quoted(&self.reached(queue.as_str())?));
                // The route's priority holds for an explicit queue too.
                routed.ok().and_then(|target| target.priority)
            }
            (None, Err(bad)) => {
                return Err(Failure::settings(format!(
                    "task {}: {}",
                    task.name,
                    chain(&bad)
                )));
            }
            (None, Ok(target)) => {
                option("queue", quoted(&self.reached(target.queue.as_str())?));
                if let Some(exchange) = &target.exchange {
                    option("exchange", quoted(exchange));
                }
                if let Some(key) = &target.routing_key {
                    option("routing_key", quoted(key));
                }
                target.priority
            }
        };
        let priority = own.priority.or(priority).or(self.settings.default_priority);
        if let Some(priority) = priority {
            option("priority", priority.to_string());
        }
        if let Some(expires) = own.expires {
            option("expires", expires.as_secs_f64().to_string());
        }
        let serializer = own.serializer.as_ref().unwrap_or(&self.settings.serializer);
        if serializer != "json" {
            option("serializer", quoted(serializer));
        }
        if let Some(compression) = own
            .compression
            .as_ref()
            .or(self.settings.compression.as_ref())
        {
            option("compression", quoted(compression));
        }
        if task.options.ignore_result == Some(true) {
            option("ignore_result", "True".to_owned());
        }
        Ok(options)
    }

    /// The queue behind a name or an alias, noted when it hangs on an exchange.
    fn reached(&mut self, name: &str) -> Result<String, Failure> {
        let place = self
            .topology
            .find(name)
            .map_err(|error| Failure::settings(chain(&error)))?;
        let special = match place {
            Some(Place::Shared(binding)) if binding.kind == ExchangeType::Direct => {
                return Ok(binding.queue.to_string());
            }
            Some(Place::Shared(binding)) => [
                binding.queue.to_string(),
                binding.exchange,
                binding.kind.name().to_owned(),
                binding.routing_key,
            ],
            Some(Place::Broadcast {
                exchange,
                routing_key,
            }) => [name.to_owned(), exchange, "fanout".to_owned(), routing_key],
            _ => {
                return Err(Failure::settings(format!(
                    "the queue {name} is not among CELERY_TASK_QUEUES, and CELERY_TASK_CREATE_MISSING_QUEUES is off"
                )));
            }
        };
        let name = special[0].clone();
        if !self.special.contains(&special) {
            self.special.push(special);
            self.special.sort();
        }
        Ok(name)
    }

    /// The queues that must be told of as a Python list.
    pub(crate) fn special(&self) -> String {
        let rows: String = self
            .special
            .iter()
            .map(|row| {
                let words: Vec<String> = row.iter().map(|word| quoted(word)).collect();
                format!("    ({}),\n", words.join(", "))
            })
            .collect();
        if rows.is_empty() {
            "[]".to_owned()
        } else {
            format!("[\n{rows}]")
        }
    }
}

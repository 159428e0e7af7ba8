//! What is not to be run (`celery/worker/control.py`, `revoke`, `terminate`, `revoke_by_stamped_headers`).
//!
//! It is recorded at the broker, where every worker of ours learns it, also one that starts later; what is recorded is applied
//! as if it had been said by any client (see [`crate::revoking`]).

use lovage_broker::{Revoke, Target};
use lovage_flower_compat::{Answer, Raised};
use lovage_protocol::{Map, Message, TaskId, Value, repr};
use tracing::info;

use super::{Panel, arguments::Arguments};
use crate::{pool::KillSignal, revoked, revoking};

impl Panel {
    pub(super) async fn revoke(
        &self,
        arguments: &Arguments,
        terminate: bool,
    ) -> Result<Answer, Raised> {
        let mut ids = arguments.texts("task_id");
        ids.sort();
        ids.dedup();
        let targets = ids.iter().map(|id| Target::Task(TaskId::from(id.as_str())));
        let targets: Vec<Target> = targets.collect();
        let signal = signal(arguments);
        // Before it is said, for what is said ends them.
        let mut here = if terminate {
            self.known_here().await
        } else {
            Vec::new()
        };
        self.record(
            targets,
            terminate.then(|| signal.clone()).and_then(Result::ok),
        )
        .await?;
        if !terminate {
            info!("Tasks flagged as revoked: {}", ids.join(", "));
            return Ok(Answer::ok(format!(
                "tasks {} flagged as revoked",
                python_set(&ids)
            )));
        }
        // As in Celery the tasks are flagged all the same.
        let signal = signal?;
        here.retain(|id| ids.iter().any(|asked| asked == id.as_str()));
        here.dedup();
        if here.is_empty() {
            return Ok(Answer::ok("terminate: tasks unknown"));
        }
        let here: Vec<&str> = here.iter().map(TaskId::as_str).collect();
        let here = here.join(", ");
        info!("Terminating {here} ({signal})");
        Ok(Answer::ok(format!("terminate: {here}")))
    }

    /// Those that run here, and those that wait for a slot.
    async fn known_here(&self) -> Vec<TaskId> {
        let running = self.shared.running.all().into_iter();
        let mut ids: Vec<TaskId> = running.map(|runs| runs.context.task_id().clone()).collect();
        let decode = &self.shared.decode;
        let waiting = self.shared.line.waiting().await;
        let waiting = waiting
            .iter()
            .filter_map(|delivery| Message::parse_with(&delivery.raw, decode).ok());
        ids.extend(waiting.map(|message| message.headers.id));
        ids
    }

    pub(super) async fn revoke_by_stamps(&self, arguments: &Arguments) -> Result<Answer, Raised> {
        let signal = signal(arguments)?;
        let headers = headers(arguments.get("headers"))?;
        let terminate = arguments.truth("terminate");
        let mut targets = Vec::new();
        for (header, stamps) in &headers {
            let stamps = match stamps {
                Value::List(stamps) => stamps.as_slice(),
                Value::Null => &[],
                stamp => std::slice::from_ref(stamp),
            };
            targets.extend(stamps.iter().map(|value| Target::Stamp {
                header: header.clone(),
                value: value.clone(),
            }));
        }
        // Before it is said, for what is said ends them.
        let met = self.met(&targets);
        self.record(targets, terminate.then_some(signal)).await?;
        let shown = repr::python_repr(&Value::Map(headers));
        Ok(Answer::ok(match (terminate, met.is_empty()) {
            (false, _) => format!("headers {shown} flagged as revoked, but not terminated"),
            (true, true) => format!("headers {shown} were not terminated"),
            (true, false) => {
                let met = met.iter().map(|(header, stamps)| {
                    format!("{}: {}", repr::python_string(header), python_set(stamps))
                });
                let met = met.collect::<Vec<_>>().join(", ");
                format!("headers defaultdict(<class 'set'>, {{{met}}}) revoked")
            }
        }))
    }

    /// The stamps among these that running tasks carry.
    fn met(&self, targets: &[Target]) -> Vec<(String, Vec<String>)> {
        let mut met: Vec<(String, Vec<String>)> = Vec::new();
        let running = self.shared.running.all();
        for target in targets {
            let Target::Stamp { header, value } = target else {
                continue;
            };
            let carried = running
                .iter()
                .any(|runs| revoked::carries(&runs.context.message().headers, target));
            if !carried {
                continue;
            }
            let text = value
                .as_str()
                .map_or_else(|| repr::python_repr(value), str::to_owned);
            match met.iter_mut().find(|(name, _)| name == header) {
                Some((_, stamps)) => stamps.push(text),
                None => met.push((header.clone(), vec![text])),
            }
        }
        met
    }

    async fn record(
        &self,
        targets: Vec<Target>,
        terminate: Option<KillSignal>,
    ) -> Result<(), Raised> {
        if targets.is_empty() {
            return Ok(());
        }
        let keep = self.shared.settings.worker.revokes;
        let revoke = Revoke {
            targets,
            terminate: terminate.map(|signal| signal.to_string()),
            life: keep.expires,
            most: keep.max,
        };
        let recorded = self
            .shared
            .joiner
            .broker
            .revocations()
            .revoke(&revoke)
            .await;
        recorded.map_err(|error| Raised::new("OperationalError", &error.to_string()))?;
        // It holds here when it is answered.
        revoking::catch_up(&self.shared).await;
        Ok(())
    }
}

/// The signal named, TERM when none is (`celery/platforms.py`, `signum`).
fn signal(arguments: &Arguments) -> Result<KillSignal, Raised> {
    let text = match arguments.get("signal") {
        Value::Null => return Ok(KillSignal::TERM),
        Value::Str(text) if text.is_empty() => return Ok(KillSignal::TERM),
        Value::Str(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        other => repr::python_repr(other),
    };
    text.parse().map_err(|_| {
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        let text = format!("module 'signal' has no attribute 'SIG{name}'");
        Raised::new("AttributeError", &text)
    })
}

/// An object, or a list of `name=value`.
fn headers(given: &Value) -> Result<Map, Raised> {
    match given {
        Value::Map(headers) => Ok(headers.clone()),
        Value::List(pairs) => pairs
            .iter()
            .map(|pair| {
                let pair = pair.as_str().and_then(|pair| pair.split_once('='));
                let Some((name, value)) = pair else {
                    return Err(Raised::new("IndexError", "list index out of range"));
                };
                // Celery takes what stands between the first two.
                let value = value.split('=').next().unwrap_or_default();
                Ok((name.to_owned(), Value::from(value)))
            })
            .collect(),
        other => {
            let text = format!("{} has no attribute 'items'", other.kind());
            Err(Raised::new("AttributeError", &text))
        }
    }
}

fn python_set(items: &[String]) -> String {
    if items.is_empty() {
        return "set()".to_owned();
    }
    let items: Vec<String> = items.iter().map(|item| repr::python_string(item)).collect();
    format!("{{{}}}", items.join(", "))
}

//! Schedules on behalf of callers: where they are kept, who may touch which, and what is refused.

use std::{fmt, slice, sync::Arc};

use lovage_beat::{
    ByHandError, DeclaredError, Defaults, Draft, MessageError, Roster, StoreError, check_all,
    prepare,
    store::{Save, Store, Stored},
};
use lovage_broker::Destination;
use lovage_client::{Client, Error as ClientError};
use lovage_protocol::{State, TaskId};
use lovage_registry::TaskSpec;
use lovage_settings::Settings;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    auth::{Identity, away},
    problem::{Code, Problem},
    sending::sender,
};

/// Fields of which one says when a schedule runs.
const TIMES: [&str; 4] = ["crontab", "every", "solar", "at"];

/// Schedules, and what they are held to.
pub(crate) struct Schedules {
    store: Arc<dyn Store>,
    client: Client,
    roster: Roster,
    defaults: Defaults,
}

impl fmt::Debug for Schedules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedules")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl Schedules {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        client: Client,
        specs: &[TaskSpec],
        settings: &Settings,
    ) -> Self {
        Self {
            store,
            client,
            roster: Roster::new(specs.iter().cloned()),
            defaults: Defaults {
                zone: settings.timezone,
                cron_deadline: settings.beat.cron_starting_deadline,
            },
        }
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// Refuses a schedule that cannot run, whose arguments its task does not take, or that sends what the caller may not send.
    ///
    /// # Errors
    /// Everything that is wrong, each with its field.
    pub(crate) fn check(&self, caller: &Identity, draft: &Draft) -> Result<(), Problem> {
        check_all(slice::from_ref(draft), &self.roster, &self.defaults).map_err(declared)?;
        self.require(caller, draft)
    }

    /// Refuses a schedule whose task or queue the caller's key is not for, and one whose message cannot be written.
    fn require(&self, caller: &Identity, draft: &Draft) -> Result<(), Problem> {
        caller.require_task(&draft.task)?;
        let now = self.client.clock().now();
        let message = prepare(&self.client, draft, Uuid::nil(), now).map_err(message)?;
        match &message.publish.destination {
            Destination::Queue(queue) => caller.require_queue(queue.as_str()),
            Destination::Exchange { exchange, .. } | Destination::Fanout { exchange, .. } => {
                caller.require_queue(exchange)
            }
            _ => Err(Problem::invalid(
                "queue: it would be sent to nowhere that is known",
            )),
        }
    }

    /// Whether a schedule is within a caller's reach.
    pub(crate) fn is_within(&self, caller: &Identity, stored: &Stored) -> bool {
        !caller.is_limited() || self.require(caller, &stored.definition.draft).is_ok()
    }

    /// The schedule of a name, as far as the caller may know of it.
    ///
    /// # Errors
    /// There is none.
    pub(crate) async fn find(&self, caller: &Identity, name: &str) -> Result<Stored, Problem> {
        let found = self.store.stored(name).await.map_err(store)?;
        found
            .filter(|found| self.is_within(caller, found))
            .ok_or_else(|| missing(name))
    }

    /// Saves a change, and gives the schedule as it is then. `None`: it is not as the change says.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn save(&self, save: &Save) -> Result<Option<Stored>, Problem> {
        if self.store.save(save).await.map_err(store)?.is_none() {
            return Ok(None);
        }
        let name = &save.definition.draft.name;
        self.store.stored(name).await.map_err(store)
    }

    /// The states of tasks as the result store has them.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn states(&self, ids: &[TaskId]) -> Result<Vec<Option<State>>, Problem> {
        let found = self.client.results().load_many(ids).await;
        let found = found.map_err(|error| sender::problem(&ClientError::from(error)))?;
        Ok(found
            .into_iter()
            .map(|meta| meta.map(|meta| meta.status))
            .collect())
    }
}

/// A draft with some fields changed, as RFC 7396 has it: null takes away. Who gives one of the fields that say when it runs need not
/// take the others away.
///
/// # Errors
/// A field that there is not, or that is not as it should be.
pub(crate) fn patched(
    before: &Draft,
    patch: impl IntoIterator<Item = (String, Value)>,
) -> Result<Draft, Problem> {
    let invalid = |field: &str, problem: &dyn fmt::Display| {
        Problem::invalid(format!("schedule {:?}: {field}: {problem}", before.name))
    };
    let whole = serde_json::to_value(before).map_err(|error| Problem::internal(&error))?;
    let Value::Object(mut whole) = whole else {
        return Ok(before.clone());
    };
    let patch: Map<String, Value> = patch.into_iter().collect();
    let says_when = |field: &str| patch.get(field).is_some_and(|value| !value.is_null());
    if TIMES.iter().any(|field| says_when(field)) {
        for field in TIMES.iter().chain(&["relative"]) {
            whole.remove(*field);
        }
    }
    for (field, value) in patch {
        if field == "name" {
            return Err(invalid(
                "name",
                &"cannot be changed; right would be a new schedule",
            ));
        }
        if value.is_null() {
            if field == "task" {
                return Err(invalid(
                    "task",
                    &"cannot be taken away; right would be the name of a task",
                ));
            }
            // What is unknown is refused, also when it is to go.
            if !is_known(&field) {
                return Err(invalid(&field, &"there is no such field"));
            }
            whole.remove(&field);
            continue;
        }
        // Alone first, so that what is wrong is told with its field.
        let mut alone = Map::new();
        alone.insert("name".to_owned(), before.name.clone().into());
        alone.insert("task".to_owned(), before.task.clone().into());
        alone.insert(field.clone(), value.clone());
        if let Err(problem) = serde_json::from_value::<Draft>(Value::Object(alone)) {
            return Err(invalid(&field, &problem));
        }
        whole.insert(field, value);
    }
    serde_json::from_value(Value::Object(whole)).map_err(|error| Problem::internal(&error))
}

fn is_known(field: &str) -> bool {
    let mut alone = Map::new();
    for needed in ["name", "task"] {
        alone.insert(needed.to_owned(), "".into());
    }
    alone.insert(field.to_owned(), Value::Null);
    let refused = serde_json::from_value::<Draft>(Value::Object(alone));
    !refused.is_err_and(|problem| problem.to_string().contains("unknown field"))
}

pub(crate) fn missing(name: &str) -> Problem {
    Problem::not_found(format!("there is no schedule {name:?}"))
}

/// Somebody was first.
pub(crate) fn changed(name: &str) -> Problem {
    Problem::new(
        Code::Changed,
        format!("the schedule {name:?} was changed meanwhile; look again"),
    )
}

/// What beat refuses of schedules, as a client is told.
pub(crate) fn declared(error: DeclaredError) -> Problem {
    match error {
        DeclaredError::Faults(_) => Problem::invalid(error.to_string()),
        DeclaredError::Store(error) => store(error),
        other => Problem::internal(&other),
    }
}

/// What the place of the schedules refuses, as a client is told.
pub(crate) fn store(error: StoreError) -> Problem {
    match error {
        StoreError::Database(error) => away(error),
        StoreError::Broker(error) => sender::broker_problem(&error),
        StoreError::Client(error) => sender::problem(&error),
        StoreError::NoQueue { .. } => Problem::new(Code::Conflict, error.to_string()),
        StoreError::Slow { .. } => {
            Problem::new(Code::DatabaseAway, error.to_string()).retry_after(2)
        }
        other => Problem::internal(&other),
    }
}

/// What cannot be written as a message, as a client is told.
fn message(error: MessageError) -> Problem {
    match error {
        MessageError::Draft(faults) => Problem::invalid(faults.to_string()),
        MessageError::Client(error) => sender::problem(&error),
        other => Problem::internal(&other),
    }
}

/// What cannot be done by hand, as a client is told.
pub(crate) fn by_hand(error: ByHandError) -> Problem {
    match error {
        ByHandError::Unknown(name) => missing(&name),
        ByHandError::Changed(_) | ByHandError::Declared { .. } | ByHandError::Silent(_) => {
            Problem::new(Code::Conflict, error.to_string())
        }
        ByHandError::TooMany { .. } => Problem::invalid(format!("until: {error}")),
        ByHandError::Draft(faults) => Problem::invalid(faults.to_string()),
        ByHandError::Message(error) => message(error),
        ByHandError::Client(error) => sender::problem(&error),
        ByHandError::Store(error) => store(error),
        other => Problem::internal(&other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn draft() -> Draft {
        let mut draft = Draft::new("nightly", "demo.add");
        draft.crontab = Some("0 3 * * *".to_owned());
        draft.args = vec![json!(1), json!(2)];
        draft.queue = Some("q".to_owned());
        draft
    }

    fn patch(patch: Value) -> Result<Draft, Problem> {
        let Value::Object(patch) = patch else {
            panic!("a patch is an object")
        };
        patched(&draft(), patch)
    }

    #[test]
    fn what_is_given_changes_and_null_takes_away() {
        let after = patch(json!({"every": "5m", "queue": null, "args": [3, 4]})).unwrap();
        assert_eq!(after.crontab, None);
        assert_eq!(after.every.unwrap().to_string(), "5m");
        assert_eq!((after.queue, after.args), (None, vec![json!(3), json!(4)]));
        assert_eq!(patch(json!({})).unwrap(), draft());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_field() {
        let check = |given: Value, words: &[&str]| {
            let problem = patch(given).unwrap_err();
            for word in words {
                assert!(problem.detail().contains(word), "{problem}");
            }
        };
        check(json!({"every": 300}), &["every: ", "unit"]);
        check(json!({"evry": "5m"}), &["evry: ", "unknown field"]);
        check(json!({"evry": null}), &["evry: ", "no such field"]);
        check(json!({"args": {}}), &["args: ", "a sequence"]);
        check(json!({"name": "x"}), &["name: ", "cannot be changed"]);
        check(json!({"task": null}), &["task: "]);
    }
}

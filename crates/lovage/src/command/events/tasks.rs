//! Tasks as their events tell of them (`celery/events/state.py`, `Task` and `State`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lovage_protocol::{State, Value, event::Event};

/// Characters that are kept of a text.
const TEXT: usize = 4096;

/// What is known of tasks, of a bounded number of them.
#[derive(Debug)]
pub(super) struct Tasks {
    most: usize,
    /// By the order in which they were first heard of.
    all: BTreeMap<u64, Task>,
    places: HashMap<String, u64>,
    /// Those of `all` that have ended; they are forgotten first.
    ended: BTreeSet<u64>,
    next: u64,
}

/// What is known of a task.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) state: State,
    /// When it came into that state, in unix seconds.
    pub(super) time: f64,
    pub(super) name: Option<String>,
    /// The node that has it.
    pub(super) worker: Option<String>,
    pub(super) started: Option<f64>,
    /// How long it ran, in seconds.
    pub(super) runtime: Option<f64>,
    /// Everything else that was said, by the names of the fields.
    pub(super) facts: BTreeMap<&'static str, String>,
}

/// Fields of events that are kept as text, in the order in which they are shown.
pub(super) const FACTS: [&str; 13] = [
    "args",
    "kwargs",
    "result",
    "exception",
    "traceback",
    "retries",
    "eta",
    "expires",
    "queue",
    "exchange",
    "routing_key",
    "root_id",
    "parent_id",
];

impl Tasks {
    /// Remembers at most so many.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            all: BTreeMap::new(),
            places: HashMap::new(),
            ended: BTreeSet::new(),
            next: 0,
        }
    }

    /// Takes in an event; one that is of no task is passed over.
    pub(super) fn hear(&mut self, event: &Event) {
        let Some(subject) = event.kind.strip_prefix("task-") else {
            return;
        };
        let Some(id) = event.text("uuid").filter(|id| !id.is_empty()) else {
            return;
        };
        let place = match self.places.get(id) {
            Some(place) => *place,
            None => self.add(id),
        };
        if let Some(task) = self.all.get_mut(&place) {
            task.take(subject, event);
            if task.state.is_ready() {
                self.ended.insert(place);
            } else {
                // One that failed may be sent again with the same id.
                self.ended.remove(&place);
            }
        }
        // Afterwards: what was just heard of is the last to go.
        if self.all.len() > self.most {
            self.forget_one(place);
        }
    }

    fn add(&mut self, id: &str) -> u64 {
        let place = self.next;
        self.next += 1;
        self.places.insert(id.to_owned(), place);
        self.all.insert(place, Task::new(id));
        place
    }

    fn forget_one(&mut self, but: u64) {
        let other = |place: &&u64| **place != but;
        let ended = self.ended.iter().find(other);
        let Some(place) = ended.or_else(|| self.all.keys().find(other)).copied() else {
            return;
        };
        self.ended.remove(&place);
        if let Some(task) = self.all.remove(&place) {
            self.places.remove(&task.id);
        }
    }

    pub(super) fn get(&self, id: &str) -> Option<&Task> {
        self.all.get(self.places.get(id)?)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The newest first.
    pub(super) fn newest(&self) -> impl Iterator<Item = &Task> {
        self.all.values().rev()
    }
}

impl Task {
    fn new(id: &str) -> Self {
        Self {
            id: cut(id),
            state: State::Pending,
            time: 0.0,
            name: None,
            worker: None,
            started: None,
            runtime: None,
            facts: BTreeMap::new(),
        }
    }

    fn take(&mut self, subject: &str, event: &Event) {
        let state = state_after(subject);
        // A retry begins the order anew; otherwise a late event does not take a task back.
        let late = state != State::Retry
            && self.state != State::Retry
            && precedence(&state) > precedence(&self.state);
        if !late {
            self.state = state.clone();
            self.time = event.timestamp;
        }
        if state == State::Started {
            self.started = Some(event.timestamp);
        }
        // What a client has sent is not at that client.
        if subject != "sent" && !event.hostname.is_empty() {
            self.worker = Some(cut(&event.hostname));
        }
        if let Some(name) = event.text("name") {
            self.name = Some(cut(name));
        }
        if let Some(runtime) = event.fields.get("runtime").and_then(Value::as_f64) {
            self.runtime = Some(runtime);
        }
        for name in FACTS {
            match event.fields.get(name) {
                None | Some(Value::Null) => {}
                // The end of it says what happened.
                Some(Value::Str(text)) if name == "traceback" => {
                    let skip = text.chars().count().saturating_sub(TEXT);
                    self.facts.insert(name, text.chars().skip(skip).collect());
                }
                Some(Value::Str(text)) => {
                    self.facts.insert(name, cut(text));
                }
                Some(other) => {
                    self.facts.insert(name, cut(&other.to_json()));
                }
            }
        }
    }

    /// Seconds that it ran, or runs by now. Only successes tell of it themselves.
    pub(super) fn ran(&self, now: f64) -> Option<f64> {
        let until = match self.state {
            State::Success => return self.runtime,
            State::Started => now,
            State::Failure | State::Retry | State::Revoked => self.time,
            _ => return None,
        };
        self.started.map(|started| (until - started).max(0.0))
    }

    /// Whether a text stands in what is shown of it, in any case.
    pub(super) fn mentions(&self, lowercase: &str) -> bool {
        let has = |text: &str| text.to_lowercase().contains(lowercase);
        has(&self.id)
            || has(self.state.as_str())
            || self.name.as_deref().is_some_and(has)
            || self.worker.as_deref().is_some_and(has)
            || self.facts.get("args").is_some_and(|args| has(args))
            || self.facts.get("kwargs").is_some_and(|kwargs| has(kwargs))
    }
}

fn cut(text: &str) -> String {
    crate::output::cut(text, TEXT).into_owned()
}

/// The state in which an event leaves a task; Celery calls that of others as the event is called.
fn state_after(subject: &str) -> State {
    match subject {
        "sent" => State::Pending,
        "received" => State::Received,
        "started" => State::Started,
        "succeeded" => State::Success,
        "failed" => State::Failure,
        "retried" => State::Retry,
        "revoked" => State::Revoked,
        "rejected" => State::Rejected,
        other => State::Custom(cut(&other.to_uppercase())),
    }
}

/// States in Celery's order (`celery/states.py`): the smaller one holds when events come out of order.
fn precedence(state: &State) -> u8 {
    match state {
        State::Success => 0,
        State::Failure => 1,
        State::Revoked => 3,
        State::Started => 4,
        State::Received => 5,
        State::Rejected => 6,
        State::Retry => 7,
        State::Pending => 8,
        _ => 2,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use lovage_protocol::Map;

    use super::*;

    /// An event of a task at a time, with further fields as JSON.
    pub(in crate::command::events) fn event(
        id: &str,
        subject: &str,
        time: f64,
        more: &str,
    ) -> Event {
        let Value::Map(mut fields) = Value::from_json(more.as_bytes()).unwrap() else {
            panic!("an object")
        };
        fields.insert("uuid".to_owned(), id.into());
        Event {
            kind: format!("task-{subject}"),
            hostname: "w@h".to_owned(),
            timestamp: time,
            clock: None,
            fields,
        }
    }

    fn state_of(subjects: &[&str]) -> State {
        let mut tasks = Tasks::new(10);
        for (time, subject) in (1_u32..).zip(subjects) {
            tasks.hear(&event("a", subject, f64::from(time), "{}"));
        }
        tasks.get("a").unwrap().state.clone()
    }

    #[test]
    fn the_order_of_states_is_that_of_celery() {
        let check = |subjects: &[&str], expected: &str| {
            assert_eq!(state_of(subjects).as_str(), expected, "{subjects:?}");
        };
        check(&["sent"], "PENDING");
        check(&["received", "started", "succeeded"], "SUCCESS");
        check(&["succeeded", "started", "received", "sent"], "SUCCESS");
        check(&["failed", "started"], "FAILURE");
        check(&["failed", "succeeded"], "SUCCESS");
        check(&["started", "checkpoint", "started"], "CHECKPOINT");
        check(&["checkpoint", "failed"], "FAILURE");
        check(&["failed", "checkpoint"], "FAILURE");
        check(&["received", "started", "retried"], "RETRY");
        check(&["retried", "received"], "RECEIVED");
        check(&["succeeded", "retried"], "RETRY");
        check(&["received", "rejected"], "RECEIVED");
        check(&["revoked", "started"], "REVOKED");
        check(&["started", "cancelled"], "CANCELLED");
    }

    #[test]
    fn late_events_complete_what_is_known() {
        let mut tasks = Tasks::new(10);
        tasks.hear(&event(
            "a",
            "succeeded",
            3.0,
            r#"{"result": "5", "runtime": 0.25}"#,
        ));
        tasks.hear(&event(
            "a",
            "received",
            1.0,
            r#"{"name": "t.add", "args": "(2, 3)", "kwargs": "{}", "retries": 0, "eta": null}"#,
        ));
        let task = tasks.get("a").unwrap();
        assert_eq!((task.state.as_str(), task.time), ("SUCCESS", 3.0));
        assert_eq!(task.name.as_deref(), Some("t.add"));
        assert_eq!(task.worker.as_deref(), Some("w@h"));
        assert_eq!(task.ran(9.0), Some(0.25));
        let facts = ["args", "result", "retries", "eta"].map(|name| task.facts.get(name).cloned());
        assert_eq!(
            facts,
            [Some("(2, 3)"), Some("5"), Some("0"), None].map(|fact| fact.map(str::to_owned))
        );
    }

    #[test]
    fn a_client_is_not_taken_for_the_worker() {
        let mut tasks = Tasks::new(10);
        tasks.hear(&event("a", "sent", 1.0, r#"{"name": "t.add"}"#));
        assert_eq!(tasks.get("a").unwrap().worker, None);
        tasks.hear(&event("a", "started", 2.0, "{}"));
        let task = tasks.get("a").unwrap();
        assert_eq!(task.worker.as_deref(), Some("w@h"));
        assert_eq!(task.ran(2.5), Some(0.5));
        tasks.hear(&event("a", "failed", 2.25, "{}"));
        assert_eq!(tasks.get("a").unwrap().ran(9.0), Some(0.25));
    }

    #[test]
    fn the_number_is_bounded_and_what_runs_is_kept_longest() {
        let mut tasks = Tasks::new(3);
        tasks.hear(&event("runs", "started", 1.0, "{}"));
        for number in 0..5 {
            tasks.hear(&event(&format!("d{number}"), "succeeded", 2.0, "{}"));
        }
        let ids: Vec<&str> = tasks.newest().map(|task| task.id.as_str()).collect();
        assert_eq!(ids, ["d4", "d3", "runs"]);
        for number in 0..5 {
            tasks.hear(&event(&format!("r{number}"), "started", 3.0, "{}"));
        }
        let ids: Vec<&str> = tasks.newest().map(|task| task.id.as_str()).collect();
        assert_eq!(ids, ["r4", "r3", "r2"]);
        assert_eq!(
            (tasks.len(), tasks.places.len(), tasks.ended.len()),
            (3, 3, 0)
        );
    }

    #[test]
    fn texts_are_bounded() {
        let mut tasks = Tasks::new(1);
        let mut long = event("a", "failed", 1.0, "{}");
        let text = format!("{}!", "é".repeat(2 * TEXT));
        for name in ["traceback", "result"] {
            long.fields
                .insert(name.to_owned(), Value::from(text.as_str()));
        }
        tasks.hear(&long);
        let facts = &tasks.get("a").unwrap().facts;
        assert_eq!(facts["traceback"].chars().count(), TEXT);
        assert_eq!(facts["result"].chars().count(), TEXT);
        assert!(facts["traceback"].ends_with('!'));
    }

    #[test]
    fn what_is_of_no_task_is_passed_over() {
        let mut tasks = Tasks::new(1);
        let mut nobody = event("a", "started", 1.0, "{}");
        nobody.fields = Map::new();
        tasks.hear(&nobody);
        nobody.kind = "worker-heartbeat".to_owned();
        tasks.hear(&nobody);
        assert_eq!(tasks.len(), 0);
    }

    #[test]
    fn a_text_is_found_in_what_is_shown() {
        let mut tasks = Tasks::new(1);
        tasks.hear(&event(
            "Ab-1",
            "received",
            1.0,
            r#"{"name": "mail.Send", "args": "('X',)"}"#,
        ));
        let task = tasks.get("Ab-1").unwrap();
        for text in ["ab-", "mail.send", "received", "w@h", "'x'", ""] {
            assert!(task.mentions(text), "{text}");
        }
        assert!(!task.mentions("result"));
    }
}

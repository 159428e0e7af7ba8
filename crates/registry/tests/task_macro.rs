//! What `#[lovage::task]` makes of functions of every accepted shape, run the way a worker runs them.
//!
//! The denied lints are part of the test: what the macro writes must not warn in a user's crate.
#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    clippy::pedantic,
    clippy::allow_attributes_without_reason
)]
#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap in a test is the failed test"
)]

extern crate lovage_registry as lovage;

use std::sync::Arc;

use celery::error::TaskError;
use celery::protocol::{Message, MessageHeaders, MessageProperties};
use celery::task::{Request, Task};
use celery::{Celery, CeleryBuilder};
use lovage::Described;
use lovage::state::{State, StateMap, scope};
use lovage_protocol::{Map, Value};
use serde_json::json;

/// A type that the tasks below reach by a relative path.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Outside(pub u8);

/// Tasks as a user writes them, one module down so that paths and visibility matter.
pub mod tasks {
    use celery::error::TaskError;
    use celery::task::{Task, TaskResult};
    use lovage_registry::State;
    use serde::{Deserialize, Serialize};

    const STANDARD: u8 = 3;

    /// Places.
    pub mod place {
        /// A place.
        #[derive(Debug, Clone, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        pub struct Address {
            /// The street with its number.
            pub street: String,
        }
    }

    /// Serialisable, but without a schema.
    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct Opaque(pub u8);

    /// What mails are sent with.
    #[derive(Debug)]
    pub struct Mailer {
        /// The sender's address.
        pub from: String,
    }

    /// Adds two numbers.
    ///
    /// The second one may be left out.
    #[lovage::task(name = "demo.add", rate_limit = "120/m", max_retries = 3, priority = 7)]
    pub fn add(
        x: i64,
        /// What is added.
        #[default = 5]
        y: i64,
    ) -> TaskResult<i64> {
        Ok(x + y)
    }

    /// Builds a report, once for each account and not too often.
    #[lovage::task(
        name = "report.build",
        unique = "account",
        join,
        debounce = 5,
        debounce_by = "account, day",
        limit = "5 per account; 100/m"
    )]
    pub fn report(account: i64, day: String) -> TaskResult<String> {
        Ok(format!("{account} {day}"))
    }

    #[lovage::task]
    pub(super) async fn greet(
        mut name: String,
        #[default = "Hello"] greeting: String,
        #[default(STANDARD)] times: u8,
        suffix: Option<String>,
    ) -> TaskResult<String> {
        tokio::task::yield_now().await;
        name.push_str(&suffix.unwrap_or_default());
        Ok(vec![format!("{greeting} {name}"); usize::from(times)].join(", "))
    }

    /// Sends a mail; the parameter called `params` is what rusty-celery's own macro calls its variable.
    #[lovage::task(
        name = "mail.send",
        queue = "mail",
        track_started,
        ignore_result = false,
        expires = 60
    )]
    pub(crate) async fn send(
        mailer: State<Mailer>,
        params: place::Address,
        to: String,
        counter: State<std::sync::atomic::AtomicU64>,
    ) -> Result<String, std::convert::Infallible> {
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(format!("{} -> {to}, {}", mailer.from, params.street))
    }

    #[lovage::task(bind = true, acks_late = true, time_limit = 4, hard_time_limit = 9)]
    fn whoami(task: &Self, loud: bool) -> TaskResult<String> {
        let name = format!("{} {}", Self::NAME, task.request().id);
        Ok(if loud { name.to_uppercase() } else { name })
    }

    /// A private task is registered and sent by its own module.
    pub(crate) async fn run_whoami(loud: bool) -> String {
        let _ = whoami::new(loud);
        super::run::<whoami>(serde_json::json!([loud]), super::Map::new())
            .await
            .unwrap()
    }

    pub(crate) fn whoami_spec() -> lovage::TaskSpec {
        <whoami as lovage::Described>::spec()
    }

    #[lovage::task]
    pub(crate) fn nothing() {
        let _ = 1 + 1;
    }

    #[lovage::task]
    pub(crate) fn opaque(value: super::Outside) -> TaskResult<Opaque> {
        Ok(Opaque(value.0))
    }

    #[lovage::task]
    pub(crate) fn any_error(text: String) -> anyhow::Result<u8> {
        use anyhow::Context as _;
        text.parse::<u8>().context("the text is no small number")
    }

    /// An error of one's own that says whether to retry.
    #[derive(Debug)]
    pub struct Busy;

    impl From<Busy> for TaskError {
        fn from(_: Busy) -> Self {
            Self::ExpectedError("busy".to_owned())
        }
    }

    #[lovage::task(wrapper = BusyTask, params_type = BusyArguments)]
    pub(crate) async fn busy(r#type: u8) -> Result<(), Busy> {
        assert_eq!(r#type, 1);
        Err(Busy)
    }
}

use tasks::{Mailer, place::Address};

/// An application that has no broker: rusty-celery only needs one to exist.
async fn brokerless() -> Arc<Celery> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}/", listener.local_addr().unwrap());
    let app = CeleryBuilder::new("test", &url)
        .broker_connection_max_retries(1)
        .build()
        .await;
    Arc::new(app.unwrap())
}

fn message() -> Message {
    Message {
        properties: MessageProperties {
            correlation_id: "id-1".to_owned(),
            content_type: "application/json".to_owned(),
            content_encoding: "utf-8".to_owned(),
            reply_to: None,
        },
        headers: MessageHeaders {
            id: "id-1".to_owned(),
            ..MessageHeaders::default()
        },
        raw_body: Vec::new(),
    }
}

/// Binds arguments and runs a task, as a worker does with a message.
async fn run<T: Described>(args: serde_json::Value, kwargs: Map) -> Result<T::Returns, TaskError> {
    let args = Value::from_serialize(&args).unwrap();
    let bound = T::spec().binder().bind(args, kwargs).unwrap();
    let params: T::Params = Value::Map(bound).deserialize().unwrap();
    let request = Request::<T>::new(brokerless().await, message(), params.clone());
    T::from_request(request, T::DEFAULTS).run(params).await
}

#[tokio::test]
async fn sync_and_async_tasks_run_with_their_defaults() {
    assert_eq!(
        run::<tasks::add>(json!([2, 3]), Map::new()).await.unwrap(),
        5
    );
    assert_eq!(run::<tasks::add>(json!([2]), Map::new()).await.unwrap(), 7);
    let greeting = run::<tasks::greet>(json!(["Ada"]), Map::new())
        .await
        .unwrap();
    assert_eq!(greeting, "Hello Ada, Hello Ada, Hello Ada");
    let kwargs = Map::from_iter([
        ("suffix".to_owned(), Value::from("!")),
        ("times".to_owned(), Value::from(1)),
    ]);
    assert_eq!(
        run::<tasks::greet>(json!(["Ada", "Ave"]), kwargs)
            .await
            .unwrap(),
        "Ave Ada!"
    );
    run::<tasks::nothing>(json!([]), Map::new()).await.unwrap();
    assert_eq!(
        run::<tasks::opaque>(json!([7]), Map::new())
            .await
            .unwrap()
            .0,
        7
    );
}

#[tokio::test]
async fn functions_can_still_be_called() {
    assert_eq!(tasks::add(2, 3).unwrap(), 5);
    let mailer = State::new(Mailer {
        from: "a@x".to_owned(),
    });
    let address = Address {
        street: "Rue 1".to_owned(),
    };
    let counter = State::new(std::sync::atomic::AtomicU64::new(0));
    let sent = tasks::send(mailer, address, "b@x".to_owned(), counter.clone())
        .await
        .unwrap();
    assert_eq!(sent, "a@x -> b@x, Rue 1");
    assert_eq!(counter.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn state_is_injected_and_is_no_parameter() {
    let spec = tasks::send::spec();
    assert_eq!(
        spec.params
            .iter()
            .map(|p| p.name.as_str())
            .collect::<Vec<_>>(),
        ["params", "to"]
    );
    assert_eq!(tasks::send::ARGS, ["params", "to"]);
    let mut states = StateMap::new();
    let missing: Vec<_> = states
        .missing(&spec)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(missing.len(), 2);
    assert!(missing[0].starts_with("task `mail.send` needs State<Mailer>, which no module"));
    assert!(
        missing[1].starts_with("task `mail.send` needs State<"),
        "{}",
        missing[1]
    );
    states.insert(Mailer {
        from: "a@x".to_owned(),
    });
    states.insert(std::sync::atomic::AtomicU64::new(0));
    assert!(states.missing(&spec).is_empty());
    let ran = scope(
        states,
        run::<tasks::send>(json!([{"street": "Rue 1"}, "b@x"]), Map::new()),
    );
    assert_eq!(ran.await.unwrap(), "a@x -> b@x, Rue 1");
}

#[tokio::test]
async fn a_bound_task_sees_itself() {
    assert_eq!(tasks::run_whoami(false).await, "whoami id-1");
    assert_eq!(tasks::run_whoami(true).await, "WHOAMI ID-1");
    let spec = tasks::whoami_spec();
    assert_eq!(spec.signature(), "whoami(loud: boolean)");
    assert_eq!(spec.options.acks_late, Some(true));
    assert_eq!(
        spec.options.soft_time_limit,
        Some(std::time::Duration::from_secs(4))
    );
    assert_eq!(
        spec.options.hard_time_limit,
        Some(std::time::Duration::from_secs(9))
    );
}

#[tokio::test]
async fn errors_become_task_errors() {
    let error = run::<tasks::any_error>(json!(["x"]), Map::new())
        .await
        .unwrap_err();
    let TaskError::UnexpectedError(text) = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        text,
        "the text is no small number: invalid digit found in string"
    );
    let error = run::<tasks::BusyTask>(json!([1]), Map::new())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, TaskError::ExpectedError(text) if text == "busy"),
        "{error:?}"
    );
}

#[test]
fn a_task_describes_itself() {
    let spec = tasks::add::spec();
    assert_eq!(spec.name.as_str(), "demo.add");
    assert_eq!(
        spec.doc.as_deref(),
        Some("Adds two numbers.\n\nThe second one may be left out.")
    );
    assert_eq!(spec.signature(), "demo.add(x: integer, y: integer = 5)");
    assert_eq!(
        spec.returns,
        Some(json!({"type": "integer", "format": "int64"}))
    );
    assert_eq!(
        spec.params[0].schema,
        json!({"type": "integer", "format": "int64"})
    );
    assert_eq!(spec.params[1].default, Some(json!(5)));
    assert_eq!(
        spec.params[1].schema["description"],
        json!("What is added.")
    );
    assert!(spec.typed && !spec.is_async && spec.state.is_empty());
    let limit = spec.options.rate_limit.unwrap();
    assert_eq!((limit.as_str(), limit.per_second()), ("120/m", 2.0));
    assert_eq!(lovage::RateLimit::parse("120/m").unwrap(), Some(limit));
    assert_eq!(spec.options.max_retries, Some(3));
    assert_eq!(spec.options.priority, Some(7));

    let spec = tasks::greet::spec();
    assert!(spec.is_async);
    assert_eq!(
        spec.signature(),
        "greet(name: string, greeting: string = \"Hello\", times: integer = 3, \
         suffix: string | null = null)"
    );

    let spec = tasks::send::spec();
    assert_eq!(spec.signature(), "mail.send(params: Address, to: string)");
    assert_eq!(
        spec.params[0].schema,
        json!({
            "type": "object",
            "title": "Address",
            "description": "A place.",
            "properties": {
                "street": {"type": "string", "description": "The street with its number."}
            },
            "required": ["street"],
        })
    );
    assert_eq!(spec.options.queue.unwrap().as_str(), "mail");
    assert_eq!(spec.options.track_started, Some(true));
    assert_eq!(spec.options.ignore_result, Some(false));
    assert_eq!(
        spec.options.expires,
        Some(std::time::Duration::from_mins(1))
    );

    assert_eq!(tasks::opaque::spec().params[0].schema, json!(true));
    assert_eq!(
        tasks::nothing::spec().returns,
        Some(json!({"type": "null"}))
    );
    assert_eq!(tasks::BusyTask::spec().params[0].name, "type");
    assert_eq!(tasks::BusyTask::NAME, "busy");
}

#[test]
fn what_a_task_says_of_when_it_may_run_is_recorded() {
    let admission = tasks::report::spec().options.admission;
    assert_eq!(
        admission.unique,
        Some(lovage::Unique::by(["account"]).join())
    );
    let debounce = admission.debounce.unwrap();
    assert_eq!(debounce.window, std::time::Duration::from_secs(5));
    assert_eq!(
        debounce.by,
        lovage::By::Names(vec!["account".into(), "day".into()])
    );
    let limits: Vec<String> = admission.limits.iter().map(ToString::to_string).collect();
    assert_eq!(limits, ["5 per account", "100/m"]);
    assert!(tasks::greet::spec().options.admission.is_free());
}

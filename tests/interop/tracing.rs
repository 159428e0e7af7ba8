//! One trace through both languages: Python's own instrumentation in producer and worker, Lovage's worker between them, and a
//! collector that both tell.

use lovage_integration_tests::collector::{Collector, Span};
use lovage_integration_tests::{LovageWorker, Python, PythonWorker, RedisServer};
use serde_json::{Value, json};

const RUST: &str = "lovage-worker";

/// A Python producer that is traced, and a Lovage worker of queue `rust` in some pool.
struct Traced {
    python: Python,
    collector: Collector,
    _rust: LovageWorker,
    redis: RedisServer,
}

impl Traced {
    fn start(pool: &str) -> Self {
        let redis = RedisServer::start();
        let collector = Collector::start();
        let rust = LovageWorker::builder(&redis)
            .program(env!("CARGO_BIN_EXE_test-tasks"))
            .queues("rust")
            .pool(pool)
            .variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
            .variable("OTEL_BSP_SCHEDULE_DELAY", "50")
            .start();
        let settings = json!({"test_collector": collector.url()});
        let mut python = Python::with_settings(&redis, &settings);
        python.run("import traced; from celery import chain, chord, group");
        Self {
            python,
            collector,
            _rust: rust,
            redis,
        }
    }

    /// A Python worker of queue `celery` that is traced, too.
    fn python_worker(&self) -> PythonWorker {
        let flags = ["-P", "solo", "--without-mingle"];
        let settings = json!({"test_collector": self.collector.url()});
        let url = self.redis.url();
        let mut worker = PythonWorker::launch("traced", &url, "python@%h", &flags, &settings);
        worker.wait_until_ready();
        worker
    }

    fn one(&self, service: &str, name: &str) -> Span {
        self.collector.wait_for_one(service, name)
    }

    /// Those of all services that came.
    fn count(&self, name: &str) -> usize {
        let spans = self.collector.spans();
        spans.iter().filter(|span| span.name == name).count()
    }
}

#[track_caller]
fn follows(child: &Span, parent: &Span) {
    assert_eq!(child.trace, parent.trace, "{child} and {parent}");
    assert_eq!(child.parent, parent.id, "{child} and {parent}");
}

#[test]
fn one_trace_goes_from_a_python_producer_through_a_rust_worker_to_a_python_worker() {
    let mut stage = Traced::start("async");
    let _worker = stage.python_worker();
    let answer = stage.python.run(
        r#"
        with traced.tracer.start_as_current_span("shop.order"):
            steps = chain(traced.add.s(1, 2).set(queue="rust"), app.tasks["py.add"].s(10).set(queue="celery"))
            result = steps.apply_async()
        answer([result.get(timeout=15), result.parent.id, result.id])
        "#,
    );
    assert_eq!(answer[0], 13);
    let order = stage.one("python-producer", "shop.order");
    let sent = stage.one("python-producer", "apply_async/demo.add");
    let ran = stage.one(RUST, "run/demo.add");
    let handed_on = stage.one(RUST, "apply_async/py.add");
    let ended = stage.one("python-worker", "run/py.add");
    follows(&sent, &order);
    follows(&ran, &sent);
    follows(&handed_on, &ran);
    follows(&ended, &handed_on);
    assert_eq!(ran.attribute("messaging.message.id"), answer[1]);

    // To whoever looks at them, spans of both languages are of one kind.
    for (rust, python) in [(&ran, &ended), (&handed_on, &sent)] {
        assert_eq!(rust.kind, python.kind);
        for name in [
            "celery.action",
            "celery.state",
            "messaging.destination_kind",
        ] {
            assert_eq!(rust.attribute(name), python.attribute(name), "{name}");
        }
        // Texts of Python's own objects, and what only its producer knows.
        let own = [
            "celery.delivery_info",
            "celery.timelimit",
            "celery.exchange",
        ];
        let missing: Vec<&String> = python
            .attributes
            .keys()
            .filter(|name| !rust.attributes.contains_key(*name) && !own.contains(&name.as_str()))
            .collect();
        assert!(missing.is_empty(), "{rust} lacks {missing:?}");
    }
    assert_eq!(ran.attribute("celery.state"), "SUCCESS");
    assert_eq!(ran.attribute("messaging.destination"), "rust");
}

fn hands_its_trace_on(pool: &str) {
    let mut stage = Traced::start(pool);
    let _worker = stage.python_worker();
    let child = stage.python.run(
        r#"
        result = traced.parent.apply_async(("celery",), queue="rust")
        child = result.get(timeout=15)
        answer(app.AsyncResult(child).get(timeout=15)["id"])
        "#,
    );
    let sent = stage.one("python-producer", "apply_async/test.parent");
    let ran = stage.one(RUST, "run/test.parent");
    let inside = stage.one(RUST, "apply_async/py.request");
    let ended = stage.one("python-worker", "run/py.request");
    follows(&ran, &sent);
    follows(&inside, &ran);
    follows(&ended, &inside);
    assert_eq!(ended.attribute("messaging.message.id"), child);
}

#[test]
fn a_task_that_sends_another_hands_its_trace_on() {
    hands_its_trace_on("async");
}

#[test]
fn a_task_on_a_thread_hands_its_trace_on() {
    hands_its_trace_on("threads");
}

#[test]
fn a_task_in_a_child_process_hands_its_trace_on() {
    hands_its_trace_on("prefork");
}

#[test]
fn a_retry_goes_on_in_the_trace_and_is_linked_to_the_attempt_before() {
    let mut stage = Traced::start("async");
    stage.python.run(
        r#"
        result = traced.retry_then_succeed.apply_async((1,), queue="rust")
        answer(result.get(timeout=15))
        "#,
    );
    let sent = stage.one("python-producer", "apply_async/demo.retry_then_succeed");
    let runs = stage
        .collector
        .wait_for(RUST, "run/demo.retry_then_succeed", 2);
    let again = stage.one(RUST, "apply_async/demo.retry_then_succeed");
    let [first, second] = [&runs[0], &runs[1]];
    follows(first, &sent);
    assert_eq!(first.attribute("celery.state"), "RETRY");
    assert!(first.links.is_empty(), "{first}");
    assert_eq!(first.error, None, "a retry is no error");
    follows(&again, first);
    follows(second, &again);
    assert_eq!(second.links, std::slice::from_ref(&first.id));
    assert_eq!(second.attribute("celery.retries"), "1");
    assert_eq!(second.attribute("celery.state"), "SUCCESS");
}

#[test]
fn a_chord_s_body_is_linked_to_its_header() {
    let mut stage = Traced::start("async");
    let _worker = stage.python_worker();
    for (body, service) in [("demo.echo", RUST), ("py.echo", "python-worker")] {
        let queue = if service == RUST { "rust" } else { "celery" };
        let before = stage.count("run/demo.add");
        stage.python.run(&format!(
            r#"
            body = app.tasks["{body}"].s().set(queue="{queue}")
            with traced.tracer.start_as_current_span("shop.{queue}"):
                result = chord([traced.add.s(n, n).set(queue="rust") for n in (1, 2)])(body)
            answer(result.get(timeout=15))
            "#
        ));
        let order = stage.one("python-producer", &format!("shop.{queue}"));
        let sent = stage.one(RUST, &format!("apply_async/{body}"));
        let ran = stage.one(service, &format!("run/{body}"));
        let header = stage.collector.wait_for(RUST, "run/demo.add", before + 2);
        let header = &header[before..];
        follows(&ran, &sent);
        assert_eq!(sent.trace, order.trace);
        assert!(header.iter().any(|part| part.id == sent.parent), "{sent}");
        let sorted = |mut ids: Vec<String>| {
            ids.sort();
            ids
        };
        let parts = sorted(header.iter().map(|part| part.id.clone()).collect());
        assert_eq!(sorted(sent.links.clone()), parts);
        // Python's instrumentation reads no links.
        if service == RUST {
            assert_eq!(sorted(ran.links.clone()), parts);
        }
    }
}

#[test]
fn a_failure_is_an_error_with_its_exception() {
    let mut stage = Traced::start("async");
    let _worker = stage.python_worker();
    let raised: Value = stage.python.run(
        r#"
        answers = []
        for task, queue in ((traced.fail, "rust"), (app.tasks["py.fail"], "celery")):
            result = task.apply_async(("boom",), queue=queue)
            answers.append(type(result.get(timeout=15, propagate=False)).__name__)
        answer(answers)
        "#,
    );
    let rust = stage.one(RUST, "run/demo.fail");
    let python = stage.one("python-worker", "run/py.fail");
    for (span, class) in [(&rust, &raised[0]), (&python, &raised[1])] {
        assert_eq!(span.attribute("celery.state"), "FAILURE", "{span}");
        assert_eq!(span.error.as_deref(), Some("boom"), "{span}");
        let [(name, about)] = span.events.as_slice() else {
            panic!("{:?}", span.events);
        };
        assert_eq!(name, "exception");
        assert_eq!(about["exception.message"], "boom");
        assert!(about["exception.type"].ends_with(class.as_str().expect("a name")));
    }
}

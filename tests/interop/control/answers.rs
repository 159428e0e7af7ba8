//! Every answer has the keys and types of Celery's, whether the worker has anything to do or not.

use lovage_integration_tests::shape::{Allowed, differences, type_of};
use lovage_integration_tests::{Cast, Fleet};
use serde_json::{Value, json};

use super::{LOVAGE, PYTHON, send_sleeps};

/// Where an answer of ours may be shaped otherwise.
const ALLOWED: &[Allowed] = &[
    Allowed {
        path: "conf",
        reason: "each kind has settings of its own; those that both have are compared apart",
    },
    Allowed {
        path: "dump_conf",
        reason: "as conf",
    },
    Allowed {
        path: "stats.events",
        reason: "how many events were sent and lost: Flower shows it under Other",
    },
    Allowed {
        path: "memsample",
        reason: "Celery says null where psutil is not installed",
    },
    Allowed {
        path: "memdump",
        reason: "a text either way; Celery's depends on psutil",
    },
    Allowed {
        path: "hello.revoked",
        reason: "what one kind was told before the other",
    },
];

/// What is asked, with the arguments that the command line gives.
fn questions() -> Vec<(&'static str, Value)> {
    vec![
        ("ping", json!({})),
        ("clock", json!({})),
        ("stats", json!({})),
        ("active", json!({})),
        ("active", json!({"safe": true})),
        ("active", json!({"safe": false})),
        ("dump_active", json!({})),
        ("scheduled", json!({})),
        ("scheduled", json!({"safe": true})),
        ("dump_schedule", json!({})),
        ("reserved", json!({})),
        ("dump_reserved", json!({})),
        ("revoked", json!({})),
        ("dump_revoked", json!({})),
        ("registered", json!({})),
        (
            "registered",
            json!({"taskinfoitems": ["rate_limit", "max_retries", "name", "nothing"]}),
        ),
        ("registered", json!({"builtins": true})),
        ("dump_tasks", json!({"taskinfoitems": []})),
        ("active_queues", json!({})),
        ("conf", json!({"with_defaults": false})),
        ("dump_conf", json!({"with_defaults": true})),
        ("report", json!({})),
        ("memsample", json!({})),
        ("memdump", json!({})),
        (
            "hello",
            json!({"from_node": "other@peer", "revoked": ["an-id"]}),
        ),
        ("query_task", json!({"ids": ["no-such-id"]})),
    ]
}

fn compare(cast: &mut Cast, questions: &[(&'static str, Value)]) -> Vec<String> {
    let mut found = Vec::new();
    for (method, arguments) in questions {
        let answers = cast.ask_all(method, arguments);
        let different = differences(method, &answers[PYTHON], &answers[LOVAGE], ALLOWED);
        found.extend(
            different
                .iter()
                .map(|line| format!("{method} {arguments}: {line}")),
        );
    }
    found
}

#[test]
fn every_answer_is_shaped_as_celerys() {
    let mut cast = Cast::with(Fleet::Both, |peer| peer.events());
    let mut found = compare(&mut cast, &questions());
    let mut known = Vec::new();
    for (node, queue) in [(LOVAGE, "lovage"), (PYTHON, "python")] {
        let kwargs = json!({"kwargs": {"seconds": 60.0}, "countdown": 3600});
        let late = cast.send(queue, "demo.sleep", &json!([]), &kwargs);
        cast.ask_until(node, "scheduled", |held| *held != json!([]));
        known.push(vec![late]);
        known.push(send_sleeps(&mut cast, queue, 60.0, 4));
        cast.ask(node, "revoke", &json!({"task_id": ["one", "two"]}));
        cast.wait_for_active(node, 2);
        cast.ask_until(node, "reserved", |held| {
            held.as_array().is_some_and(|held| held.len() == 2)
        });
    }
    found.extend(compare(&mut cast, &questions()));
    // Each knows only its own tasks, so the ids become the same before they are compared.
    let ids = json!({"ids": known.concat()});
    let answers = cast.ask_all("query_task", &ids);
    let states = |node: &str| {
        let answer = answers[node].as_object().expect("an object").clone();
        let mut states: Vec<(String, Value)> = answer
            .into_values()
            .map(|state| {
                (
                    state[0].as_str().unwrap_or_default().to_owned(),
                    state[1].clone(),
                )
            })
            .collect();
        states.sort_by(|one, other| one.0.cmp(&other.0));
        states
    };
    let (ours, theirs) = (states(LOVAGE), states(PYTHON));
    let words = |states: &[(String, Value)]| {
        states
            .iter()
            .map(|state| state.0.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        words(&ours),
        ["active", "active", "reserved", "reserved", "scheduled"]
    );
    assert_eq!(words(&ours), words(&theirs));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        found.extend(differences(
            &format!("query_task.{}", ours.0),
            &theirs.1,
            &ours.1,
            ALLOWED,
        ));
    }
    assert!(
        found.is_empty(),
        "{} differences:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn settings_that_both_kinds_have_are_of_one_type() {
    let settings =
        |cast: &mut Cast, defaults: bool| cast.ask_all("conf", &json!({"with_defaults": defaults}));
    let mut cast = Cast::with(Fleet::Both, |peer| {
        peer.setting("task_acks_late", json!(true))
            .setting("worker_prefetch_multiplier", json!(3))
    });
    let changed = settings(&mut cast, false);
    for node in [LOVAGE, PYTHON] {
        let changed = changed[node].as_object().expect("an object");
        assert_eq!(
            changed["worker_prefetch_multiplier"], 3,
            "{node}: {changed:?}"
        );
        for name in ["broker_url", "result_backend"] {
            assert!(changed[name].is_string(), "{node}, {name}: {changed:?}");
        }
        assert!(
            !changed.contains_key("task_track_started"),
            "{node} shows a default: {changed:?}"
        );
    }
    let all = settings(&mut cast, true);
    let (ours, theirs) = (
        all[LOVAGE].as_object().expect("an object"),
        all[PYTHON].as_object().expect("an object"),
    );
    let known: Vec<&String> = ours
        .keys()
        .filter(|name| theirs.contains_key(*name))
        .collect();
    assert!(
        known.len() >= 20,
        "few of Celery's settings are shown: {known:?}"
    );
    let null = |value: &Value| value.is_null();
    let number = |value: &Value| value.is_number();
    let odd: Vec<String> = known
        .into_iter()
        .filter_map(|name| {
            let (ours, theirs) = (&ours[name], &theirs[name]);
            let fits = null(ours)
                || null(theirs)
                || (number(ours) && number(theirs))
                // Celery masks even None, whose type then cannot be seen.
                || theirs == "********"
                // Celery's default is no number of seconds but a span, and is shown as its text.
                || (name == "result_expires" && number(ours))
                || type_of(ours) == type_of(theirs);
            (!fits).then(|| format!("{name}: {theirs} in Python, {ours} here"))
        })
        .collect();
    assert!(odd.is_empty(), "{odd:?}");
}

#[test]
fn a_report_is_a_text_for_people() {
    let mut cast = Cast::of(Fleet::Both);
    for (node, answer) in cast.ask_all("report", &json!({})) {
        let text = answer["ok"].as_str().expect("a text");
        assert!(text.starts_with("\nsoftware -> "), "{node}: {text}");
        assert!(
            text.contains("platform -> ") && text.contains("settings -> "),
            "{node}: {text}"
        );
        // It ends with the settings that were changed, secrets masked.
        assert!(text.contains("broker_url: "), "{node}: {text}");
    }
}

#[test]
fn no_answer_tells_a_secret() {
    let secret = "a-secret-for-nobody";
    let redis = lovage_integration_tests::RedisServer::with_password(secret);
    let url = redis.port_url();
    for kind in [
        lovage_integration_tests::Kind::Lovage,
        lovage_integration_tests::Kind::Python,
    ] {
        let mut peer = lovage_integration_tests::Peer::builder(kind, &url).launch();
        let mut python = lovage_integration_tests::Python::start(&url, &url, &json!({}));
        peer.wait_until_ready();
        python.run("from asking import ask");
        for (method, arguments) in questions() {
            let code = format!(
                "ask({method:?}, {}, [{:?}])",
                lovage_integration_tests::cast::literal(&arguments),
                peer.node
            );
            let answer = python.eval(&code);
            assert!(
                answer.get(&peer.node).is_some(),
                "{method} is not answered: {answer}"
            );
            assert!(
                !answer.to_string().contains(secret),
                "{method} of {}: {answer}",
                peer.node
            );
        }
    }
}

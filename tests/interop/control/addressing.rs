//! Who is meant: all, those named, those whose name fits a pattern; and whether an answer is wanted.

use lovage_integration_tests::{Cast, Fleet, eventually};
use serde_json::{Value, json};

use super::{LOVAGE, each};

in_each_fleet!(
    requests_reach_whom_they_name,
    a_request_without_answer_is_obeyed
);

fn answering(cast: &mut Cast, addressing: &str) -> Vec<String> {
    let answers = cast
        .python
        .eval(&format!("ask('ping', timeout=0.5, {addressing})"));
    let answers = answers.as_object().expect("an object").clone();
    assert!(
        answers
            .values()
            .all(|answer| *answer == json!({"ok": "pong"})),
        "{answers:?}"
    );
    let mut nodes: Vec<String> = answers.keys().cloned().collect();
    nodes.sort();
    nodes
}

fn requests_reach_whom_they_name(fleet: Fleet) {
    let mut cast = Cast::of(fleet);
    let mut all = cast.nodes();
    all.sort();
    let nobody: [&str; 0] = [];
    // Without a limit it waits for all that come, so an answer too many would be seen.
    assert_eq!(answering(&mut cast, ""), all);
    let limit = format!("limit={}", all.len());
    let everybody = [
        "destination=[]",
        "pattern='*@peer', matcher='glob'",
        "pattern='[lp]*', matcher='glob'",
        // Anchored at the start alone.
        r"pattern='\\w+@p', matcher='pcre'",
        // A pattern without a matcher means nothing.
        "pattern='nobody'",
    ];
    for addressing in everybody {
        assert_eq!(
            answering(&mut cast, &format!("{addressing}, {limit}")),
            all,
            "{addressing}"
        );
    }
    for addressing in [
        "destination=['nobody@nowhere']",
        // The whole name must fit, or its beginning.
        "pattern='peer', matcher='glob'",
        "pattern='peer', matcher='pcre'",
    ] {
        assert_eq!(answering(&mut cast, addressing), nobody, "{addressing}");
    }
    for node in cast.nodes() {
        let only = [node.clone()];
        let (name, _) = node.split_once('@').expect("a node name");
        assert_eq!(
            answering(
                &mut cast,
                &format!("destination=[{node:?}, 'nobody@nowhere']")
            ),
            only
        );
        for addressing in [
            format!("destination=[{node:?}]"),
            format!("pattern='{name}*', matcher='glob', limit=1"),
            format!("pattern='{name}|nobody', matcher='pcre', limit=1"),
            // Names go before patterns.
            format!("destination=[{node:?}], pattern='nobody', matcher='glob'"),
        ] {
            assert_eq!(answering(&mut cast, &addressing), only, "{addressing}");
        }
    }
}

fn a_request_without_answer_is_obeyed(fleet: Fleet) {
    let mut cast = Cast::of(fleet);
    for (node, _) in each(&cast) {
        cast.tell(&node, "revoke", &json!({"task_id": ["told"]}));
        cast.ask_until(&node, "revoked", |ids| *ids == json!(["told"]));
        cast.tell(&node, "no_such_command", &json!({}));
        cast.tell(&node, "rate_limit", &json!({}));
        cast.ask(&node, "ping", &json!({}));
    }
}

#[test]
fn an_answer_that_nobody_waits_for_is_dropped() {
    let mut cast = Cast::of(Fleet::Lovage);
    // One who asks, is bound to nothing, and would never read.
    cast.python.run(
        r#"
        from kombu import Exchange, Producer
        request = {"method": "ping", "arguments": {}, "destination": None, "pattern": None, "matcher": None,
                   "ticket": "a-ticket", "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": "nobody"}}
        with app.connection() as connection:
            Producer(connection).publish(request, exchange=Exchange("celery.pidbox", type="fanout"), serializer="json")
        "#,
    );
    cast.ask(LOVAGE, "ping", &json!({}));
    eventually("no list of a reply to be left", || {
        let keys: Vec<String> = cast.redis.command(&["KEYS", "*pidbox*"]);
        keys.iter().all(|key| !key.starts_with("nobody"))
    });
}

#[test]
fn nothing_of_a_question_stays_in_redis() {
    let mut cast = Cast::of(Fleet::Lovage);
    let keys = |cast: &Cast| {
        let mut keys: Vec<String> = cast.redis.command(&["KEYS", "*"]);
        keys.retain(|key| key.contains("pidbox") && !key.starts_with("_kombu.binding."));
        keys
    };
    for _ in 0..10 {
        cast.ask(LOVAGE, "stats", &Value::Null);
    }
    assert_eq!(keys(&cast), Vec::<String>::new());
}

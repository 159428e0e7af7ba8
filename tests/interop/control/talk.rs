//! What workers say to each other and to monitors: clocks, elections, beats.

use lovage_integration_tests::{Cast, Fleet, eventually};
use serde_json::{Value, json};

use super::{LOVAGE, PYTHON, assert_works, each};

in_each_fleet!(
    a_clock_moves_with_each_question,
    a_beat_comes_when_it_is_asked_for,
    hello_tells_what_was_revoked
);

fn a_clock_moves_with_each_question(fleet: Fleet) {
    let mut cast = Cast::of(fleet);
    for (node, _) in each(&cast) {
        let clock = |cast: &mut Cast| {
            cast.ask(&node, "clock", &json!({}))["clock"]
                .as_u64()
                .expect("a number")
        };
        let before = clock(&mut cast);
        let after = clock(&mut cast);
        assert!(before < after, "{node}: {before}, {after}");
    }
}

fn a_beat_comes_when_it_is_asked_for(fleet: Fleet) {
    // Beats of its own are an hour apart.
    let mut cast = Cast::with(fleet, |peer| peer.flag("--heartbeat-interval=3600"));
    cast.python
        .run("from listening import Listener\nlistener = Listener(app)");
    for (node, _) in each(&cast) {
        let before = beats(&mut cast, &node).len();
        cast.ask(&node, "heartbeat", &json!({}));
        eventually("a beat", || beats(&mut cast, &node).len() > before);
        let beat = beats(&mut cast, &node).pop().expect("a beat");
        assert_eq!(beat["freq"], 5, "{beat}");
        assert!(
            beat["sw_ident"].is_string()
                && beat["sw_ver"].is_string()
                && beat["sw_sys"].is_string(),
            "{beat}"
        );
    }
    assert_eq!(cast.python.eval("listener.trouble()"), json!([]));
}

fn beats(cast: &mut Cast, node: &str) -> Vec<Value> {
    let beats = cast
        .python
        .eval(&format!("listener.of_node({node:?}, 'worker-heartbeat')"));
    beats.as_array().expect("a list").clone()
}

fn hello_tells_what_was_revoked(fleet: Fleet) {
    let mut cast = Cast::of(fleet);
    for (node, _) in each(&cast) {
        cast.ask(&node, "revoke", &json!({"task_id": ["first"]}));
        let answer = cast.ask(
            &node,
            "hello",
            &json!({"from_node": "other@peer", "revoked": ["second"]}),
        );
        assert_eq!(answer["revoked"], json!(["first", "second"]));
        assert!(answer["clock"].is_u64(), "{answer}");
        assert_eq!(
            cast.ask(&node, "revoked", &json!({})),
            json!(["first", "second"])
        );
        assert_eq!(
            cast.ask(&node, "hello", &json!({"from_node": node})),
            Value::Null
        );
    }
}

/// A Celery worker ends with an IndexError when it hears an acknowledgement while it knows of one candidate (`kombu/clocks.py`,
/// `sort_heap`), as it does of its own in a fleet of two when the other's vote comes before the request. Such an election is
/// held again, by others.
#[test]
fn an_election_has_one_winner() {
    let won = (0..10).any(|_| one_winner(Cast::of(Fleet::Both)));
    assert!(won, "Celery's worker ended in each of ten elections");
}

/// False: Celery's worker did not live to see it.
fn one_winner(mut cast: Cast) -> bool {
    cast.python
        .run("from listening import Listener\nlistener = Listener(app)");
    for node in [LOVAGE, PYTHON] {
        // Gossip knows who is there by their beats.
        eventually("a beat of each", || !beats(&mut cast, node).is_empty());
    }
    let answers = cast.python.run(
        r#"
        action = app.signature("demo.add", (2, 3), queue="python", task_id="elected")
        answer(ask("election", {"id": "an-election", "topic": "task", "action": action}, limit=2))
        "#,
    );
    assert_eq!(answers, json!({LOVAGE: null, PYTHON: null}));
    let mut ended = false;
    eventually("the elected task to run", || {
        let celery = cast.peers.iter_mut().find(|peer| !peer.is_lovage());
        let celery = celery.expect("it is in the fleet").process();
        ended = !celery.is_running();
        ended || cast.redis.state("elected") == "SUCCESS"
    });
    if ended {
        return false;
    }
    let votes = cast
        .python
        .eval("sorted(e['hostname'] for e in listener.events if e['type'] == 'worker-elect')");
    assert_eq!(votes, json!([LOVAGE, PYTHON]));
    let votes = cast
        .python
        .eval("[e for e in listener.events if e['type'] == 'worker-elect']");
    for vote in votes.as_array().expect("a list") {
        assert_eq!(
            (&vote["id"], &vote["topic"], &vote["cver"]),
            (&json!("an-election"), &json!("task"), &json!(1)),
            "{vote}"
        );
    }
    for queue in ["lovage", "python"] {
        assert_works(&mut cast, queue);
    }
    let received = cast.python.eval("ask('stats', limit=2)");
    let total: u64 = [LOVAGE, PYTHON]
        .iter()
        .filter_map(|node| received[node]["total"]["demo.add"].as_u64())
        .sum();
    assert_eq!(total, 3, "the action was done once: {received}");
    true
}

#[test]
fn a_lovage_worker_survives_an_election_in_which_it_is_alone() {
    let mut cast = Cast::of(Fleet::Lovage);
    cast.python.run(
        r#"
        action = app.signature("demo.add", (2, 3), queue="lovage", task_id="elected")
        app.control.broadcast("election", {"id": "an-election", "topic": "task", "action": action})
        "#,
    );
    cast.redis.wait_for_state("elected", "SUCCESS");
    assert_works(&mut cast, "lovage");
}

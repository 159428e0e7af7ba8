//! Chords that Python sends and Lovage ends.

use lovage_integration_tests::Stage;
use serde_json::json;

const SENDER: &str = r#"
from celery import chain, chord, group, signature
from celery.canvas import chunks, xstarmap
from celery.result import GroupResult

def add(*args):
    return signature("demo.add", args=args, app=app)

echo = signature("demo.echo", app=app)

def outcome(result):
    try:
        # The error of a header would come before that of the body.
        return result.get(timeout=10, **({} if isinstance(result, GroupResult) else {"follow_parents": False}))
    except Exception as error:
        return [type(error).__name__, str(error)]
"#;

fn seen(expression: &str) -> serde_json::Value {
    let mut stage = Stage::new();
    stage.python.run(&format!("{SENDER}\nanswer({expression})"))
}

#[test]
fn a_body_gets_the_results_of_its_header_in_order() {
    let results = seen("outcome(chord([add(1, 1), add(2, 2), add(3, 3)])(echo))");
    assert_eq!(results, json!([[[2, 4, 6]], {}]));
}

#[test]
fn a_body_may_be_a_chain() {
    let results = seen("outcome((group(add(1, 1), add(2, 2)) | echo | echo).apply_async())");
    assert_eq!(results, json!([[[[[2, 4]], {}]], {}]));
}

#[test]
fn a_header_may_hold_chains() {
    let results = seen("outcome(chord([chain(add(1, 1), add(5)), add(2, 2)])(echo))");
    assert_eq!(results, json!([[[7, 4]], {}]));
}

#[test]
fn a_header_may_hold_groups() {
    let results =
        seen("outcome(chord([chain(add(1, 0), group(add(2), add(3))), add(3, 3)])(echo))");
    assert_eq!(results, json!([[[[3, 4], 6]], {}]));
}

#[test]
fn a_failed_header_fails_the_body() {
    let results = seen(
        r#"outcome(chord([signature("demo.fail", args=("no",), app=app, task_id="bad"), add(2, 2)])(echo))"#,
    );
    assert_eq!(results[0], "ChordError");
    let text = results[1].as_str().expect("a text");
    assert!(text.ends_with("raised RuntimeError('no')"), "{text}");
}

#[test]
fn a_step_that_fails_before_a_chord_fails_what_waits_for_it() {
    let results = seen(
        r#"outcome(chain(signature("demo.fail", args=("no",), app=app), group(add(1), add(2)), echo).apply_async())"#,
    );
    assert_eq!(results, json!(["RuntimeError", "no"]));
}

#[test]
fn a_chord_may_be_the_next_step_of_a_chain() {
    let results = seen(
        "outcome(chain(add(1, 1), group(add(1), chain(add(2), add(3)), signature(\"demo.add\", args=(5, 5), immutable=True, app=app)), echo, echo).apply_async())",
    );
    assert_eq!(results, json!([[[[[3, 7, 10]], {}]], {}]));
}

#[test]
fn the_children_of_a_step_before_a_chord_are_its_header() {
    let results = seen(
        "(lambda last: [outcome(last), [type(child).__name__ for child in app.AsyncResult(list(last._parents())[-1].id).children]])(chain(add(1, 1), group(add(1), add(2)), echo).apply_async())",
    );
    assert_eq!(results, json!([[[[3, 4]], {}], ["GroupResult"]]));
}

#[test]
fn a_body_may_be_a_group() {
    let results = seen("outcome(chord([add(1, 1), add(2, 2)])(group(echo, echo)))");
    assert_eq!(results, json!([[[[2, 4]], {}], [[[2, 4]], {}]]));
}

#[test]
fn a_chain_may_end_in_a_group() {
    let results = seen("outcome(chain(add(1, 1), group(add(1), add(2))).apply_async())");
    assert_eq!(results, json!([3, 4]));
}

#[test]
fn a_duplicate_in_a_header_counts_as_failed() {
    let door = tempfile::tempdir().expect("the temporary folder is writable");
    let path = door.path().join("door");
    let mut stage = Stage::with(|worker| {
        worker
            .program(env!("CARGO_BIN_EXE_test-tasks"))
            .variable("CELERY_TASK_TRACK_STARTED", "1")
    });
    let run = format!(
        r#"
first = signature("test.unique", args=(1, {path:?}), app=app, task_id="first")
first.apply_async()
while app.AsyncResult("first").state != "STARTED":
    pass
second = signature("test.unique", kwargs={{"door": "x", "account": 1}}, app=app, task_id="second")
last = chord([add(1, 1), second])(echo)
state = outcome(last)
open({path:?}, "w").close()
answer([state, outcome(app.AsyncResult("second")), app.AsyncResult("second").state, outcome(app.AsyncResult("first"))])
"#
    );
    let answer = stage.python.run(&format!("{SENDER}{run}"));
    assert_eq!(answer[0][0], "ChordError", "{answer}");
    let text = answer[0][1].as_str().expect("a text");
    assert!(
        text.ends_with("raised TaskRevokedError('duplicate of first')"),
        "{text}"
    );
    let second = json!(["TaskRevokedError", "duplicate of first"]);
    assert_eq!((&answer[1], &answer[2]), (&second, &json!("REVOKED")));
    assert_eq!(answer[3], json!(""));
}

#[test]
fn chords_may_stand_in_headers_and_in_bodies() {
    let results = seen(
        "outcome(chord([chord([add(1, 1), add(2, 2)], echo), add(3, 3)], chord([echo, echo], echo))())",
    );
    let inner = json!([[[[[[2, 4]], {}], 6]], {}]);
    assert_eq!(results, json!([[[inner, inner]], {}]));
}

#[test]
fn groups_and_chains_nest_in_each_other_and_in_chords() {
    let results = seen(
        "outcome((add(1, 1) | group(add(1), group(add(2), add(3) | add(4)), chord([add(5), add(6)], echo)) | echo | echo).apply_async())",
    );
    // Celery's producer turns the members of a group inside a group about.
    let header = json!([3, 9, 4, [[[7, 8]], {}]]);
    assert_eq!(results, json!([[[[header], {}]], {}]));
}

#[test]
fn a_failure_deep_inside_reaches_the_result_of_the_whole() {
    let results = seen(
        r#"outcome((chord([chord([signature("demo.fail", args=("no",), app=app), add(1, 1)], echo), add(2, 2)], echo) | echo).apply_async())"#,
    );
    assert_eq!(results[0], "ChordError");
}

#[test]
fn maps_and_chunks_run_a_task_here_for_each_item() {
    let results = seen(
        "[outcome(xstarmap(signature('demo.add', app=app), [(1, 2), (3, 4)], app=app).apply_async()), outcome(chunks(signature('demo.add', app=app), [(1, 2), (3, 4), (5, 6)], 2, app=app).group().apply_async())]",
    );
    assert_eq!(results, json!([[3, 7], [[3, 7], [11]]]));
}

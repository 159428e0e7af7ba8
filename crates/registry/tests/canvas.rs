//! The canvas functions of `#[lovage::task]`: what they make is what a Python producer's signatures are.
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

use std::time::Duration;

use lovage_protocol::canvas::{Canvas, CanvasError, IntoCanvas, chord, group_of, signature};
use lovage_protocol::{Map, Signature, Value, chain, group};
use serde_json::json;
use tasks::{add, add_all, bound, echo, keyed, mean, nothing, widened};

/// Tasks as a user writes them.
pub mod tasks {
    use std::collections::BTreeMap;

    use celery::task::TaskResult;
    use lovage_protocol::Value;
    use lovage_registry::State;

    /// Adds.
    #[lovage::task(name = "t.add")]
    pub fn add(x: i64, #[default = 5] y: i64) -> TaskResult<i64> {
        Ok(x + y)
    }

    /// Adds up.
    #[lovage::task(name = "t.sum")]
    pub fn add_all(numbers: Vec<i64>) -> TaskResult<i64> {
        Ok(numbers.iter().sum())
    }

    /// Whatever it is.
    #[lovage::task(name = "t.echo")]
    pub fn echo(it: Value) -> TaskResult<Value> {
        Ok(it)
    }

    /// Of wider numbers.
    #[lovage::task(name = "t.widened")]
    pub fn widened(x: f64, note: Option<String>) -> TaskResult<Option<f64>> {
        drop(note);
        Ok(Some(x))
    }

    /// Of numbers.
    #[lovage::task(name = "t.mean")]
    pub fn mean(low: i32, high: i32) -> TaskResult<i32> {
        Ok(i32::midpoint(low, high))
    }

    /// Takes nothing.
    #[lovage::task(name = "t.nothing")]
    pub fn nothing() -> TaskResult<()> {
        Ok(())
    }

    /// Neither the task nor a state is an argument.
    #[lovage::task(name = "t.bound", bind = true)]
    pub fn bound(task: &Self, scale: State<i64>, by: i64) -> TaskResult<i64> {
        let _ = task;
        Ok(*scale * by)
    }

    /// Keys that JSON cannot have.
    #[lovage::task(name = "t.keyed")]
    pub fn keyed(by: BTreeMap<(u8, u8), u8>) -> TaskResult<usize> {
        Ok(by.len())
    }
}

fn plain(signature: &Signature) -> serde_json::Value {
    serde_json::from_str(&signature.to_value().to_json()).unwrap()
}

#[track_caller]
fn check<T, G>(canvas: Canvas<T, G>, expected: &serde_json::Value) {
    assert_eq!(&plain(&canvas.into_signature().unwrap()), expected);
}

fn task(name: &str, args: &serde_json::Value) -> serde_json::Value {
    json!({"task": name, "args": args, "kwargs": {}, "options": {}, "subtask_type": null, "immutable": false})
}

fn fixed(name: &str, args: &serde_json::Value) -> serde_json::Value {
    let mut fixed = task(name, args);
    fixed["immutable"] = true.into();
    fixed
}

#[test]
fn a_call_has_the_parameters_of_its_function() {
    check(add::s(2, 3), &task("t.add", &json!([2, 3])));
    check(add::si(2, 3), &fixed("t.add", &json!([2, 3])));
    check(add::partial(3), &task("t.add", &json!([3])));
    check(add::s(2, 3).immutable(), &fixed("t.add", &json!([2, 3])));
    check(nothing::s(), &task("t.nothing", &json!([])));
    check(bound::s(4), &task("t.bound", &json!([4])));
    check(bound::partial(), &task("t.bound", &json!([])));
    check(
        widened::s(0.5, None),
        &task("t.widened", &json!([0.5, null])),
    );
}

#[test]
fn results_fit_what_can_hold_them() {
    let _ = chain![add::s(1, 1), add::partial(2), echo::partial()];
    let _ = chain![mean::s(1, 3), widened::partial(None)];
    let _ = chain![nothing::s(), add::si(1, 1), nothing::si()];
    let _ = chain![signature("py.any"), add::partial(1), signature("py.more")];
    let _ = chain![add::s(1, 1).untyped(), add_all::partial()];
    let _ = chain![group![mean::s(1, 1)], add_all::partial()];
    let _ = group![add::s(1, 1), signature("py.any"), nothing::s().untyped()];
    let _ = signature("py.any").link(add::partial(1));
    let _ = add::s(1, 1).link_error(echo::partial());
    let raw = Signature::new("py.any", Vec::new(), Map::new());
    let _ = chain![add::s(1, 1), raw, add::partial(1)];
}

#[test]
fn a_chain_is_celerys() {
    let whole = chain![add::s(1, 2), add::partial(3)];
    let steps = json!([task("t.add", &json!([1, 2])), task("t.add", &json!([3]))]);
    let mut chained = task("celery.chain", &json!([]));
    chained["kwargs"] = json!({"tasks": steps});
    chained["subtask_type"] = "chain".into();
    check(whole, &chained);
    check(add::s(1, 2) | add::partial(3), &chained);
    check(chain![add::s(1, 2)], &task("t.add", &json!([1, 2])));
}

#[test]
fn a_group_that_something_follows_is_a_chord_and_so_on_with_its_body() {
    let members = || group![add::s(1, 1), add::s(2, 2)];
    let mut expected = task("celery.chord", &json!([]));
    expected["subtask_type"] = "chord".into();
    let header = json!([task("t.add", &json!([1, 1])), task("t.add", &json!([2, 2]))]);
    expected["kwargs"] = json!({"kwargs": {}, "header": header, "body": task("t.sum", &json!([]))});
    check(chord(members(), add_all::partial()), &expected);
    check(chain![members(), add_all::partial()], &expected);
    let listed = [add::s(1, 1), add::s(2, 2)];
    check(chord(listed.clone(), add_all::partial()), &expected);
    check(chord(listed.to_vec(), add_all::partial()), &expected);
    check(chord(group_of(listed), add_all::partial()), &expected);

    let longer = chain![members(), add_all::partial(), add::partial(1)];
    let longer = plain(&longer.into_signature().unwrap());
    assert_eq!(longer["subtask_type"], "chord");
    assert_eq!(longer["kwargs"]["body"]["subtask_type"], "chain");
}

#[test]
fn a_group_without_members_ends_no_chain() {
    let nobody = group_of(
        Vec::<Canvas<_, _>>::from([add::si(1, 1)])
            .into_iter()
            .skip(1),
    );
    let refused = chain![add::s(1, 1), nobody].into_signature().unwrap_err();
    assert!(refused.to_string().contains("without members"), "{refused}");
}

#[test]
fn lists_of_arguments_are_maps_starmaps_and_chunks() {
    let inner = task("t.add", &json!([]));
    let mut mapped = fixed("celery.map", &json!([]));
    mapped["kwargs"] = json!({"task": inner, "it": [1, 2]});
    check(add::map([1, 2]), &mapped);
    let mut starred = fixed("celery.starmap", &json!([]));
    starred["kwargs"] = json!({"task": inner, "it": [[1, 2], [3, 4]]});
    check(add::starmap([(1, 2), (3, 4)]), &starred);
    check(signature("t.add").starmap([(1, 2), (3, 4)]), &starred);
    let pieces = add::chunks([(1, 2), (3, 4), (5, 6)], 2);
    let pieces = plain(&pieces.into_signature().unwrap());
    assert_eq!(pieces["kwargs"]["tasks"][0], starred);
    assert_eq!(
        pieces["kwargs"]["tasks"][1]["kwargs"]["it"],
        json!([[5, 6]])
    );
}

#[test]
fn options_have_celerys_names() {
    let canvas = add::s(1, 2)
        .queue("hot")
        .priority(4)
        .countdown(Duration::from_secs(3))
        .expires(Duration::from_millis(1500))
        .set("shadow", "nice")
        .link(add::partial(1))
        .link_error(echo::partial());
    let mut expected = task("t.add", &json!([1, 2]));
    expected["options"] = json!({
        "queue": "hot", "priority": 4, "countdown": 3, "expires": 1.5, "shadow": "nice",
        "link": [task("t.add", &json!([1]))], "link_error": [task("t.echo", &json!([]))],
    });
    check(canvas, &expected);
}

#[test]
fn stamps_reach_every_part_but_the_body_of_a_chord() {
    let header = [add::s(1, 1), add::s(2, 2)];
    let whole = chord(header, add_all::partial().stamp("own", 1)).stamp("customer", "c1");
    let whole = plain(&whole.into_signature().unwrap());
    let stamped = json!({"stamped_headers": ["customer"], "customer": "c1"});
    assert_eq!(whole["kwargs"]["header"][1]["options"], stamped);
    let own = json!({"stamped_headers": ["own"], "own": 1});
    assert_eq!(whole["kwargs"]["body"]["options"], own);

    let again = add::s(1, 1)
        .stamp("a", ["x"])
        .stamp("b", 1)
        .stamp("a", ["y"]);
    let again = plain(&again.into_signature().unwrap());
    let both = json!({"stamped_headers": ["a", "b"], "a": ["y", "x"], "b": 1});
    assert_eq!(again["options"], both);
}

#[test]
fn what_is_in_a_header_or_a_group_says_itself_that_it_is_immutable() {
    let whole = group![add::s(1, 1), add::s(2, 2)].immutable();
    let whole = plain(&whole.into_signature().unwrap());
    assert_eq!(whole["immutable"], false);
    assert_eq!(whole["kwargs"]["tasks"][1]["immutable"], true);
}

#[test]
fn what_cannot_be_written_is_told_once_it_is_used() {
    let odd = || keyed::s([((1, 2), 3)].into());
    let error = chain![odd(), add_like(), add::partial(1)].into_signature();
    let Err(CanvasError::Encode { task, .. }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(task, "t.keyed");
    assert!(
        group![add::s(1, 1), odd().untyped()]
            .into_signature()
            .is_err()
    );
    let refused = signature("py.any").args(5).into_signature().unwrap_err();
    assert!(refused.to_string().contains("expected a list"), "{refused}");
}

fn add_like()
-> impl IntoCanvas<Takes = lovage_protocol::canvas::Untyped, Gives = lovage_protocol::canvas::AnyOne>
{
    signature("py.add").args([Value::Int(1)])
}

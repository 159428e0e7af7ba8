//! Canvases of every shape, from their first messages to the result of the whole.

use std::time::Duration;

use lovage_client::canvas::{chain, chord, group};
use lovage_client::{Error, canvas};
use lovage_protocol::{Map, Signature, State, Value};
use lovage_worker::{Module, RawTask};

use crate::stage::{PATIENCE, Stage};

/// Tasks for bodies: the sum of whatever numbers there are, and the arguments as they come.
fn bodies() -> Module {
    fn total(value: &Value) -> i64 {
        match value {
            Value::List(items) => items.iter().map(total).sum(),
            other => other.as_i64().unwrap_or_default(),
        }
    }
    let total = RawTask::new("total", |call| async move {
        Ok(Value::Int(total(&Value::List(call.args))))
    });
    let echo = RawTask::new("echo", |call| async move { Ok(Value::List(call.args)) });
    Module::new("bodies").raw(total).raw(echo)
}

fn task(name: &str, args: &[i64]) -> Signature {
    let args = args.iter().map(|number| Value::Int(*number)).collect();
    Signature::new(name, args, Map::new())
}

fn sum(args: &[i64]) -> Signature {
    task("sum", args)
}

async fn outcome(stage: &Stage, whole: &Signature) -> Result<Value, Error> {
    let plan = stage.client.apply(whole).await.expect("it is sent");
    let id = plan.id().expect("something was sent");
    stage.client.handle::<Value>(id).get(PATIENCE).await
}

async fn check(whole: Signature, expected: &str) {
    let stage = Stage::start(bodies()).await;
    let found = outcome(&stage, &whole).await.expect("it succeeds");
    assert_eq!(found.to_json(), expected);
    stage.stop().await;
}

#[tokio::test]
async fn a_group_inside_a_chain_is_a_header_to_what_follows_it() {
    let middle = group([sum(&[1]), sum(&[2]), chain([sum(&[3]), sum(&[4])])]);
    check(
        chain([sum(&[1]), middle, task("total", &[]), sum(&[100])]),
        "113",
    )
    .await;
}

#[tokio::test]
async fn a_group_of_one_inside_a_chain_is_its_member() {
    check(chain([sum(&[1]), group([sum(&[2])]), sum(&[3])]), "6").await;
}

#[tokio::test]
async fn chains_inside_chains_are_one() {
    let inner = chain([sum(&[2]), chain([sum(&[3])])]);
    check(chain([chain([sum(&[1])]), inner, sum(&[4])]), "10").await;
}

#[tokio::test]
async fn what_follows_a_chord_runs_after_its_body() {
    let first = chord([sum(&[1]), sum(&[2])], &task("total", &[]));
    let second = chord([sum(&[10]), sum(&[20])], &task("total", &[]));
    check(chain([first, second, sum(&[100])]), "136").await;
}

#[tokio::test]
async fn a_header_takes_chords_chains_and_groups() {
    let inner = chord([sum(&[1]), sum(&[2])], &task("total", &[]));
    let nested = group([sum(&[20]), group([sum(&[30])])]);
    let header = [inner, chain([sum(&[4]), sum(&[5])]), nested];
    check(chord(header, &task("echo", &[])), "[[3, 9, 20, 30]]").await;
}

#[tokio::test]
async fn results_of_a_header_keep_the_shape_of_groups_at_the_end_of_chains() {
    let ends = chain([sum(&[1]), group([sum(&[2]), sum(&[3])])]);
    check(
        chord([ends, sum(&[6])], &task("echo", &[])),
        "[[[3, 4], 6]]",
    )
    .await;
}

#[tokio::test]
async fn a_body_may_be_a_chain_or_a_chord() {
    let inner = chord([sum(&[7]), sum(&[8])], &task("echo", &[]));
    let steps = chain([task("total", &[]), sum(&[10]), inner]);
    check(chord([sum(&[1]), sum(&[2])], &steps), "[[20, 21]]").await;
}

#[tokio::test]
async fn chords_may_stand_in_bodies_of_chords() {
    let total = || task("total", &[]);
    let inner = chord([total(), total()], &total());
    let outer = chord([sum(&[1]), sum(&[2])], &inner);
    check(chord([sum(&[1])], &chord([total(), total()], &outer)), "6").await;
}

#[tokio::test]
async fn a_body_that_is_a_group_gives_each_member_the_results() {
    let stage = Stage::start(bodies()).await;
    let mut members = [task("total", &[]), task("echo", &[5])];
    for (member, id) in members.iter_mut().zip(["one", "two"]) {
        member.options.insert("task_id".to_owned(), id.into());
    }
    let whole = chord([sum(&[1]), sum(&[2])], &group(members));
    stage.client.apply(&whole).await.unwrap();
    let one = stage.client.handle::<Value>("one").get(PATIENCE).await;
    let two = stage.client.handle::<Value>("two").get(PATIENCE).await;
    assert_eq!(one.unwrap().to_json(), "3");
    assert_eq!(two.unwrap().to_json(), "[[1, 2], 5]");
    stage.stop().await;
}

#[tokio::test]
async fn a_chord_without_a_header_runs_its_body_with_nothing() {
    check(chord([], &task("echo", &[])), "[[]]").await;
    check(chord([chain([])], &task("echo", &[])), "[[]]").await;
}

#[tokio::test]
async fn a_chord_of_a_thousand_comes_to_its_end() {
    let header = (0..1000).map(|number| sum(&[number]));
    check(chord(header, &task("total", &[])), "499500").await;
}

#[tokio::test]
async fn an_immutable_step_takes_no_result() {
    let mut fixed = sum(&[5]);
    fixed.immutable = true;
    check(chain([sum(&[1]), fixed, sum(&[1])]), "6").await;
}

#[tokio::test]
async fn a_failure_inside_reaches_the_body_of_the_outermost_chord() {
    let stage = Stage::start(bodies()).await;
    let inner = chord([task("fail", &[]), sum(&[1])], &task("total", &[]));
    let middle = chord([inner, sum(&[2])], &task("total", &[]));
    let outcome = outcome(&stage, &chord([middle, sum(&[3])], &task("total", &[]))).await;
    assert!(
        matches!(&outcome, Err(Error::Failed { exc_type, message, .. })
            if exc_type == "ChordError" && message.contains("Dependency")),
        "{outcome:?}"
    );
    stage.stop().await;
}

#[tokio::test]
async fn a_chain_that_fails_in_a_header_fails_the_body_and_the_steps_that_never_run() {
    let stage = Stage::start(bodies()).await;
    let mut last = sum(&[1]);
    last.options.insert("task_id".to_owned(), "never".into());
    let header = [chain([task("fail", &[]), sum(&[1]), last]), sum(&[1])];
    let whole = chain([chord(header, &task("total", &[])), sum(&[5])]);
    let outcome = outcome(&stage, &whole).await;
    assert!(matches!(outcome, Err(Error::Failed { .. })), "{outcome:?}");
    let never = stage.client.handle::<Value>("never");
    assert_eq!(never.state().await.unwrap(), State::Failure);
    stage.stop().await;
}

#[tokio::test]
async fn members_of_a_body_that_is_a_group_fail_with_what_the_header_raised() {
    let stage = Stage::start(bodies()).await;
    let mut member = task("total", &[]);
    member.options.insert("task_id".to_owned(), "member".into());
    let body = group([member, sum(&[1])]);
    stage
        .client
        .apply(&chord([task("fail", &[]), sum(&[1])], &body))
        .await
        .unwrap();
    let outcome = stage.client.handle::<Value>("member").get(PATIENCE).await;
    assert!(
        matches!(&outcome, Err(Error::Failed { exc_type, .. }) if exc_type == "ValueError"),
        "{outcome:?}"
    );
    stage.stop().await;
}

#[tokio::test]
async fn callbacks_and_stamps_of_a_chain_are_its_last_steps() {
    let stage = Stage::start(bodies()).await;
    let mut called = task("echo", &[]);
    called.options.insert("task_id".to_owned(), "called".into());
    let mut whole = chain([sum(&[1]), sum(&[2])]);
    canvas::link(&mut whole, "link", &[called]).unwrap();
    assert_eq!(outcome(&stage, &whole).await.unwrap().to_json(), "3");
    let called = stage.client.handle::<Value>("called").get(PATIENCE).await;
    assert_eq!(called.unwrap().to_json(), "[3]");
    stage.stop().await;
}

#[tokio::test]
async fn a_countdown_of_a_chord_is_its_headers() {
    let stage = Stage::start(bodies()).await;
    let mut whole = chord([sum(&[1])], &task("total", &[]));
    whole
        .options
        .insert("countdown".to_owned(), Value::Int(3600));
    let plan = stage.client.apply(&whole).await.unwrap();
    assert_eq!(plan.messages.len(), 1);
    let handle = stage.client.handle::<Value>(plan.id().unwrap());
    let early = handle.get(Duration::from_millis(50)).await;
    assert!(matches!(early, Err(Error::TimedOut { .. })), "{early:?}");
    stage.stop().await;
}

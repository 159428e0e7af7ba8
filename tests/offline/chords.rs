//! The end of a chord.

use std::time::Duration;

use lovage_broker::{ResultPlace, ResultWrite};
use lovage_client::{Error, Revocation};
use lovage_protocol::{Signature, Value};
use lovage_worker::{Module, RawTask};

use crate::stage::{PATIENCE, Stage};

/// Tasks for bodies: the sum of a list, and the arguments as they come.
fn bodies() -> Module {
    let total = RawTask::new("total", |call| async move {
        let parts = call.args[0].as_list().unwrap_or_default();
        Ok(Value::Int(parts.iter().filter_map(Value::as_i64).sum()))
    });
    let echo = RawTask::new("echo", |call| async move { Ok(Value::List(call.args)) });
    Module::new("bodies").raw(total).raw(echo)
}

fn signature(json: &str) -> Signature {
    let value = Value::from_json(json.as_bytes()).expect("it is JSON");
    Signature::from_value(value).expect("it is a signature")
}

fn write(stage: &Stage, key: &str, value: &str) {
    stage.broker.results().set(&ResultWrite {
        key: key.to_owned(),
        value: value.to_owned().into(),
        expires: None,
        place: ResultPlace::Memory,
    });
}

/// Sends `sum(n, n)` for each n of a header, as a Python producer does.
async fn send_header(stage: &Stage, group: &str, body: &str, header: &[(&str, i64)]) {
    let size = header.len().to_string();
    write(stage, &format!("celery-taskset-meta-{group}.s"), &size);
    let body = signature(body);
    for (index, (id, number)) in (0..).zip(header) {
        let call = stage.client.send_task("sum").task_id(*id);
        let mut call = call
            .args((number, number))
            .outgoing()
            .expect("the header is sent");
        call.group = Some(group.to_owned());
        call.group_index = Some(index);
        call.embed = call.embed.with_chord(Some(&body));
        stage
            .client
            .send_outgoing::<()>(call)
            .await
            .expect("the header is sent");
    }
}

#[tokio::test]
async fn a_body_that_is_a_chain_begins_with_the_results_of_the_header() {
    let stage = Stage::start(bodies()).await;
    let body = r#"{"task": "celery.chain", "subtask_type": "chain", "kwargs": {"tasks": [
        {"task": "total", "options": {"task_id": "total-1"}},
        {"task": "sum", "args": [10], "options": {"task_id": "last-1"}}]}}"#;
    send_header(&stage, "g1", body, &[("a", 1), ("b", 2)]).await;
    let last = stage.client.handle::<i64>("last-1");
    assert_eq!(last.get(PATIENCE).await.unwrap(), 16);
    stage.stop().await;
}

#[tokio::test]
async fn a_header_with_groups_inside_gives_results_of_its_own_shape() {
    let stage = Stage::start(bodies()).await;
    let saved = r#"{"result": [["g2", null], [
        [["inner", [["before", null], null]], [[["a", null], null], [["b", null], null]]],
        [["c", null], null]]]}"#;
    write(&stage, "celery-taskset-meta-g2", saved);
    let body = r#"{"task": "echo", "options": {"task_id": "body-2"}}"#;
    send_header(&stage, "g2", body, &[("a", 1), ("b", 2), ("c", 3)]).await;
    let echoed = stage.client.handle::<Value>("body-2").get(PATIENCE).await;
    assert_eq!(echoed.unwrap().to_json(), "[[[2, 4], 6]]");
    stage.stop().await;
}

#[tokio::test]
async fn a_body_that_cannot_be_sent_fails_instead_of_hanging() {
    let stage = Stage::start(bodies()).await;
    let body = r#"{"task": "celery.chord", "subtask_type": "chord", "kwargs": {"header": [{"task": "sum"}],
        "body": {"task": "total", "options": {"task_id": "member-3", "priority": "high"}}}}"#;
    send_header(&stage, "g3", body, &[("a", 1), ("b", 2)]).await;
    let outcome = stage.client.handle::<Value>("member-3").get(PATIENCE).await;
    assert!(
        matches!(&outcome, Err(Error::Failed { exc_type, message, .. })
            if exc_type == "ChordError" && message.contains("priority")),
        "{outcome:?}"
    );
    stage.stop().await;
}

#[tokio::test]
async fn a_chord_whose_worker_died_with_the_claim_is_ended_by_the_next() {
    let stage = Stage::start(bodies()).await;
    let body = r#"{"task": "total", "options": {"task_id": "body-4"}}"#;
    // Somebody has returned the only part, claimed the chord, and is gone.
    let part = lovage_broker::ChordPart {
        group_key: "celery-taskset-meta-g4".to_owned(),
        task_id: "a".into(),
        member: r#"[1, "a", "SUCCESS", 2]"#.into(),
        body: r#"{"task": "total"}"#.into(),
        index: Some(0.0),
        more: 0,
        expires: None,
        claim: Duration::from_secs(60),
        place: ResultPlace::Memory,
    };
    write(&stage, "celery-taskset-meta-g4.s", "1");
    claim_and_die(&stage, part).await;
    let call = stage.client.send_task("sum").task_id("a").args((1, 1));
    let mut call = call.header("redelivered", true).outgoing().unwrap();
    call.group = Some("g4".to_owned());
    call.group_index = Some(0);
    call.embed = call.embed.with_chord(Some(&signature(body)));
    stage.client.send_outgoing::<()>(call).await.unwrap();
    let total = stage.client.handle::<i64>("body-4");
    assert_eq!(total.get(PATIENCE).await.unwrap(), 2);
    stage.stop().await;
}

async fn claim_and_die(stage: &Stage, part: lovage_broker::ChordPart) {
    use lovage_broker::{Broker, ConsumerOptions, Finish, Finished, Want};
    use lovage_protocol::{NodeName, QueueName};
    let queue = QueueName::parse("elsewhere").expect("memory does not fail");
    let node = NodeName::parse("doomed@here").expect("memory does not fail");
    let doomed = stage
        .broker
        .consumer(ConsumerOptions::new(node, vec![queue]))
        .await
        .expect("memory does not fail");
    stage
        .client
        .send_task("sum")
        .queue("elsewhere")
        .await
        .expect("memory does not fail");
    let taken = doomed
        .fetch(Want { max: 1, start: 1 })
        .await
        .expect("memory does not fail");
    let ended = doomed
        .finish(vec![Finish {
            delivery: taken[0].clone(),
            settle: None,
            publishes: Vec::new(),
            results: Vec::new(),
            chord: Some(part),
            leave: None,
            record: None,
        }])
        .await
        .expect("memory does not fail");
    assert!(
        matches!(&ended[0], Finished::Done { chord: Some(_) }),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_revoked_member_fails_the_chord_while_the_others_succeed() {
    let stage = Stage::start(bodies()).await;
    let revocation = Revocation::of_tasks(["doomed"]);
    stage.client.revoke(&revocation).await.unwrap();
    let body = r#"{"task": "total", "options": {"task_id": "body-r"}}"#;
    send_header(&stage, "gr", body, &[("doomed", 1), ("other", 2)]).await;
    let outcome = stage.client.handle::<Value>("body-r").get(PATIENCE).await;
    assert!(
        matches!(&outcome, Err(Error::Failed { exc_type, message, .. })
            if exc_type == "ChordError" && message.contains("TaskRevokedError")),
        "{outcome:?}"
    );
    let other = stage.client.handle::<i64>("other").get(PATIENCE).await;
    assert_eq!(other.unwrap(), 4);
    stage.stop().await;
}

//! Results of canvases that the other side sent.

use std::time::Duration;

use lovage::protocol::Value;
use lovage::{GroupResult, ResultNode, chain, group};
use lovage_integration_tests::canvas_tasks::{add, mul, sum};
use lovage_integration_tests::{Stage, client_at};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(15);

fn stage() -> Stage {
    Stage::with(|worker| worker.program(env!("CARGO_BIN_EXE_test-tasks")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_saved_by_one_and_restored_by_the_other() {
    let mut stage = stage();
    let client = client_at(&stage.redis.url(), &stage.redis.url()).await;
    let client = client.expect("Redis can be reached");
    let id = stage.python.run(
        r#"
        from celery import chain, group, signature
        add = lambda *args: signature("canvas.add", args=args, app=app)
        sent = group(add(1, 1), chain(add(2, 2), add(1))).apply_async()
        sent.save()
        answer(sent.id)
        "#,
    );
    let restored = GroupResult::<i64>::restore(&client, id.as_str().expect("an id")).await;
    let restored = restored.expect("it can be read").expect("it is there");
    assert_eq!(restored.join(PATIENCE).await.expect("they succeed"), [2, 5]);
    assert!(restored.results()[1].parent().is_some(), "the step before");

    let ours = client.apply_async(group![add::s(1, 1), chain![add::s(2, 2), mul::partial(5)]]);
    let ours = ours.await.expect("it is sent");
    ours.save().await.expect("it is saved");
    let seen = stage.python.run(&format!(
        r#"
        from celery.result import GroupResult
        found = GroupResult.restore({:?}, app=app)
        answer([found.get(timeout=15), found.completed_count(), found.results[1].parent.get(timeout=15)])
        "#,
        ours.id().as_str()
    ));
    assert_eq!(seen, json!([[2, 20], 2, 4]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reference_names_is_the_same_on_both_sides() {
    let mut stage = stage();
    let client = client_at(&stage.redis.url(), &stage.redis.url()).await;
    let client = client.expect("Redis can be reached");
    let members = group![add::partial(1), add::partial(2)];
    let last = client.apply_async(chain![add::s(1, 1), members, sum::partial()]);
    let last = last.await.expect("it is sent");
    assert_eq!(last.get(PATIENCE).await.expect("it succeeds"), 7);
    let seen = stage.python.run(&format!(
        r#"
        import json
        from celery.result import result_from_tuple
        last = result_from_tuple(json.loads({:?}), app)
        answer([last.get(timeout=15), last.parent.get(timeout=15), last.parent.parent.get(timeout=15),
                len(list(last.parent.parent.iterdeps()))])
        "#,
        last.as_tuple().to_json()
    ));
    assert_eq!(seen, json!([7, [3, 4], 2, 4]));
    let first = last.root();
    let graph = first.build_graph(false).await.expect("all has ended");
    assert_eq!(
        graph.nodes().len(),
        4,
        "the first, the group and its members"
    );

    let reference = stage.python.run(
        r#"
        from celery import chord, signature
        add = lambda *args: signature("canvas.add", args=args, app=app)
        sent = chord([add(1, 1), add(2, 2)], signature("canvas.sum", app=app)).apply_async()
        answer(sent.as_tuple())
        "#,
    );
    let reference = Value::from_json(reference.to_string().as_bytes()).expect("it is JSON");
    let sent = ResultNode::from_tuple(&client, &reference).expect("it is a reference");
    assert_eq!(
        sent.get(PATIENCE).await.expect("it succeeds"),
        Value::Int(6)
    );
    assert!(sent.parent().and_then(ResultNode::as_group).is_some());
}

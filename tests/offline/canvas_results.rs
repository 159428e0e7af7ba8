//! Results of typed canvases: values, parents and children, groups as they come, what was saved.

use std::time::Duration;

use futures::StreamExt;
use lovage::canvas::{Canvas, chord, group_of, signature};
use lovage::protocol::{State, Value};
use lovage::{chain, group};
use lovage_client::{Error, GroupResult, ResultNode, ResultSet};
use lovage_integration_tests::canvas_tasks::{
    add, echo, fail, joins, module, mul, replaced, sends, sum,
};

use crate::stage::{PATIENCE, Stage};

async fn stage() -> Stage {
    Stage::start(module()).await
}

#[tokio::test]
async fn a_chain_gives_the_type_of_its_last_step() {
    let stage = stage().await;
    let whole = chain![add::s(2, 2), mul::partial(10), add::partial(2)];
    let value: i64 = stage
        .client
        .apply_async(whole)
        .await
        .unwrap()
        .get(PATIENCE)
        .await
        .unwrap();
    assert_eq!(value, 42);
    stage.stop().await;
}

#[tokio::test]
async fn a_group_gives_the_list_of_its_results_and_a_chord_takes_it() {
    let stage = stage().await;
    let client = &stage.client;
    let members = group_of((1..=3).map(|number| add::s(number, number)));
    let sent = client.apply_async(members.clone()).await.unwrap();
    assert_eq!(sent.join(PATIENCE).await.unwrap(), [2, 4, 6]);
    assert_eq!(sent.completed_count().await.unwrap(), 3);
    assert!(sent.ready().await.unwrap() && sent.successful().await.unwrap());
    assert!(!sent.waiting().await.unwrap() && !sent.failed().await.unwrap());

    let total = client
        .apply_async(chord(members, sum::partial()))
        .await
        .unwrap();
    assert_eq!(total.get(PATIENCE).await.unwrap(), 12);
    let header = total.parent().and_then(ResultNode::as_group).unwrap();
    assert_eq!(header.len(), 3);
    let nobody: Vec<Canvas<_, _>> = vec![add::s(1, 1)];
    let empty = client
        .apply_async(group_of(nobody.into_iter().skip(1)))
        .await
        .unwrap();
    assert_eq!(empty.join(PATIENCE).await.unwrap(), [0_i64; 0]);
    stage.stop().await;
}

/// Celery takes a group of one in a chain for its member; a body that was written for a list still gets one.
#[tokio::test]
async fn a_body_gets_a_list_also_of_one() {
    let stage = stage().await;
    let client = &stage.client;
    let of_one = || group_of([add::partial(1)]);
    let total = client
        .apply_async(chain![add::s(1, 1), of_one(), sum::partial()])
        .await
        .unwrap();
    assert_eq!(total.get(PATIENCE).await.unwrap(), 3);
    let listed = client
        .apply_async(chain![add::s(1, 1), of_one()])
        .await
        .unwrap();
    assert_eq!(listed.join(PATIENCE).await.unwrap(), [3]);
    stage.stop().await;
}

#[tokio::test]
async fn results_know_what_they_came_from_and_what_they_led_to() {
    let stage = stage().await;
    let client = &stage.client;
    let last = client
        .apply_async(chain![add::s(1, 1), mul::partial(5), add::partial(1)])
        .await
        .unwrap();
    assert_eq!(last.get(PATIENCE).await.unwrap(), 11);
    let middle = last.parent().and_then(ResultNode::as_task).unwrap();
    assert_eq!(middle.get(PATIENCE).await.unwrap(), Value::Int(10));
    let first = last.root();
    assert_eq!(first.get(PATIENCE).await.unwrap(), Value::Int(2));
    assert_eq!(
        last.as_list(),
        [last.id().clone(), middle.id().clone(), first.id().clone()]
    );

    let first = first.as_task().unwrap();
    let children = first.children().await.unwrap().unwrap();
    assert_eq!(children[0].id(), middle.id());
    let graph = first.graph().await.unwrap();
    let ids: Vec<&str> = graph
        .nodes()
        .iter()
        .map(|node| node.id().as_str())
        .collect();
    assert_eq!(
        ids,
        [
            first.id().as_str(),
            middle.id().as_str(),
            last.id().as_str()
        ]
    );
    assert_eq!(graph.edges(), [(0, 1), (1, 2)]);
    assert!(
        graph
            .to_dot()
            .contains(&format!("\"{}\" -> \"{}\"", first.id(), middle.id()))
    );
    let values = first.collect(PATIENCE).await.unwrap();
    let values: Vec<&Value> = values.iter().map(|(_, value)| value).collect();
    assert_eq!(values, [&Value::Int(2), &Value::Int(10), &Value::Int(11)]);

    last.forget().await.unwrap();
    assert!(!first.exists().await.unwrap(), "parents are forgotten too");
    stage.stop().await;
}

#[tokio::test]
async fn what_has_not_ended_has_no_graph_but_an_intermediate_one() {
    let stage = stage().await;
    let sent = stage
        .client
        .apply_async(add::s(1, 1).countdown(Duration::from_secs(3600)))
        .await
        .unwrap();
    assert!(matches!(sent.graph().await, Err(Error::Incomplete { .. })));
    let graph = sent.root().build_graph(true).await.unwrap();
    assert_eq!((graph.nodes().len(), graph.edges().len()), (1, 0));
    stage.stop().await;
}

#[tokio::test]
async fn a_failure_before_it_is_what_a_result_ends_with() {
    let stage = stage().await;
    let client = &stage.client;
    let cause = |error: Error| match error {
        Error::Failed {
            exc_type, message, ..
        } => format!("{exc_type}: {message}"),
        other => other.to_string(),
    };
    let broken = chain![fail::s("no".to_owned()), add::partial(1), add::partial(2)];
    let sent = client.apply_async(broken).await.unwrap();
    assert_eq!(
        cause(sent.get(PATIENCE).await.unwrap_err()),
        "ValueError: no"
    );
    assert_eq!(sent.state().await.unwrap(), State::Failure);

    let broken = chord([fail::s("no".to_owned()), add::s(1, 1)], sum::partial());
    let sent = client.apply_async(broken).await.unwrap();
    assert_eq!(
        cause(sent.get(PATIENCE).await.unwrap_err()),
        "ValueError: no"
    );
    let own = sent.wait(PATIENCE).await.unwrap();
    assert!(own.result.to_json().contains("ChordError"));

    let group = group![fail::s("no".to_owned()), add::s(1, 1)];
    let sent = client.apply_async(group).await.unwrap();
    assert_eq!(
        cause(sent.join(PATIENCE).await.unwrap_err()),
        "ValueError: no"
    );
    assert!(sent.failed().await.unwrap());
    stage.stop().await;
}

/// Nothing is stored for the steps after a revoked one: who waits for the last would wait for ever.
#[tokio::test]
async fn a_revoked_step_ends_the_wait_for_the_last() {
    let stage = stage().await;
    let first = add::s(1, 1).countdown(Duration::from_secs(3600));
    let sent = stage
        .client
        .apply_async(chain![first, add::partial(1)])
        .await
        .unwrap();
    let waiting = sent.get(PATIENCE);
    let revoking = async {
        let root = sent.root();
        root.as_task().unwrap().revoke().await.unwrap();
    };
    let (ended, ()) = tokio::join!(waiting, revoking);
    assert!(matches!(ended, Err(Error::Revoked { .. })), "{ended:?}");
    stage.stop().await;
}

#[tokio::test]
async fn results_of_a_group_are_had_as_they_come() {
    let stage = stage().await;
    let sent = stage
        .client
        .apply_async(group![add::s(1, 1), fail::s("no".to_owned()), add::s(2, 2)])
        .await
        .unwrap();
    let mut seen: Vec<_> = sent.iter_native(PATIENCE).collect().await;
    let place = |id: &lovage::protocol::TaskId| {
        sent.results()
            .iter()
            .position(|one| one.id() == id)
            .unwrap()
    };
    seen.sort_by_key(|(id, _)| place(id));
    let values: Vec<Option<i64>> = seen.into_iter().map(|(_, value)| value.ok()).collect();
    assert_eq!(values, [Some(2), None, Some(4)]);
    stage.stop().await;
}

#[tokio::test]
async fn a_saved_group_is_found_by_its_id() {
    let stage = stage().await;
    let client = &stage.client;
    let sent = client
        .apply_async(group![add::s(1, 1), add::s(2, 2)])
        .await
        .unwrap();
    let id = sent.id().clone();
    assert!(
        GroupResult::<i64>::restore(client, id.clone())
            .await
            .unwrap()
            .is_none()
    );
    sent.save().await.unwrap();
    let restored = GroupResult::<i64>::restore(client, id.clone())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(restored.as_tuple(), sent.as_tuple());
    assert_eq!(restored.join(PATIENCE).await.unwrap(), [2, 4]);
    restored.delete().await.unwrap();
    assert!(
        GroupResult::<i64>::restore(client, id)
            .await
            .unwrap()
            .is_none()
    );
    restored.forget().await.unwrap();
    assert!(
        restored.waiting().await.unwrap(),
        "nothing is known of its tasks"
    );
    stage.stop().await;
}

#[tokio::test]
async fn a_set_holds_each_result_once() {
    let stage = stage().await;
    let client = &stage.client;
    let one = client.apply_async(add::s(1, 1)).await.unwrap();
    let two = client.apply_async(add::s(2, 2)).await.unwrap();
    let mut set = ResultSet::new(client, [one.clone(), two.clone(), one.clone()]);
    assert_eq!(set.join(PATIENCE).await.unwrap(), [2, 4]);
    assert!(set.remove(one.id()) && !set.remove(one.id()));
    set.add(one);
    assert_eq!(set.get(PATIENCE).await.unwrap(), [4, 2]);
    set.clear();
    assert!(set.is_empty() && set.successful().await.unwrap());
    stage.stop().await;
}

#[tokio::test]
async fn tasks_use_typed_canvases_too() {
    let stage = stage().await;
    let client = &stage.client;
    let value = client
        .apply_async(replaced::s(4))
        .await
        .unwrap()
        .get(PATIENCE)
        .await
        .unwrap();
    assert_eq!(value, 10);
    let total = chord([joins::s(1), joins::s(2)], sum::partial());
    let total = client
        .apply_async(total)
        .await
        .unwrap()
        .get(PATIENCE)
        .await
        .unwrap();
    assert_eq!(total, 1 + 2 + 101 + 102);

    let sender = client.apply_async(sends::s(3)).await.unwrap();
    let last = sender.get(PATIENCE).await.unwrap().unwrap();
    assert_eq!(client.handle::<i64>(last).get(PATIENCE).await.unwrap(), 40);
    let children = sender.children().await.unwrap().unwrap();
    let values = children[0].collect(PATIENCE).await.unwrap();
    assert_eq!(values.last().unwrap().1, Value::Int(40));
    stage.stop().await;
}

#[tokio::test]
async fn lists_of_arguments_are_run_in_one_task_or_in_pieces() {
    let stage = stage().await;
    let client = &stage.client;
    let pairs = [(1, 2), (3, 4), (5, 6)];
    let sums = client.apply_async(add::starmap(pairs)).await.unwrap();
    assert_eq!(sums.get(PATIENCE).await.unwrap(), [3, 7, 11]);
    let pieces = client.apply_async(add::chunks(pairs, 2)).await.unwrap();
    assert_eq!(pieces.join(PATIENCE).await.unwrap(), [vec![3, 7], vec![11]]);
    let mapped = client
        .apply_async(sum::map([vec![1, 2], vec![3]]))
        .await
        .unwrap();
    assert_eq!(mapped.get(PATIENCE).await.unwrap(), [3, 3]);
    stage.stop().await;
}

#[tokio::test]
async fn what_is_known_by_its_name_mixes_with_what_is_typed() {
    let stage = stage().await;
    let client = &stage.client;
    let whole = chain![
        signature("canvas.add").args((1, 1)),
        mul::partial(10),
        group![signature("canvas.add").args((1,)), add::partial(2)],
        echo::partial(),
    ];
    let value = client
        .apply_async(whole)
        .await
        .unwrap()
        .get(PATIENCE)
        .await
        .unwrap();
    assert_eq!(value.to_json(), "[21, 22]");
    let raw = group![add::s(1, 1)].into_signature().unwrap();
    let node = client.apply_async(&raw).await.unwrap();
    assert_eq!(node.get(PATIENCE).await.unwrap().to_json(), "[2]");
    stage.stop().await;
}

#[tokio::test]
async fn what_ignores_its_result_is_not_waited_for() {
    let stage = stage().await;
    let sent = stage
        .client
        .apply_async(add::s(1, 1).ignore_result(true))
        .await
        .unwrap();
    assert!(matches!(
        sent.get(PATIENCE).await,
        Err(Error::Ignored { .. })
    ));
    stage.stop().await;
}

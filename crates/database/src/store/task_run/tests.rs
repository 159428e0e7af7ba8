use chrono::{DateTime, TimeDelta, Utc};
use lovage_protocol::{State, TaskId};

use super::{Change, Cursor, Filter, TaskRun, count, failed, find, find_many, page, record, tree};
use crate::{Database, testing::on_both};

fn time(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap() + TimeDelta::seconds(seconds)
}

fn change(id: &str, state: &str, seconds: i64) -> Change {
    Change::new(TaskId::from(id), State::from(state), time(seconds))
}

async fn run(database: &Database, id: &str) -> TaskRun {
    let id = TaskId::from(id);
    let found = find(database.reader(), &id).await.unwrap();
    found.unwrap_or_else(|| panic!("{id} is there"))
}

/// The life of a task that was retried once.
fn life(id: &str) -> Vec<Change> {
    let mut sent = change(id, "PENDING", 0);
    sent.name = Some("app.add".to_owned());
    sent.sent_at = Some(sent.at);
    let mut first = change(id, "RECEIVED", 1);
    first.retries = Some(0);
    first.worker = Some("a@h".to_owned());
    first.received_at = Some(first.at);
    let mut began = change(id, "STARTED", 2);
    began.worker = Some("a@h".to_owned());
    began.started_at = Some(began.at);
    let mut again = change(id, "RETRY", 3);
    again.retries = Some(0);
    again.exception = Some("OSError()".to_owned());
    again.traceback = Some("line 1".to_owned());
    let mut second = change(id, "RECEIVED", 4);
    second.retries = Some(1);
    second.worker = Some("b@h".to_owned());
    second.received_at = Some(second.at);
    let mut ended = change(id, "SUCCESS", 6);
    ended.worker = Some("b@h".to_owned());
    ended.result = Some("5".to_owned());
    ended.runtime = Some(0.25);
    ended.finished_at = Some(ended.at);
    vec![sent, first, began, again, second, ended]
}

/// Every order of so many things.
fn orders(length: usize) -> Vec<Vec<usize>> {
    if length == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for order in orders(length - 1) {
        for at in 0..length {
            let mut longer = order.clone();
            longer.insert(at, length - 1);
            all.push(longer);
        }
    }
    all
}

/// What does not depend on the order in which it was heard of.
fn told(run: &TaskRun) -> String {
    let TaskRun {
        state,
        state_at,
        name,
        worker,
        result,
        exception,
        traceback,
        retries,
        sent_at,
        received_at,
        started_at,
        finished_at,
        runtime,
        ..
    } = run;
    format!(
        "{state} {state_at} {name:?} {worker:?} {result:?} {exception:?} {traceback:?} {retries:?} {sent_at:?} {received_at:?} {started_at:?} {finished_at:?} {runtime:?}"
    )
}

on_both! {
    async fn what_failed_within_a_time_is_told(database: Database) {
        let failures = [change("a", "FAILURE", 1), change("b", "FAILURE", 2), change("c", "FAILURE", 3)];
        record(&database, failures).await.unwrap();
        record(&database, [change("d", "SUCCESS", 2)]).await.unwrap();
        let told = failed(database.reader(), time(1), time(3), 1).await.unwrap();
        let last: Vec<&str> = told.last.iter().map(|run| run.task_id.as_str()).collect();
        assert_eq!((told.total, last), (2, vec!["c"]));
    }

    async fn the_order_in_which_it_is_heard_of_does_not_matter(database: Database) {
        let orders = orders(6);
        record(&database, life("ordered")).await.unwrap();
        let expected = run(&database, "ordered").await;
        assert_eq!((expected.state.as_str(), expected.exception.as_deref()), ("SUCCESS", None));
        // One change of each task at a time: the database merges.
        for step in 0..6 {
            let changes = orders.iter().enumerate().map(|(number, order)| life(&format!("one-{number}")).remove(order[step]));
            record(&database, changes).await.unwrap();
        }
        // All changes of each task at once: they are merged in memory.
        let all = orders.iter().enumerate().flat_map(|(number, order)| {
            let life = life(&format!("all-{number}"));
            order.iter().map(move |at| life[*at].clone()).collect::<Vec<_>>()
        });
        assert_eq!(record(&database, all).await.unwrap(), 720);
        for way in ["one", "all"] {
            let ids: Vec<TaskId> = (0..720).map(|number| TaskId::from(format!("{way}-{number}"))).collect();
            let runs = find_many(database.reader(), &ids).await.unwrap();
            assert_eq!(runs.len(), 720);
            for run in runs {
                assert_eq!(told(&run), told(&expected), "{}", run.task_id);
            }
        }
    }

    async fn memory_and_database_merge_alike(database: Database) {
        let states = ["PENDING", "RECEIVED", "STARTED", "RETRY", "REJECTED", "PROGRESS", "REVOKED", "FAILURE", "SUCCESS"];
        let mut pairs = Vec::new();
        for (first, second) in states.iter().flat_map(|one| states.iter().map(move |two| (*one, *two))) {
            for (at, retries) in [(1, None), (2, None), (1, Some(1)), (1, Some(0)), (2, Some(0))] {
                let id = format!("{first}-{second}-{at}-{retries:?}");
                let pair = |prefix: &str| {
                    let id = format!("{prefix}{id}");
                    let (mut one, mut two) = (change(&id, first, 1), change(&id, second, at));
                    (one.retries, two.retries) = (retries.map(|_| 0), retries);
                    (one.exception, two.exception) = (Some("one".to_owned()), Some("two".to_owned()));
                    (one.queue, two.worker) = (Some("q".to_owned()), Some("w@h".to_owned()));
                    (one, two)
                };
                pairs.push((id.clone(), pair("memory-"), pair("database-")));
            }
        }
        record(&database, pairs.iter().flat_map(|(_, (one, two), _)| [one.clone(), two.clone()])).await.unwrap();
        record(&database, pairs.iter().map(|(_, _, (one, _))| one.clone())).await.unwrap();
        record(&database, pairs.iter().map(|(_, _, (_, two))| two.clone())).await.unwrap();
        let mut moved = 0;
        for (id, ..) in &pairs {
            let (memory, written) = (run(&database, &format!("memory-{id}")).await, run(&database, &format!("database-{id}")).await);
            assert_eq!(told(&memory), told(&written), "{id}");
            assert_eq!(memory.queue.as_deref(), Some("q"), "what is known stays");
            moved += usize::from(memory.exception.as_deref() == Some("two"));
        }
        assert!(moved > 100 && moved < pairs.len() - 100, "{moved} of {} moved on", pairs.len());
    }

    async fn everything_that_was_recorded_is_read(database: Database) {
        let mut full = change("full", "FAILURE", 9);
        let text = |text: &str| Some(format!("{text} é\u{1F33F}"));
        full.retries = Some(u32::MAX);
        full.name = text("name");
        full.queue = text("queue");
        full.routing_key = text("key");
        full.priority = Some(7);
        full.worker = text("worker");
        full.client = text("client");
        full.args = Some("('a\0b',)".to_owned());
        full.kwargs = text("kwargs");
        full.result = text("result");
        full.exception = text("exception");
        full.traceback = text("traceback");
        full.root_id = Some(TaskId::from("root"));
        full.parent_id = Some(TaskId::from("parent"));
        full.group_id = text("group");
        full.eta = Some(time(1) + TimeDelta::nanoseconds(1_234_567));
        full.expires = Some(time(2));
        full.sent_at = Some(time(3));
        full.received_at = Some(time(4));
        full.started_at = Some(time(5));
        full.finished_at = Some(time(6));
        full.runtime = Some(1.5);
        record(&database, [full.clone()]).await.unwrap();
        let read = run(&database, "full").await;
        assert_eq!(read.args.as_deref(), Some("('a\u{fffd}b',)"), "PostgreSQL has no such character");
        assert_eq!(read.eta, Some(time(1) + TimeDelta::microseconds(1_234)));
        let expected = TaskRun {
            task_id: full.task_id,
            state: full.state,
            state_at: full.at,
            retries: Some(i32::MAX),
            name: full.name,
            queue: full.queue,
            routing_key: full.routing_key,
            priority: full.priority,
            worker: full.worker,
            client: full.client,
            args: read.args.clone(),
            kwargs: full.kwargs,
            result: full.result,
            exception: full.exception,
            traceback: full.traceback,
            root_id: full.root_id,
            parent_id: full.parent_id,
            group_id: full.group_id,
            eta: read.eta,
            expires: full.expires,
            sent_at: full.sent_at,
            received_at: full.received_at,
            started_at: full.started_at,
            finished_at: full.finished_at,
            runtime: full.runtime,
            seen_at: full.at,
            updated_at: read.updated_at,
        };
        assert_eq!(read, expected);
        assert!((Utc::now() - read.updated_at).num_seconds().abs() < 60);
    }

    async fn pages_hold_every_match_once(database: Database) {
        let runs = (0..250).map(|number| {
            // Many at the same time.
            let mut one = change(&format!("_t%{number:03}/"), if number % 5 == 0 { "FAILURE" } else { "SUCCESS" }, number / 50);
            one.name = Some(format!("app.{}", number % 3));
            one.queue = Some(format!("q{}", number % 2));
            one.worker = Some("w@h".to_owned());
            one.args = Some(format!("('100%_{number}!\\',)"));
            one.root_id = Some(TaskId::from(if number < 10 { "_t%003/".to_owned() } else { format!("_t%{number:03}/") }));
            one
        });
        record(&database, runs).await.unwrap();
        let all = |filter: Filter| {
            let database = database.clone();
            async move {
                let (mut found, mut after): (Vec<String>, Option<Cursor>) = (Vec::new(), None);
                loop {
                    let part = page(database.reader(), &filter, after.as_ref(), 7).await.unwrap();
                    found.extend(part.runs.iter().map(|run| run.task_id.as_str().to_owned()));
                    let Some(next) = part.next else { break };
                    let parsed: Cursor = next.to_string().parse().unwrap();
                    assert_eq!(parsed, next);
                    after = Some(parsed);
                }
                assert_eq!(count(database.reader(), &filter).await.unwrap(), u64::try_from(found.len()).unwrap());
                found
            }
        };
        let everything = all(Filter::default()).await;
        let mut expected: Vec<String> = (0..250).map(|number| format!("_t%{number:03}/")).collect();
        expected.reverse();
        assert_eq!(everything, expected);
        let failed = Filter { states: vec![State::Failure], ..Filter::default() };
        assert_eq!(all(failed.clone()).await.len(), 50);
        let both = Filter { names: vec!["app.0".to_owned(), "app.1".to_owned()], queues: vec!["q0".to_owned()], ..failed };
        assert_eq!(all(both).await.len(), 17);
        let times = Filter { since: Some(time(1)), until: Some(time(3)), ..Filter::default() };
        assert_eq!(all(times).await.len(), 100);
        let text = Filter { text: Some("100%_24!\\'".to_owned()), ..Filter::default() };
        assert_eq!(all(text).await, ["_t%024/"], "the signs of patterns mean themselves");
        let case = Filter { text: Some("APP.1".to_owned()), ..Filter::default() };
        assert_eq!(all(case).await.len(), 83);
        let nobody = Filter { workers: vec!["x@h".to_owned()], ..Filter::default() };
        assert!(all(nobody).await.is_empty());
        let family = tree(database.reader(), &TaskId::from("_t%003/"), 100).await.unwrap();
        assert_eq!(family.len(), 10);
        assert!(family.windows(2).all(|pair| pair[0].seen_at <= pair[1].seen_at));
    }
}

#[test]
fn what_is_no_cursor_is_refused() {
    for wrong in [
        "",
        "1",
        "x.y",
        "1._",
        "1._g0",
        "1._ff",
        "99999999999999999999.a",
    ] {
        assert!(wrong.parse::<Cursor>().is_err(), "{wrong}");
    }
}

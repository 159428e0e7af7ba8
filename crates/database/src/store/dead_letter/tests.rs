use chrono::DateTime;

use super::{
    Act, Died, Fate, Filter, count, discard, edit, find, keep, latest, page, replay, waiting,
};
use crate::{Database, store::outbox, testing::on_both};

fn died(number: i64) -> Died {
    Died {
        source_id: format!("redis-{number}"),
        message: format!("{{\"number\": {number}, \"é\": \"\u{1}\"}}").into_bytes(),
        code: if number % 2 == 0 {
            "failed"
        } else {
            "unknown-task"
        }
        .to_owned(),
        detail: format!("100% of {number}"),
        traceback: Some("line 1".to_owned()),
        task: Some(format!("app.{}", number % 3)),
        task_id: Some(format!("id-{number}")),
        queue: "celery".to_owned(),
        worker: Some("w@h".to_owned()),
        died_at: DateTime::from_timestamp(1_700_000_000 + number, 0).unwrap(),
    }
}

async fn ids(database: &Database, filter: &Filter) -> Vec<i64> {
    let found = page(database.reader(), filter, None, 500).await.unwrap();
    found.iter().map(|letter| letter.id).collect()
}

async fn sent(database: &Database) -> Vec<Vec<u8>> {
    let waiting = outbox::next(database.reader(), 1000).await.unwrap();
    waiting
        .into_iter()
        .filter_map(|one| one.outgoing.message)
        .collect()
}

/// Does it with up to three of all that wait; gives their numbers.
async fn act(database: &Database, act: Act, by: &str) -> Vec<i64> {
    let transaction = database.begin().await.unwrap();
    let last = latest(&transaction).await.unwrap();
    let letters = waiting(&transaction, &Filter::default(), 0, last, 3)
        .await
        .unwrap();
    let mut done = Vec::new();
    for letter in letters {
        if act.on(&transaction, &letter, by).await.unwrap() {
            done.push(letter.id);
        }
    }
    transaction.commit().await.unwrap();
    done
}

on_both! {
    async fn a_letter_is_kept_once_and_byte_for_byte(database: Database) {
        let mut raw = died(1);
        raw.message = vec![0, 255, 10];
        raw.detail = "a\0b".to_owned();
        keep(database.writer(), [raw.clone(), died(2)]).await.unwrap();
        keep(database.writer(), [died(1), died(2), died(3)]).await.unwrap();
        keep(database.writer(), []).await.unwrap();
        let all = page(database.reader(), &Filter::default(), None, 10).await.unwrap();
        let sources: Vec<&str> = all.iter().map(|letter| letter.died.source_id.as_str()).collect();
        assert_eq!(sources, ["redis-3", "redis-2", "redis-1"], "the newest first");
        raw.detail = "a\u{fffd}b".to_owned();
        assert_eq!((&all[2].died, all[2].fate), (&raw, Fate::Waiting));
    }

    async fn letters_are_found_by_what_is_known_of_them(database: Database) {
        keep(database.writer(), (0..30).map(died)).await.unwrap();
        let found = async |filter: Filter| {
            let found = ids(&database, &filter).await;
            assert_eq!(count(database.reader(), &filter).await.unwrap(), u64::try_from(found.len()).unwrap());
            found.len()
        };
        assert_eq!(found(Filter::default()).await, 30);
        assert_eq!(found(Filter { codes: vec!["failed".to_owned()], ..Filter::default() }).await, 15);
        let both = Filter { codes: vec!["failed".to_owned()], tasks: vec!["app.0".to_owned()], ..Filter::default() };
        assert_eq!(found(both).await, 5);
        assert_eq!(found(Filter { task_id: Some("id-7".to_owned()), ..Filter::default() }).await, 1);
        assert_eq!(found(Filter { queues: vec!["other".to_owned()], ..Filter::default() }).await, 0);
        assert_eq!(found(Filter { since: Some(died(10).died_at), until: Some(died(20).died_at), ..Filter::default() }).await, 10);
        assert_eq!(found(Filter { text: Some("100% OF 2".to_owned()), ..Filter::default() }).await, 11);
        let all = ids(&database, &Filter::default()).await;
        let older = page(database.reader(), &Filter::default(), Some(all[9]), 5).await.unwrap();
        let older: Vec<i64> = older.iter().map(|letter| letter.id).collect();
        assert_eq!(older, all[10..15]);
    }

    async fn many_that_replay_at_once_send_one(database: Database) {
        keep(database.writer(), (0..20).map(died)).await.unwrap();
        let mut asking = tokio::task::JoinSet::new();
        for number in 0..4 {
            let database = database.clone();
            asking.spawn(async move {
                let by = format!("user {number}");
                let mut done = Vec::new();
                loop {
                    let some = act(&database, Act::Replay, &by).await;
                    if some.is_empty() && count(database.reader(), &Filter { fates: vec![Fate::Waiting], ..Filter::default() }).await.unwrap() == 0 {
                        return done;
                    }
                    done.extend(some);
                }
            });
        }
        let mut done: Vec<i64> = asking.join_all().await.concat();
        done.sort_unstable();
        let mut all = ids(&database, &Filter::default()).await;
        all.sort_unstable();
        assert_eq!(done, all, "each by one of them");
        let mut messages = sent(&database).await;
        messages.sort();
        let mut expected: Vec<Vec<u8>> = (0..20).map(|number| died(number).message).collect();
        expected.sort();
        assert_eq!(messages, expected);
    }

    async fn an_edited_letter_is_sent_as_it_was_edited(database: Database) {
        keep(database.writer(), [died(1)]).await.unwrap();
        let id = ids(&database, &Filter::default()).await[0];
        assert!(edit(database.writer(), id, 1, b"new".to_vec()).await.unwrap());
        assert!(!edit(database.writer(), id, 1, b"late".to_vec()).await.unwrap(), "somebody else was first");
        let transaction = database.begin().await.unwrap();
        assert!(replay(&transaction, id, "me").await.unwrap());
        transaction.rollback().await.unwrap();
        assert!(sent(&database).await.is_empty(), "and it waits still");
        assert!(replay(database.writer(), id, "me").await.unwrap());
        assert!(!replay(database.writer(), id, "me").await.unwrap());
        assert!(!discard(database.writer(), id, "me").await.unwrap());
        assert!(!edit(database.writer(), id, 3, b"late".to_vec()).await.unwrap());
        assert_eq!(sent(&database).await, [b"new"]);
        let letter = find(database.reader(), id).await.unwrap().unwrap();
        assert_eq!((letter.fate, letter.resolved_by.as_deref()), (Fate::Replayed, Some("me")));
        assert_eq!(letter.died.message, died(1).message, "the message stays");
    }

    async fn a_discarded_letter_is_not_sent(database: Database) {
        keep(database.writer(), (0..3).map(died)).await.unwrap();
        assert_eq!(act(&database, Act::Discard, "me").await.len(), 3);
        assert!(act(&database, Act::Replay, "me").await.is_empty());
        assert!(sent(&database).await.is_empty());
        assert_eq!(ids(&database, &Filter { fates: vec![Fate::Discarded], ..Filter::default() }).await.len(), 3);
    }

    async fn those_that_wait_come_in_their_order_and_no_later_ones(database: Database) {
        assert_eq!(latest(database.reader()).await.unwrap(), 0);
        keep(database.writer(), (0..6).map(died)).await.unwrap();
        let last = latest(database.reader()).await.unwrap();
        keep(database.writer(), [died(6)]).await.unwrap();
        let failed = Filter { codes: vec!["failed".to_owned()], ..Filter::default() };
        let found = async |after, limit| {
            let found = waiting(database.reader(), &failed, after, last, limit).await.unwrap();
            found.iter().map(|letter| letter.id).collect::<Vec<_>>()
        };
        let first = last - 5;
        assert_eq!(found(0, 10).await, [first, first + 2, first + 4]);
        assert_eq!(found(first, 1).await, [first + 2]);
        assert!(discard(database.writer(), first + 2, "me").await.unwrap());
        assert_eq!(found(0, 10).await, [first, first + 4]);
    }

    async fn a_letter_that_was_changed_since_it_was_read_is_left(database: Database) {
        keep(database.writer(), [died(1)]).await.unwrap();
        let id = ids(&database, &Filter::default()).await[0];
        let read = find(database.reader(), id).await.unwrap().unwrap();
        assert!(edit(database.writer(), id, 1, b"new".to_vec()).await.unwrap());
        for act in [Act::Replay, Act::Discard] {
            assert!(!act.on(database.writer(), &read, "me").await.unwrap());
        }
        assert!(sent(&database).await.is_empty());
        let read = find(database.writer(), id).await.unwrap().unwrap();
        assert!(Act::Replay.on(database.writer(), &read, "me").await.unwrap());
        assert_eq!(sent(&database).await, [b"new"]);
    }
}

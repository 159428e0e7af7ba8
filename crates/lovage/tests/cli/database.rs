//! `lovage migrate`, and `lovage dlq` with a database.

use std::{io::Write as _, process::Stdio, time::Instant};

use lovage_database::{
    Kind,
    testing::{TestDatabase, number},
};
use serde_json::json;

use crate::program::{PATIENCE, Place, command, run};

/// The names of all migrations, in their order; none is written here, for there will be more.
fn migrations(variables: &[(&str, &str)]) -> Vec<String> {
    let status = run(&["migrate", "status", "--json"], variables);
    let status: serde_json::Value = serde_json::from_str(&status.out).unwrap();
    let all = status["migrations"].as_array().unwrap();
    let names = all
        .iter()
        .map(|one| one["name"].as_str().unwrap().to_owned());
    names.collect()
}

/// Runs a behaviour on an empty database of each kind.
async fn on_both(behaviour: impl AsyncFn(TestDatabase)) {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        behaviour(TestDatabase::unmigrated(kind).await).await;
    }
}

#[tokio::test]
async fn migrations_go_up_and_down_one_by_one() {
    on_both(async |test| {
        let url = test.url();
        let variables = [("DATABASE_URL", url.as_str())];
        let at = |code: i32| {
            run(&["migrate", "status", "--json"], &variables)
                .expect(code)
                .json()
        };
        let before = at(1);
        assert_eq!(before["at_head"], false);
        assert_eq!(
            before["migrations"][0],
            json!({"name": "m0001_accounts", "applied": false})
        );
        assert!(!test.database.at_head().await.unwrap());
        let first = run(&["migrate", "up", "--steps", "1", "--json"], &variables)
            .expect(0)
            .json();
        assert_eq!(first["applied"], json!(["m0001_accounts"]));
        let rest = run(&["migrate", "up"], &variables).expect(0);
        assert!(
            rest.out.starts_with("applied m0002_history\n"),
            "{}",
            rest.out
        );
        let again = run(&["migrate", "up"], &variables).expect(0);
        assert!(
            again.out.is_empty() && again.err.contains("nothing to do"),
            "{again:?}"
        );
        assert_eq!(at(0)["at_head"], true);
        assert!(test.database.at_head().await.unwrap());
        let refused = run(&["migrate", "down"], &variables).expect(2);
        refused.one_line_with("--force");
        let down = run(&["migrate", "down", "--force", "--json"], &variables)
            .expect(0)
            .json();
        let all = migrations(&variables);
        assert_eq!(down["taken_back"], json!([all.last()]));
        assert!(!test.database.at_head().await.unwrap());
        run(&["migrate", "down", "--steps", "99", "--force"], &variables).expect(0);
        let text = run(&["migrate", "status"], &variables).expect(1);
        assert_eq!(
            text.out.matches("missing").count(),
            all.len(),
            "{}",
            text.out
        );
        run(&["migrate", "up"], &variables).expect(0);
        assert!(
            test.database.at_head().await.unwrap(),
            "all the way back and forth"
        );
        test.end().await;
    })
    .await;
}

#[tokio::test]
async fn many_that_migrate_at_once_do_it_once() {
    on_both(async |test| {
        let url = test.url();
        let variables = [("DATABASE_URL", url.as_str())];
        let running: Vec<_> = (0..6)
            .map(|_| {
                let mut command = command(&["migrate", "up", "--json"], &variables);
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
                command.spawn().unwrap()
            })
            .collect();
        let mut applied = 0;
        for one in running {
            let ended = one.wait_with_output().unwrap();
            let told = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert!(ended.status.success(), "{told}");
            let told: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
            applied += told["applied"].as_array().unwrap().len();
        }
        let all = migrations(&variables).len();
        assert_eq!(applied, all, "each by one of them");
        assert!(test.database.at_head().await.unwrap());
        test.end().await;
    })
    .await;
}

#[test]
fn a_database_that_is_away_is_named_without_its_password() {
    let url = "postgres://app:sesame@127.0.0.1:1/jobs";
    let variables = [("DATABASE_URL", url), ("LOVAGE_DATABASE_TIMEOUT", "200ms")];
    let ended = run(&["migrate", "up"], &variables).expect(1);
    ended.one_line_with("postgres://app:********@127.0.0.1:1/jobs");
    assert!(!ended.err.contains("sesame"), "{}", ended.err);
}

#[tokio::test]
async fn dead_letters_are_searched_edited_and_replayed_in_the_database() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let test = TestDatabase::new(kind).await;
        let url = test.url();
        let place = Place::new();
        let broker = place.variables();
        let variables = [broker[0], broker[1], ("DATABASE_URL", url.as_str())];
        // No worker knows them.
        let mut worker = place.worker(&["-c", "1"]);
        worker.wait_for("ready");
        for name in ["lost.one", "lost.one", "lost.two"] {
            place.run(&["call", name]).expect(0);
        }
        let dlq = |words: &[&str]| {
            let words: Vec<&str> = ["dlq"].iter().chain(words).copied().collect();
            run(&words, &variables)
        };
        let until_waiting = |how_many: usize| {
            let since = Instant::now();
            loop {
                let waiting = dlq(&["list", "--json"]).expect(0).json();
                if waiting.as_array().unwrap().len() == how_many {
                    return;
                }
                assert!(
                    since.elapsed() < PATIENCE,
                    "{how_many} letters, not {waiting}"
                );
            }
        };
        until_waiting(3);
        let ones = dlq(&["list", "--task", "lost.one", "--json"])
            .expect(0)
            .json();
        assert_eq!(ones.as_array().unwrap().len(), 2, "{ones}");
        assert_eq!(ones[0]["code"], "unknown-task");
        let two = dlq(&["list", "--text", "LOST.TWO", "--json"])
            .expect(0)
            .json();
        let id = two[0]["id"].as_str().unwrap().to_owned();
        let mut editing = command(&["dlq", "edit", &id], &variables);
        let mut editing = editing
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let message = two[0]["raw"]
            .as_str()
            .unwrap()
            .replace("lost.two", "lost.new");
        editing
            .stdin
            .take()
            .unwrap()
            .write_all(message.as_bytes())
            .unwrap();
        assert!(editing.wait().unwrap().success());
        let replayed = dlq(&["replay", &id, "--json"]).expect(0).json();
        assert_eq!(
            replayed,
            json!({"replayed": 1, "missing": [], "already": {}})
        );
        dlq(&["replay", &id]).expect(1);
        // It is back at the worker, which does not know this one either.
        until_waiting(3);
        let gone = dlq(&["discard", "--all", "--task", "lost.one", "-f", "--json"])
            .expect(0)
            .json();
        assert_eq!(gone["discarded"], 2);
        let known = dlq(&["list", "--resolved", "--json"]).expect(0).json();
        let states: Vec<&str> = known
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["state"].as_str().unwrap())
            .collect();
        assert_eq!(
            states,
            ["waiting", "replayed", "discarded", "discarded"],
            "{known}"
        );
        assert_eq!(
            number(test.database.reader(), "SELECT count(*) FROM outbox").await,
            0
        );
        let without = place.run(&["dlq", "list", "--task", "x"]).expect(2);
        without.one_line_with("DATABASE_URL");
        test.end().await;
    }
}

//! Periodic tasks: schedules made, changed and run over HTTP.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use lovage_database::{Kind, testing::TestDatabase};
use lovage_integration_tests::{
    ApiServer, LovageWorker, RedisServer, api_server::Caller, beat::LovageBeat, wait,
};
use serde_json::{Value, json};

const BASE: &str = "/api/v1/schedules";

/// An empty PostgreSQL database of the test run's server.
fn postgres() -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let made = TestDatabase::unmigrated(Kind::Postgres).await;
        made.database.close().await.unwrap();
        made.url()
    })
}

/// The same on both databases.
fn on_both(test: impl Fn(&RedisServer, &ApiServer)) {
    let redis = RedisServer::start();
    test(&redis, &ApiServer::on(&redis));
    let redis = RedisServer::start();
    let url = postgres();
    test(&redis, &ApiServer::with(&redis, &[("DATABASE_URL", &url)]));
}

fn made(caller: &Caller, name: &str, definition: &Value) -> Value {
    let wish = json!({"name": name, "definition": definition});
    let made = caller.post(BASE, &wish);
    assert_eq!(made.status, 201, "{}", made.text);
    made.value()
}

fn nightly() -> Value {
    json!({"task": "demo.add", "crontab": "30 2 * * *", "timezone": "Europe/Zurich", "args": [2, 3]})
}

#[test]
fn a_schedule_is_made_changed_and_removed() {
    on_both(|_, api| {
        let caller = api.admin();
        let wish = json!({"name": "nightly / 1", "definition": nightly()});
        let first = caller.post(BASE, &wish);
        assert_eq!(first.status, 201, "{}", first.text);
        let tag = first.header("etag").unwrap().to_owned();
        let first = first.value();
        assert_eq!(
            (&first["source"], &first["state"], &first["runs"]),
            (&json!("database"), &json!("active"), &json!(0))
        );
        assert!(first["next_run"].is_string(), "{first}");
        let again = caller.post(BASE, &wish);
        assert_eq!(
            (again.status, &again.value()["code"]),
            (409, &json!("conflict"))
        );

        let path = format!("{BASE}/nightly%20%2F%201");
        let shown = caller.get(&path);
        assert_eq!(shown.header("etag"), Some(tag.as_str()));
        assert_eq!(shown.json(), first);

        // The same once more: no new version.
        let put = |tag: &str, definition: &Value| {
            let headers = [("If-Match", tag)];
            caller.send("PUT", &path, &headers, &definition.to_string())
        };
        let same = put(&tag, &first["definition"]);
        assert_eq!(same.header("etag"), Some(tag.as_str()), "{}", same.text);

        let other = put(
            &tag,
            &json!({"task": "demo.add", "every": "90s", "args": [1, 1]}),
        );
        assert_eq!(other.status, 200, "{}", other.text);
        let newer = other.header("etag").unwrap().to_owned();
        assert_ne!(newer, tag);
        let other = other.value();
        assert_eq!(other["id"], first["id"]);
        assert_eq!(other["definition"]["every"], "1m30s");
        assert_eq!(other["definition"]["crontab"], Value::Null);
        let late = put(&tag, &nightly());
        assert_eq!(
            (late.status, &late.value()["code"]),
            (412, &json!("changed"))
        );
        assert_eq!(caller.send("PUT", &path, &[], "{}").status, 422, "If-Match");

        let patch = |body: &Value| {
            let headers = [("If-Match", newer.as_str())];
            caller.send("PATCH", &path, &headers, &body.to_string())
        };
        let patched = patch(&json!({"crontab": "0 6 * * *", "queue": "early"}));
        let definition = patched.json()["definition"].clone();
        assert_eq!(
            (
                &definition["crontab"],
                &definition["every"],
                &definition["queue"]
            ),
            (&json!("0 6 * * *"), &Value::Null, &json!("early"))
        );
        assert_eq!(definition["args"], json!([1, 1]), "it stays");

        let switch = |verb: &str| {
            caller
                .send("POST", &format!("{path}/{verb}"), &[], "")
                .json()
        };
        let paused = switch("pause");
        assert_eq!(
            (&paused["state"], &paused["next_run"]),
            (&json!("paused"), &Value::Null)
        );
        assert_eq!(switch("pause")["version"], paused["version"]);
        assert_eq!(switch("resume")["state"], "active");

        assert_eq!(caller.send("DELETE", &path, &[], "").status, 204);
        assert_eq!(caller.send("DELETE", &path, &[], "").status, 404);
        assert_eq!(caller.get(&path).status, 404);
        let audit = caller.get("/api/v1/audit?limit=100").json();
        let actions: Vec<&str> = audit["entries"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["target_id"] == "nightly / 1")
            .map(|entry| entry["action"].as_str().unwrap())
            .collect();
        let expected = [
            "schedule.delete",
            "schedule.resume",
            "schedule.pause",
            "schedule.change",
            "schedule.change",
            "schedule.change",
            "schedule.create",
        ];
        assert_eq!(actions, expected);
    });
}

#[test]
fn what_is_wrong_with_a_schedule_is_told_with_its_field() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let caller = api.admin();
    let refused = |change: Value, words: &[&str]| {
        let mut definition = nightly();
        for (field, value) in change.as_object().unwrap() {
            definition[field] = value.clone();
        }
        let answer = caller.post(BASE, &json!({"name": "x", "definition": definition}));
        assert_eq!(answer.status, 422, "{}", answer.text);
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        let detail = answer.value()["detail"].as_str().unwrap().to_owned();
        for word in words {
            assert!(detail.contains(word), "{word}: {detail}");
        }
    };
    refused(
        json!({"crontab": "30 2 * * 7"}),
        &["crontab: ", "day_of_week"],
    );
    refused(json!({"every": "5m"}), &["crontab and every"]);
    refused(
        json!({"crontab": null, "every": "300"}),
        &["every: ", "unit"],
    );
    refused(
        json!({"crontab": null}),
        &["one of crontab, every, solar and at"],
    );
    refused(json!({"timezone": "Europe/Zuerich"}), &["timezone: "]);
    refused(json!({"args": [1]}), &["kwargs.y: "]);
    refused(json!({"args": ["a", 1]}), &["args[0]: "]);
    refused(json!({"task": "demo.ad"}), &["task: ", "is it demo.add?"]);
    refused(json!({"headers": {"retries": 1}}), &["retries"]);
    refused(json!({"expires": "0s", "jitter": "soon"}), &["jitter: "]);
    refused(
        json!({"task": "lovage.prune", "unchecked": true}),
        &["task: ", "the platform itself"],
    );
    let unknown = json!({"name": "x", "definition": {"task": "demo.add", "evry": "5m"}});
    let unknown = caller.post(BASE, &unknown);
    assert_eq!(unknown.status, 422, "{}", unknown.text);
    assert!(unknown.text.contains("evry"), "{}", unknown.text);

    made(&caller, "x", &nightly());
    let path = format!("{BASE}/x");
    let patch = |tag: &str, body: &Value| {
        caller.send("PATCH", &path, &[("If-Match", tag)], &body.to_string())
    };
    let tag = caller.get(&path).header("etag").unwrap().to_owned();
    for (body, word) in [
        (json!({"every": 5}), "every: "),
        (json!({"priority": 256}), "priority: "),
        (json!({"name": "y"}), "name: "),
    ] {
        let answer = patch(&tag, &body);
        assert_eq!(answer.status, 422, "{}", answer.text);
        assert!(answer.text.contains(word), "{word}: {}", answer.text);
    }
    assert_eq!(patch("\"no tag\"", &json!({})).status, 422);
    assert_eq!(caller.get(&format!("{BASE}/none")).status, 404);
    let backwards = json!({"from": "2026-02-02T00:00:00Z", "until": "2026-02-01T00:00:00Z"});
    let answer = caller.post(&format!("{path}/backfill"), &backwards);
    assert!(
        answer.status == 422 && answer.text.contains("until: "),
        "{}",
        answer.text
    );
    let often = json!({"task": "demo.add", "args": [1, 2], "every": "1s"});
    made(&caller, "often", &often);
    let year = json!({"from": "2025-02-02T00:00:00Z", "until": "2026-02-01T00:00:00Z"});
    let answer = caller.post(&format!("{BASE}/often/backfill"), &year);
    assert!(
        answer.status == 422 && answer.text.contains("10000"),
        "{}",
        answer.text
    );
}

#[test]
fn schedules_are_listed_by_page_and_by_what_they_are() {
    on_both(|_, api| {
        let caller = api.admin();
        for name in ["a", "b", "c", "d"] {
            made(&caller, name, &nightly());
        }
        let echo = json!({"task": "demo.echo", "every": "1h", "args": ["100%"], "enabled": false});
        made(&caller, "Echo", &echo);
        let listed = |query: &str| -> (Vec<String>, Value) {
            let page = caller.get(&format!("{BASE}?{query}")).json();
            let names = page["schedules"].as_array().unwrap().iter();
            let names = names.map(|one| one["name"].as_str().unwrap().to_owned());
            (names.collect(), page["next"].clone())
        };
        let (mut all, mut query) = (Vec::new(), "limit=2".to_owned());
        loop {
            let (names, next) = listed(&query);
            assert!(names.len() <= 2);
            all.extend(names);
            match next.as_str() {
                Some(next) => query = format!("limit=2&cursor={next}"),
                None => break,
            }
        }
        all.sort();
        assert_eq!(all, ["Echo", "a", "b", "c", "d"]);
        let check =
            |query: &str, expected: &[&str]| assert_eq!(listed(query).0, expected, "{query}");
        check("task=demo.echo", &["Echo"]);
        check("kind=interval", &["Echo"]);
        check("enabled=false", &["Echo"]);
        check("enabled=true&text=ADD&limit=1", &["a"]);
        check("text=echo&source=database", &["Echo"]);
        check("source=file", &[]);
        assert_eq!(caller.get(&format!("{BASE}?kind=weekly")).status, 422);

        // A key sees and touches what it is for.
        let wish = json!({
            "name": "k", "tasks": ["demo.echo"],
            "scopes": ["schedules:read", "schedules:control"],
        });
        let key = caller.key(&wish);
        let page = key.get(BASE).json();
        assert_eq!(page["schedules"].as_array().unwrap().len(), 1, "{page}");
        assert_eq!(key.get(&format!("{BASE}/a")).status, 404);
        assert_eq!(
            key.send("POST", &format!("{BASE}/a/run"), &[], "").status,
            404
        );
        let refused = key.post(BASE, &json!({"name": "mine", "definition": nightly()}));
        assert_eq!(
            (refused.status, &refused.value()["code"]),
            (403, &json!("out-of-reach"))
        );
    });
}

#[test]
fn a_time_that_has_passed_is_made_up_for_once() {
    on_both(|redis, api| {
        let caller = api.admin();
        let _worker = LovageWorker::on(redis);
        let mut beat = LovageBeat::with(redis, &[], &[("DATABASE_URL", api.database())]);
        beat.wait_until_it_leads();
        made(&caller, "nightly", &nightly());
        let path = format!("{BASE}/nightly");
        let range = json!({"from": "2026-03-28T12:00:00Z", "until": "2026-03-31T00:00:00Z"});
        let filled = caller.post(&format!("{path}/backfill"), &range);
        assert_eq!(filled.status, 202, "{}", filled.text);
        let filled = filled.value();
        let due: Vec<&str> = filled["runs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| run["due"].as_str().unwrap())
            .collect();
        assert_eq!(filled["sent"], 2, "{filled}");
        assert!(due[0].starts_with("2026-03-29T01:30:00"), "{due:?}");
        for run in filled["runs"].as_array().unwrap() {
            redis.wait_for_state(run["task_id"].as_str().unwrap(), "SUCCESS");
        }
        let again = caller.post(&format!("{path}/backfill"), &range).value();
        assert_eq!(again["sent"], 0, "{again}");
        let longer = json!({"from": "2026-03-28T12:00:00Z", "until": "2026-04-01T00:00:00Z"});
        let more = caller.post(&format!("{path}/backfill"), &longer).value();
        assert_eq!(more["sent"], 1, "{more}");
        redis.wait_for_state(more["runs"][0]["task_id"].as_str().unwrap(), "SUCCESS");

        let run = |key: &str| {
            let headers = [("Idempotency-Key", key)];
            let ran = caller.send("POST", &format!("{path}/run"), &headers, "");
            assert_eq!(ran.status, 202, "{}", ran.text);
            ran.value()["task_id"].as_str().unwrap().to_owned()
        };
        let id = run("one");
        assert_eq!(run("one"), id, "the same request");
        redis.wait_for_state(&id, "SUCCESS");
        let ticks = caller.get(&format!("{path}/ticks")).json();
        let told: Vec<(&str, &str)> = ticks["ticks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tick| {
                (
                    tick["cause"].as_str().unwrap(),
                    tick["state"].as_str().unwrap(),
                )
            })
            .collect();
        let expected = [
            ("now", "SUCCESS"),
            ("backfill", "SUCCESS"),
            ("backfill", "SUCCESS"),
            ("backfill", "SUCCESS"),
        ];
        assert_eq!(told, expected);
        assert_eq!(ticks["ticks"][0]["task_id"], json!(id));
        assert_eq!(ticks["next"], Value::Null);
        // Page by page, also while more is sent.
        let (mut pages, mut query) = (Vec::new(), "limit=3".to_owned());
        loop {
            let page = caller.get(&format!("{path}/ticks?{query}")).json();
            pages.extend(page["ticks"].as_array().unwrap().clone());
            let Some(next) = page["next"].as_str() else {
                break;
            };
            query = format!("limit=3&cursor={next}");
            run("two");
        }
        assert_eq!(json!(pages), ticks["ticks"]);
        let refused = caller.get(&format!("{path}/ticks?cursor=7"));
        assert_eq!(refused.status, 422, "{}", refused.text);
    });
}

#[test]
fn both_nights_of_the_year_are_previewed() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let caller = api.admin();
    made(&caller, "nightly", &nightly());
    let query = "after=2026-03-28T12:00:00Z&count=2";
    let kept = caller
        .get(&format!("{BASE}/nightly/preview?{query}"))
        .json();
    let first = &kept["runs"][0];
    assert!(
        first["at"]
            .as_str()
            .unwrap()
            .starts_with("2026-03-29T01:30:00"),
        "{kept}"
    );
    assert_eq!(first["local"], "2026-03-29T03:30:00+02:00");
    assert!(
        first["remark"]
            .as_str()
            .unwrap()
            .contains("the clocks skip 02:30")
    );
    assert_eq!(kept["runs"][1]["remark"], Value::Null);

    let times = json!({
        "crontab": "0 * * * *", "timezone": "Europe/Zurich", "after": "2026-10-24T23:30:00Z", "count": 4,
    });
    let unsaved = caller.post("/api/v1/schedule-previews", &times).json();
    let remarks: Vec<bool> = unsaved["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["remark"].is_string())
        .collect();
    assert_eq!(remarks, [true, true, false, false], "{unsaved}");
    let wrong = json!({"crontab": "x * * * *"});
    let wrong = caller.post("/api/v1/schedule-previews", &wrong);
    assert!(
        wrong.status == 422 && wrong.text.contains("minute"),
        "{}",
        wrong.text
    );
}

/// What the platform does for itself is a schedule like others: seen, paused, run, and done at other times.
#[test]
fn the_platforms_own_chores_are_schedules() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let caller = api.admin();
    let mut beat = LovageBeat::with(&redis, &[], &[("DATABASE_URL", api.database())]);
    beat.wait_until_it_leads();
    let path = format!("{BASE}/lovage.prune");
    let shown = wait::within(std::time::Duration::from_secs(20), "the chore", || {
        let shown = caller.get(&path);
        (shown.status == 200).then_some(shown)
    });
    let tag = shown.header("etag").unwrap().to_owned();
    let shown = shown.json();
    assert_eq!(
        (&shown["source"], &shown["definition"]["every"]),
        (&json!("builtin"), &json!("15m"))
    );
    let patch = |tag: &str, body: &Value| {
        caller.send("PATCH", &path, &[("If-Match", tag)], &body.to_string())
    };
    let refused = patch(&tag, &json!({"queue": "elsewhere"}));
    assert_eq!(refused.status, 409, "{}", refused.text);
    assert!(refused.text.contains("only its times"), "{}", refused.text);
    let edited = patch(&tag, &json!({"crontab": "0 3 * * *"}));
    assert_eq!(edited.status, 200, "{}", edited.text);
    assert_eq!(caller.send("DELETE", &path, &[], "").status, 409);

    // It stays so when a beat starts anew.
    assert!(beat.stop().success());
    let mut beat = LovageBeat::with(&redis, &[], &[("DATABASE_URL", api.database())]);
    beat.wait_until_it_leads();
    let after = caller.get(&path).json();
    assert_eq!(after["definition"]["crontab"], "0 3 * * *");

    // Run by hand it has no message, and nobody waits for its result.
    let ran = caller.send("POST", &format!("{path}/run"), &[], "");
    assert_eq!(ran.status, 202, "{}", ran.text);
    assert_eq!(redis.depth("celery"), 0);
    let ticks = caller.get(&format!("{path}/ticks")).json();
    assert_eq!(ticks["ticks"][0]["cause"], "now");
    assert_eq!(ticks["ticks"][0]["state"], Value::Null);
    let range = json!({"from": "2026-03-28T12:00:00Z", "until": "2026-03-31T00:00:00Z"});
    let refused = caller.post(&format!("{path}/backfill"), &range);
    assert_eq!(refused.status, 409, "{}", refused.text);
}

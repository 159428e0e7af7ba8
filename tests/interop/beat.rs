//! Beat beside real Celery: its tasks run on Python workers, and what other schedulers had is taken over.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails where what it stands on is not there"
)]

use std::process::{Command, Output};

use lovage_integration_tests::{
    Flower, LovageWorker, PythonWorker, RedisServer, beat::LovageBeat, child::Child, eventually,
    lovage, lovage_command, lovage_worker::lovage_json, place,
};
use serde_json::{Value, json};

fn success(output: &Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{}:\n{out}{err}", output.status);
    out.into_owned()
}

#[test]
fn a_python_worker_runs_what_beat_sends() {
    let redis = RedisServer::start();
    let _worker = PythonWorker::on(&redis);
    let mut beat = LovageBeat::on(&redis);
    beat.wait_until_it_leads();
    let added = [
        "schedule", "add", "adding", "py.add", "--every", "1s", "--args", "[2, 3]", "--force",
        "--json",
    ];
    let told = lovage_json(&redis, &added);
    assert_eq!(told["state"], "active");
    let mut history = Value::Null;
    eventually("two runs end well", || {
        history = lovage_json(&redis, &["schedule", "history", "adding", "--json"]);
        let ended = history
            .as_array()
            .unwrap()
            .iter()
            .filter(|tick| tick["state"] == "SUCCESS");
        ended.count() >= 2
    });
    let first = history.as_array().unwrap().last().unwrap();
    let id = first["task_id"].as_str().unwrap();
    let result = lovage_json(&redis, &["result", id, "--json"]);
    assert_eq!(result["result"], 5, "{result}");
    success(&lovage(&redis, &["schedule", "pause", "adding"]));
}

const OTHER_BEAT: &str = r#"
from celery import Celery
app = Celery("theirs", broker="BROKER", backend="BROKER")
app.conf.beat_schedule = {"theirs": {"task": "demo.add", "schedule": 1.0, "args": (40, 2)}}
"#;

/// What either beat sends is shown by Flower as any task is, and neither sees the other's entries.
#[test]
fn flower_shows_what_beat_sends_and_celerys_beat_runs_beside_it() {
    let redis = RedisServer::with_port();
    let mut flower = Flower::launch(&redis.port_url());
    let _worker = LovageWorker::builder(&redis).bare_flag("-E").start();
    flower.wait_until_ready();
    let folder = tempfile::tempdir().unwrap();
    let app = OTHER_BEAT.replace("BROKER", &redis.port_url());
    std::fs::write(folder.path().join("theirs.py"), app).unwrap();
    let mut command = Command::new(place::python());
    command
        .args(["-m", "celery", "-A", "theirs", "beat", "--loglevel=info"])
        .current_dir(folder.path())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let _celerys = Child::start("celery beat", &mut command, "run scripts/setup");
    let mut beat = LovageBeat::on(&redis);
    beat.wait_until_it_leads();
    let words = [
        "schedule", "add", "ours", "demo.add", "--every", "1s", "--args", "[2, 3]", "--json",
    ];
    lovage_json(&redis, &words);
    let listed = |result: &str| -> Vec<(String, Value)> {
        let tasks = flower.get_until("/api/tasks?taskname=demo.add", |tasks| {
            let mut rows = tasks.as_object().into_iter().flatten();
            rows.any(|(_, row)| row["state"] == "SUCCESS" && row["result"] == result)
        });
        let rows = tasks.as_object().unwrap().clone();
        rows.into_iter()
            .filter(|(_, row)| row["result"] == result)
            .collect()
    };
    let (ours, theirs) = (listed("5"), listed("42"));
    assert!(theirs.iter().all(|(_, row)| row["name"] == "demo.add"));
    let history = lovage_json(&redis, &["schedule", "history", "ours", "--json"]);
    let sent: Vec<&str> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|tick| tick["task_id"].as_str().unwrap())
        .collect();
    for (id, row) in ours {
        assert!(
            sent.contains(&id.as_str()),
            "{id} is none of {sent:?}: {row}"
        );
    }
    let listed = lovage_json(&redis, &["schedule", "list", "--json"]);
    let listed = listed.as_array().unwrap().iter();
    let names: Vec<&Value> = listed
        .filter(|one| one["source"] != "builtin")
        .map(|one| &one["name"])
        .collect();
    assert_eq!(names, ["ours"]);
}

/// Runs the shipped script in a folder with an application.
fn dump(words: &[&str], folder: &std::path::Path, variables: &[(&str, &str)]) -> Value {
    let output = Command::new(place::python())
        .arg(place::repository().join("scripts/celery-schedules"))
        .args(words)
        .current_dir(folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs(variables.iter().copied())
        .output()
        .expect("Python can be started");
    serde_json::from_str(&success(&output)).expect("the script writes JSON")
}

/// Takes a dump over into a database, and lists what is kept there.
fn in_database(redis: &RedisServer, path: &str, folder: &std::path::Path) -> Value {
    let url = format!("sqlite://{}", folder.join("kept.db").display());
    let run = |words: &[&str]| {
        let mut command = lovage_command(redis, words);
        success(&command.env("DATABASE_URL", &url).output().unwrap())
    };
    run(&["migrate", "up"]);
    run(&["schedule", "import", path, "--force"]);
    serde_json::from_str(&run(&["schedule", "list", "--json"])).unwrap()
}

/// What does not depend on where and when a schedule was taken over.
fn essence(listed: &Value) -> Vec<Value> {
    let rows = listed.as_array().unwrap().iter().cloned();
    rows.map(|mut row| {
        for name in ["id", "version", "next"] {
            row.as_object_mut().unwrap().remove(name);
        }
        row
    })
    .collect()
}

/// Takes a dump over, and gives what is kept then, by name.
fn import(redis: &RedisServer, dump: &Value, folder: &std::path::Path) -> (Value, Value) {
    let file = folder.join("schedules.json");
    std::fs::write(&file, dump.to_string()).unwrap();
    let path = file.display().to_string();
    let refused = lovage(redis, &["schedule", "import", &path]);
    assert_eq!(
        refused.status.code(),
        Some(2),
        "Python's tasks need --force"
    );
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--force"));
    let done = lovage_json(redis, &["schedule", "import", &path, "--force", "--json"]);
    let again = lovage_json(redis, &["schedule", "import", &path, "--force", "--json"]);
    assert_eq!(again["added"], json!([]), "{again}");
    let listed = lovage_json(redis, &["schedule", "list", "--json"]);
    assert_eq!(
        essence(&in_database(redis, &path, folder)),
        essence(&listed),
        "a database keeps the same"
    );
    let by_name = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap().to_owned(), one.clone()));
    (done, by_name.collect())
}

const APP: &str = r#"
from datetime import timedelta
from celery import Celery
from celery.schedules import crontab, schedule, solar
app = Celery("shop", broker="BROKER")
app.conf.timezone = "Europe/Zurich"
app.conf.redbeat_redis_url = "BROKER"
app.conf.beat_schedule = {
    "nightly": {"task": "shop.report", "schedule": crontab(minute="30", hour="2", day_of_week="mon-fri"),
                "kwargs": {"kind": "daily"}, "options": {"queue": "reports", "expires": 3600, "priority": 3}},
    "sets": {"task": "shop.sets", "schedule": crontab(minute={0, 30}, hour=[8, 12], day_of_month="1, 15")},
    "often": {"task": "shop.often", "schedule": 90.0, "args": (1, "two")},
    "delta": {"task": "shop.delta", "schedule": timedelta(hours=1), "relative": True},
    "dusk": {"task": "shop.light", "schedule": solar("sunset", 46.2, 6.14)},
    "later": {"task": "shop.later", "schedule": 60, "options": {"countdown": 5}},
}
"#;

#[test]
fn celerys_beat_schedule_is_taken_over() {
    let redis = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("shop.py"),
        APP.replace("BROKER", &redis.url()),
    )
    .unwrap();
    let dumped = dump(&["app", "shop:app"], folder.path(), &[]);
    assert_eq!(dumped["left_out"][0]["name"], "later");
    let (done, kept) = import(&redis, &dumped, folder.path());
    assert_eq!(done["added"].as_array().map(Vec::len), Some(5), "{done}");
    assert_eq!(done["left_out"][0]["name"], "later");
    let nightly = &kept["nightly"];
    assert_eq!(nightly["crontab"], "30 2 * * mon-fri");
    assert_eq!(nightly["timezone"], "Europe/Zurich");
    assert_eq!(
        (&nightly["expires"], &nightly["queue"]),
        (&json!("1h"), &json!("reports"))
    );
    assert_eq!(nightly["kwargs"], json!({"kind": "daily"}));
    assert_eq!(kept["sets"]["crontab"], "0,30 8,12 1,15 * *");
    assert_eq!(
        (&kept["often"]["every"], &kept["often"]["args"]),
        (&json!("1m30s"), &json!([1, "two"]))
    );
    assert_eq!(
        (&kept["delta"]["every"], &kept["delta"]["relative"]),
        (&json!("1h"), &json!(true))
    );
    assert_eq!(kept["dusk"]["solar"]["event"], "sunset");
    assert!(
        kept.as_object()
            .unwrap()
            .values()
            .all(|one| one["source"] == "import" && one["next"].is_string())
    );
}

#[test]
fn redbeats_keys_are_taken_over() {
    let redis = RedisServer::with_port();
    let folder = tempfile::tempdir().unwrap();
    let app = APP
        .replace("BROKER", &redis.port_url())
        .replace("app.conf.beat_schedule", "unused");
    std::fs::write(folder.path().join("shop.py"), app).unwrap();
    let make = r#"
from shop import app
from celery.schedules import crontab, schedule
from redbeat import RedBeatSchedulerEntry
RedBeatSchedulerEntry("cron", "shop.report", crontab("*/5", "8-18", day_of_week="mon-fri", app=app), args=[3, 4], options={"queue": "q"}, app=app).save()
RedBeatSchedulerEntry("often", "shop.often", schedule(20, app=app), kwargs={"x": 1}, app=app).save()
RedBeatSchedulerEntry("off", "shop.off", schedule(30, app=app), enabled=False, app=app).save()
"#;
    let made = Command::new(place::python())
        .args(["-c", make])
        .current_dir(folder.path())
        .output()
        .unwrap();
    success(&made);
    let dumped = dump(&["redbeat", "shop:app"], folder.path(), &[]);
    let (_, kept) = import(&redis, &dumped, folder.path());
    let cron = &kept["cron"];
    assert_eq!(
        (&cron["crontab"], &cron["timezone"]),
        (&json!("*/5 8-18 * * mon-fri"), &json!("Europe/Zurich"))
    );
    assert_eq!(
        (&cron["args"], &cron["queue"]),
        (&json!([3, 4]), &json!("q"))
    );
    assert_eq!(
        (&kept["often"]["every"], &kept["often"]["kwargs"]),
        (&json!("20s"), &json!({"x": 1}))
    );
    assert_eq!(
        (&kept["off"]["state"], &kept["off"]["enabled"]),
        (&json!("disabled"), &json!(false))
    );
}

const DJANGO: &str = r#"
SECRET_KEY = "of a test"
USE_TZ = True
INSTALLED_APPS = ["django_celery_beat"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
"#;

#[test]
fn django_celery_beats_tables_are_taken_over() {
    let redis = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("shopsettings.py"), DJANGO).unwrap();
    let settings = [
        ("DJANGO_SETTINGS_MODULE", "shopsettings"),
        ("PYTHONPATH", "."),
    ];
    let make = r#"
import django, json
from datetime import datetime, timezone
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django_celery_beat.models import *
minutes = IntervalSchedule.objects.create(every=10, period="minutes")
cron = CrontabSchedule.objects.create(minute="0, 30", hour="2", day_of_week="*", timezone="Europe/Zurich")
sun = SolarSchedule.objects.create(event="sunrise", latitude="46.2", longitude="6.14")
clock = ClockedSchedule.objects.create(clocked_time=datetime(2040, 1, 2, 3, 4, tzinfo=timezone.utc))
PeriodicTask.objects.create(name="often", task="shop.often", interval=minutes, args=json.dumps([1]), expire_seconds=60, priority=2)
PeriodicTask.objects.create(name="nightly", task="shop.report", crontab=cron, kwargs=json.dumps({"kind": "daily"}),
    queue="reports", headers=json.dumps({"mine": 1}), start_time=datetime(2030, 1, 1, tzinfo=timezone.utc), description="the report")
PeriodicTask.objects.create(name="sun", task="shop.light", solar=sun, enabled=False)
PeriodicTask.objects.create(name="once", task="shop.once", clocked=clock, one_off=True)
PeriodicTask.objects.create(name="first", task="shop.once", interval=minutes, one_off=True)
"#;
    let made = Command::new(place::python())
        .args(["-c", make])
        .current_dir(folder.path())
        .envs(settings)
        .output()
        .unwrap();
    success(&made);
    let dumped = dump(&["django"], folder.path(), &settings);
    assert_eq!(dumped["left_out"], json!([]), "{dumped}");
    let (_, kept) = import(&redis, &dumped, folder.path());
    let often = &kept["often"];
    assert_eq!(
        (&often["every"], &often["args"]),
        (&json!("10m"), &json!([1]))
    );
    assert_eq!(
        (&often["expires"], &often["priority"]),
        (&json!("1m"), &json!(2))
    );
    let nightly = &kept["nightly"];
    assert_eq!(
        (&nightly["crontab"], &nightly["timezone"]),
        (&json!("0,30 2 * * *"), &json!("Europe/Zurich"))
    );
    assert_eq!(
        (&nightly["start"], &nightly["queue"]),
        (&json!("2030-01-01T00:00:00Z"), &json!("reports"))
    );
    assert_eq!(
        (&nightly["headers"], &nightly["description"]),
        (&json!({"mine": 1}), &json!("the report"))
    );
    assert_eq!(
        (&kept["sun"]["state"], &kept["sun"]["solar"]["event"]),
        (&json!("disabled"), &json!("sunrise"))
    );
    assert_eq!(kept["once"]["next"], "2040-01-02T03:04:00Z");
    assert_eq!(kept["first"]["max_runs"], 1);
}

#[test]
fn celery_inspect_sees_a_beat_that_may_answer() {
    let redis = RedisServer::start();
    let _beat = LovageBeat::with(&redis, &[], &[("CELERY_BEAT_ENABLE_REMOTE_CONTROL", "1")]);
    let mut python = lovage_integration_tests::Python::on(&redis);
    eventually("beat answers", || {
        let told = python.eval("app.control.ping(timeout=1)");
        let nodes: Vec<&String> = told
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|node| node.as_object().unwrap().keys())
            .collect();
        nodes.len() == 1 && nodes[0].starts_with("celerybeat@")
    });
}

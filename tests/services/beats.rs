//! Several beats on one place: what dies of them, and what moves.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails where what it stands on is not there"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use lovage_database::{Kind, store::outbox, testing::TestDatabase};
use lovage_integration_tests::{
    RedisServer, Wire, beat::LovageBeat, eventually, lovage_worker::lovage_command,
};
use rustix::process::Signal;
use serde_json::Value;
use tokio::runtime::Runtime;

/// The messages that were sent, as (when due, id) by schedule. Nobody consumes the queue.
fn sent(redis: &RedisServer) -> BTreeMap<String, Vec<(String, String)>> {
    let mut sent: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for message in redis.waiting_json("ticks") {
        let header = |name: &str| {
            message["headers"][name]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        assert_eq!(message["headers"]["celery_beat_task"], true);
        sent.entry(header("periodic_task_name"))
            .or_default()
            .push((header("lovage_due"), header("id")));
    }
    sent
}

/// Each due time of the row has one message, from the first to the last.
fn each_second_once(ticks: &[(String, String)]) {
    let due: BTreeSet<i64> = ticks
        .iter()
        .map(|(due, _)| {
            chrono::DateTime::parse_from_rfc3339(due)
                .unwrap()
                .timestamp_millis()
        })
        .collect();
    assert_eq!(due.len(), ticks.len(), "a tick has two messages: {ticks:?}");
    let ids: BTreeSet<&String> = ticks.iter().map(|(_, id)| id).collect();
    assert_eq!(ids.len(), ticks.len());
    let due: Vec<i64> = due.into_iter().collect();
    for pair in due.windows(2) {
        assert_eq!(
            pair[1] - pair[0],
            1000,
            "a tick was missed between {pair:?}"
        );
    }
}

/// Where schedules are kept, and the Redis beside it.
struct Scene {
    redis: RedisServer,
    database: Option<Kept>,
}

/// A database, and the runtime that its connections live on.
struct Kept {
    test: TestDatabase,
    runtime: Runtime,
}

impl Scene {
    fn at_the_broker() -> Self {
        Self {
            redis: RedisServer::with_port(),
            database: None,
        }
    }

    fn in_a_database(kind: Kind) -> Self {
        let runtime = Runtime::new().unwrap();
        let test = runtime.block_on(TestDatabase::new(kind));
        Self {
            redis: RedisServer::with_port(),
            database: Some(Kept { test, runtime }),
        }
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        let url = self.database.as_ref().map(|kept| kept.test.url());
        url.into_iter().map(|url| ("DATABASE_URL", url)).collect()
    }

    /// What a command writes, as JSON.
    fn json(&self, words: &[&str]) -> Value {
        let mut command = lovage_command(&self.redis, words);
        let output = command.envs(self.variables()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{words:?}: {error}"))
    }

    fn leader(&self) -> Option<Value> {
        let told = self.json(&["schedule", "leader", "--json"]);
        told["leader"].is_string().then_some(told)
    }

    /// The fencing number of who leads now.
    fn fence(&self) -> u64 {
        let leader = self.leader();
        leader
            .and_then(|leader| leader["fence"].as_u64())
            .unwrap_or_default()
    }

    /// Adds a schedule that runs each second and makes up for everything.
    fn add_each_second(&self, name: &str) {
        let words =
            "demo.add --every 1s --args [1,2] --queue ticks --missed all --max-missed 1000 --json";
        let words: Vec<&str> = ["schedule", "add", name]
            .into_iter()
            .chain(words.split(' '))
            .collect();
        assert_eq!(self.json(&words)["state"], "active");
    }

    /// Waits until nothing is on its way from the database to the broker.
    fn until_all_is_sent(&self) {
        if let Some(kept) = &self.database {
            eventually("the outbox is empty", || {
                let depth = outbox::depth(kept.test.database.reader());
                kept.runtime.block_on(depth).unwrap().waiting == 0
            });
        }
    }

    fn end(self) {
        if let Some(Kept { test, runtime }) = self.database {
            runtime.block_on(test.end());
        }
    }
}

/// A beat, and its own way to where schedules are kept.
struct Cuttable {
    beat: LovageBeat,
    wire: Wire,
}

impl Cuttable {
    fn start(scene: &Scene) -> Self {
        let lease = ("LOVAGE_BEAT_LEASE", "3s");
        let Some(kept) = &scene.database else {
            let wire = Wire::to(scene.redis.port());
            let url = wire.url();
            let variables = [
                lease,
                ("CELERY_BROKER_URL", url.as_str()),
                ("CELERY_RESULT_BACKEND", url.as_str()),
            ];
            let beat = LovageBeat::launch(&scene.redis, &[], &variables);
            return Self { beat, wire };
        };
        let (wire, url) = way_to(&kept.test);
        let variables = [lease, ("DATABASE_URL", url.as_str())];
        let beat = LovageBeat::launch(&scene.redis, &[], &variables);
        Self { beat, wire }
    }
}

/// A way of its own to the server of a test's database, and the URL by it.
fn way_to(test: &TestDatabase) -> (Wire, String) {
    let url = test.url();
    let (name, rest) = url
        .strip_prefix("postgres:///")
        .and_then(|rest| rest.split_once("?host="))
        .expect("the test's server listens on a socket");
    let folder = rest.split('&').next().unwrap();
    let wire = Wire::to_socket(format!("{folder}/.s.PGSQL.5432").into());
    let url = format!("postgres://lovage@127.0.0.1:{}/{name}", wire.port());
    (wire, url)
}

/// Ends leaders in every way, so many times, and accounts for every tick.
fn leaders_die(scene: Scene, rounds: usize) -> Duration {
    let mut beats: Vec<Cuttable> = (0..3).map(|_| Cuttable::start(&scene)).collect();
    eventually("one leads", || scene.leader().is_some());
    scene.add_each_second("second");
    scene.add_each_second("other second");
    let redis = &scene.redis;
    let mut longest = Duration::ZERO;
    for round in 0..rounds {
        let (mut before, mut at) = (0, None);
        eventually("one of the three says that it leads", || {
            before = scene.fence();
            at = beats
                .iter_mut()
                .position(|one| leads(&mut one.beat, before));
            at.is_some()
        });
        let leading = &mut beats[at.unwrap()];
        let began = Instant::now();
        match round % 4 {
            0 => leading.beat.signal(Signal::KILL),
            1 => leading.beat.signal(Signal::STOP),
            2 => leading.wire.cut(),
            _ => assert!(leading.beat.stop().success()),
        }
        eventually("another leads", || scene.fence() > before);
        let count = redis.waiting("ticks").len();
        eventually("ticks go on", || redis.waiting("ticks").len() > count);
        longest = longest.max(began.elapsed());
        match round % 4 {
            1 => leading.beat.signal(Signal::CONT),
            2 => leading.wire.mend(),
            _ => *leading = Cuttable::start(&scene),
        }
    }
    for name in ["second", "other second"] {
        scene.json(&["schedule", "pause", name, "--json"]);
    }
    scene.until_all_is_sent();
    let sent = sent(redis);
    assert_eq!(sent.len(), 2);
    sent.values().for_each(|ticks| each_second_once(ticks));
    drop(beats);
    scene.end();
    longest
}

/// The last thing it said of itself, under this number: one that was cut off says so later than another has taken the lead.
fn leads(beat: &mut LovageBeat, fence: u64) -> bool {
    let text = beat.log().text();
    let last = |needle: &str| {
        text.rfind(needle)
            .map_or(-1, |at| i64::try_from(at).unwrap())
    };
    let lost = ["standing by", "has taken the lead", "cannot reach"].map(last);
    let led = last(&format!("this beat leads fence={fence}\n"));
    beat.process().is_running() && lost.into_iter().all(|lost| led > lost)
}

/// Promise 14: two beats fire twice, there; here one message per tick, whoever dies. `scripts/full` asks for 100 rounds.
#[test]
fn promise_14_beats_that_die_neither_miss_nor_double_a_tick() {
    take_over_in_time("at the broker", Scene::at_the_broker());
}

/// The same with schedules in a database, which one of them is cut off from, and without any keeper.
#[test]
fn promise_14_beats_on_a_database_neither_miss_nor_double_a_tick() {
    take_over_in_time("in PostgreSQL", Scene::in_a_database(Kind::Postgres));
}

#[expect(clippy::print_stdout, reason = "scripts/full writes it into the table")]
fn take_over_in_time(place: &str, scene: Scene) {
    let rounds = std::env::var("LOVAGE_TEST_BEAT_ROUNDS").ok();
    let rounds = rounds.map_or(4, |rounds| rounds.parse().expect("a number of rounds"));
    let longest = leaders_die(scene, rounds);
    println!(
        "schedules {place}: {rounds} rounds, 0 ticks missed, 0 doubled; longest take-over, until there is one tick more: {longest:?}"
    );
    assert!(longest < Duration::from_secs(10), "{longest:?}");
}

/// A database is taken when it is set and has its tables; what was kept at the broker is spoken of.
#[test]
fn schedules_move_to_the_database_once_it_has_its_tables() {
    let redis = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("own.db").display());
    let scene = |words: &[&str]| {
        let mut command = lovage_command(&redis, words);
        command.env("DATABASE_URL", &url).output().unwrap()
    };
    let names = || {
        let listed: Value =
            serde_json::from_slice(&scene(&["schedule", "list", "--json"]).stdout).unwrap();
        let rows = listed.as_array().unwrap().iter();
        rows.filter(|row| row["source"] != "builtin")
            .map(|row| row["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let add = [
        "schedule", "add", "old", "demo.add", "--every", "1h", "--args", "[1,2]",
    ];
    assert!(scene(&add).status.success());
    assert_eq!(names(), ["old"], "without tables the broker keeps it");
    let mut beat = LovageBeat::launch(&redis, &[], &[("DATABASE_URL", url.as_str())]);
    beat.wait_until_it_leads();
    assert!(
        beat.log()
            .text()
            .contains("schedules are kept at the broker")
    );
    assert!(scene(&["migrate", "up"]).status.success());
    beat.process().wait_for(
        "schedules are kept in the database",
        Duration::from_secs(40),
    );
    beat.process().wait_for(
        "1 schedules are kept at the broker",
        Duration::from_secs(40),
    );
    assert_eq!(names(), Vec::<String>::new());
    let exported = lovage_command(&redis, &["schedule", "export", "--format", "json"])
        .env("LOVAGE_BEAT_STORE", "broker")
        .output()
        .unwrap();
    let file = folder.path().join("schedules.json");
    std::fs::write(&file, exported.stdout).unwrap();
    let file = file.display().to_string();
    assert!(scene(&["schedule", "import", &file]).status.success());
    assert_eq!(names(), ["old"]);
    // By hand from the database too.
    let ran: Value =
        serde_json::from_slice(&scene(&["schedule", "run", "old", "--json"]).stdout).unwrap();
    let history: Value =
        serde_json::from_slice(&scene(&["schedule", "history", "old", "--json"]).stdout).unwrap();
    assert_eq!(history[0]["task_id"], ran[0]["task_id"]);
    assert_eq!(history[0]["cause"], "now");
}

/// The keeper sends what beat decides, on both databases.
#[test]
fn ticks_of_a_database_are_sent_by_the_outbox() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let scene = Scene::in_a_database(kind);
        let url = scene.database.as_ref().unwrap().test.url();
        let mut beat = LovageBeat::launch(&scene.redis, &[], &[("DATABASE_URL", url.as_str())]);
        beat.wait_until_it_leads();
        scene.add_each_second("second");
        eventually("three are sent", || scene.redis.waiting("ticks").len() >= 3);
        scene.json(&["schedule", "pause", "second", "--json"]);
        scene.until_all_is_sent();
        each_second_once(&sent(&scene.redis)["second"]);
        let history = scene.json(&["schedule", "history", "second", "--json"]);
        let ids: Vec<&str> = history
            .as_array()
            .unwrap()
            .iter()
            .map(|tick| tick["task_id"].as_str().unwrap())
            .collect();
        let sent = sent(&scene.redis);
        let sent: Vec<&str> = sent["second"].iter().map(|(_, id)| id.as_str()).collect();
        assert_eq!(ids.len(), sent.len());
        assert!(sent.iter().all(|id| ids.contains(id)));
        assert!(beat.stop().success());
        scene.end();
    }
}

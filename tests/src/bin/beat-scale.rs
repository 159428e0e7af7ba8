//! What a hundred thousand schedules cost a beat on PostgreSQL, and how late a thousand that are due at once are in their queue.
//!
//! Arguments, all optional: `--schedules N`, `--due N`, `--rounds N` (minutes), `--binary PATH`, `--markdown FILE`. It ends with 1
//! when a requirement is missed.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use chrono::{DateTime, SubsecRound, TimeDelta, Timelike, Utc};
use lovage_database::{ConnectionTrait, Kind, testing::TestDatabase};
use lovage_integration_tests::{RedisServer, child::Child, place};
use rustix::process::Pid;
use serde_json::Value;

/// What is required.
const LATE_MS: i64 = 300;
const MEMORY_MIB: f64 = 150.0;
const IDLE_PERCENT: f64 = 1.0;
/// For so long an idle beat is watched; it fits between two minutes.
const IDLE: Duration = Duration::from_secs(30);

struct Plan {
    schedules: u32,
    due: u32,
    rounds: u32,
    binary: PathBuf,
    markdown: Option<PathBuf>,
}

impl Plan {
    fn read() -> anyhow::Result<Self> {
        let mut plan = Self {
            schedules: 100_000,
            due: 1_000,
            rounds: 5,
            binary: place::lovage(),
            markdown: None,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let value = words
                .next()
                .with_context(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--schedules" => plan.schedules = value.parse()?,
                "--due" => plan.due = value.parse()?,
                "--rounds" => plan.rounds = value.parse()?,
                // Beat runs in another folder.
                "--binary" => plan.binary = fs::canonicalize(value)?,
                "--markdown" => plan.markdown = Some(value.into()),
                _ => anyhow::bail!("{word} is no argument"),
            }
        }
        Ok(plan)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let plan = Plan::read()?;
    let test = TestDatabase::new(Kind::Postgres).await;
    fill(&test, &plan).await?;
    let redis = RedisServer::start();
    let mut command = Command::new(&plan.binary);
    command
        .arg("beat")
        .current_dir(std::env::temp_dir())
        .env("CELERY_BROKER_URL", redis.url())
        .env("CELERY_RESULT_BACKEND", redis.url())
        .env("DATABASE_URL", test.url())
        .env("LOVAGE_DEMO_TASKS", "1")
        .env("LOVAGE_LOG", "warning,lovage_beat=error");
    let began = Instant::now();
    let beat = Child::start("lovage beat", &mut command, "cargo build -p lovage");
    let measured = measure(&plan, &redis, &test, &beat, began);
    drop(beat);
    test.end().await;
    let (table, kept) = measured?;
    let mut out = std::io::stdout();
    out.write_all(table.as_bytes())?;
    if let Some(file) = &plan.markdown {
        fs::write(file, &table)?;
    }
    Ok(match kept {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Most of them at some time of the day that is far off, the others each minute.
async fn fill(test: &TestDatabase, plan: &Plan) -> anyhow::Result<()> {
    let far = (Utc::now().hour() + 6) % 24;
    let Plan { schedules, due, .. } = plan;
    let sql = format!(
        "INSERT INTO schedule (id, name, task, kind, source, draft, decided_at, runs, version)
         SELECT gen_random_uuid(), name, 'demo.add', 'crontab', 'database',
             json_build_object('name', name, 'task', 'demo.add', 'crontab', crontab, 'timezone', 'Europe/Zurich',
                 'args', json_build_array(n, 2), 'queue', 'ticks', 'description', 'adds numbers each day')::text,
             now(), 0, n
         FROM (SELECT n, 'a schedule of some length ' || n AS name,
                   CASE WHEN n <= {due} THEN '* * * * *' ELSE (n % 60) || ' ' || (({far} + n % 3) % 24) || ' * * *' END AS crontab
               FROM generate_series(1, {schedules}) AS n) AS made;
         INSERT INTO schedule_edition (id, edition) VALUES (1, {schedules});
         ANALYZE schedule"
    );
    test.database.writer().execute_unprepared(&sql).await?;
    Ok(())
}

type Told = (String, bool);

fn measure(
    plan: &Plan,
    redis: &RedisServer,
    test: &TestDatabase,
    beat: &Child,
    began: Instant,
) -> anyhow::Result<Told> {
    let told = until_it_leads(plan, redis, test)?;
    let ready = began.elapsed();
    ensure!(told["refused"] == 0, "schedules are refused: {told}");
    let mut late = Vec::new();
    let mut idle: Vec<f64> = Vec::new();
    let mut connection = redis.connection();
    for round in 0..=plan.rounds {
        let minute = next_minute();
        // Loading is no idling, and what the first minute finds is not ready for it.
        if round > 0 && (minute - Utc::now()).to_std()? > IDLE + Duration::from_secs(8) {
            idle.push(idle_percent(beat.pid())?);
        }
        thread::sleep(
            (minute - TimeDelta::seconds(1) - Utc::now())
                .to_std()
                .unwrap_or_default(),
        );
        let arrived = arrivals(&mut connection, minute, plan.due)?;
        if round > 0 {
            late.extend(arrived);
        }
        thread::sleep(Duration::from_secs(3));
    }
    late.sort_unstable();
    let at = |share: f64| percentile(&late, share);
    let (peak, now) = memory(beat.pid())?;
    let busiest = idle.iter().copied().fold(0.0, f64::max);
    let kept = at(0.99) < LATE_MS && peak < MEMORY_MIB && busiest < IDLE_PERCENT;
    let mut table = String::from("| | measured | required |\n|---|---|---|\n");
    writeln!(table, "| schedules in PostgreSQL | {} | |", plan.schedules)?;
    writeln!(
        table,
        "| of them due at once, each minute for {} minutes | {} | |",
        plan.rounds, plan.due
    )?;
    writeln!(
        table,
        "| from due to the queue, p50 / p99 / most, ms | {} / {} / {} | p99 under {LATE_MS} |",
        at(0.5),
        at(0.99),
        at(1.0)
    )?;
    writeln!(
        table,
        "| memory at most / at the end, MiB | {peak:.0} / {now:.0} | under {MEMORY_MIB:.0} |"
    )?;
    writeln!(
        table,
        "| processor while nothing is due, most of {} looks | {busiest:.2} % | under {IDLE_PERCENT} % |",
        idle.len()
    )?;
    writeln!(
        table,
        "| from start until all are known, s | {:.1} | |",
        ready.as_secs_f64()
    )?;
    Ok((table, kept))
}

fn until_it_leads(plan: &Plan, redis: &RedisServer, test: &TestDatabase) -> anyhow::Result<Value> {
    let patience = Instant::now();
    loop {
        let output = Command::new(&plan.binary)
            .args(["schedule", "leader", "--json"])
            .env("CELERY_BROKER_URL", redis.url())
            .env("DATABASE_URL", test.url())
            .output()?;
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        // The platform's own chores are schedules too.
        if told["schedules"].as_u64() >= Some(plan.schedules.into()) {
            return Ok(told);
        }
        ensure!(
            patience.elapsed() < Duration::from_secs(120),
            "no beat leads with all schedules: {told}"
        );
        thread::sleep(Duration::from_millis(200));
    }
}

fn next_minute() -> DateTime<Utc> {
    let now = Utc::now().trunc_subsecs(0);
    now + TimeDelta::seconds(60 - i64::from(now.second()))
}

/// How many milliseconds after their due time the messages of this minute are found in the queue.
fn arrivals(
    connection: &mut redis::Connection,
    minute: DateTime<Utc>,
    expected: u32,
) -> anyhow::Result<Vec<i64>> {
    let mut late = BTreeMap::new();
    let expected = usize::try_from(expected)?;
    while late.len() < expected {
        let found: Option<Vec<Vec<u8>>> = redis::cmd("RPOP")
            .arg("ticks")
            .arg(1000)
            .query(connection)?;
        let now = Utc::now();
        for raw in found.into_iter().flatten() {
            let message: Value = serde_json::from_slice(&raw)?;
            let header = |name: &str| {
                message["headers"][name]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            };
            let due: DateTime<Utc> = header("lovage_due").parse()?;
            if due == minute {
                let twice = late.insert(header("id"), (now - due).num_milliseconds());
                ensure!(twice.is_none(), "a tick has two messages");
            }
        }
        ensure!(
            now < minute + TimeDelta::seconds(20),
            "of {expected} that were due {} came",
            late.len()
        );
        thread::sleep(Duration::from_millis(2));
    }
    Ok(late.into_values().collect())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of some thousand samples"
)]
fn percentile(sorted: &[i64], share: f64) -> i64 {
    let place = ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1);
    sorted.get(place).copied().unwrap_or(i64::MAX)
}

/// At most so far, and now, in MiB.
fn memory(pid: Pid) -> anyhow::Result<(f64, f64)> {
    let text = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()))?;
    let field = |name: &str| -> anyhow::Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number
            .context("the kernel tells of memory")?
            .parse::<f64>()?
            / 1024.0)
    };
    Ok((field("VmHWM:")?, field("VmRSS:")?))
}

fn idle_percent(pid: Pid) -> anyhow::Result<f64> {
    let before = ticks(pid)?;
    let began = Instant::now();
    thread::sleep(IDLE);
    let used = ticks(pid)? - before;
    // The kernel counts in hundredths of a second.
    Ok(used / began.elapsed().as_secs_f64())
}

/// Processor time so far, in hundredths of a second.
fn ticks(pid: Pid) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))?;
    let (_, fields) = text
        .rsplit_once(") ")
        .context("the kernel tells of processes")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let number = |place: usize| fields.get(place).and_then(|text| text.parse::<f64>().ok());
    let (user, system) = (number(11), number(12));
    Ok(user.context("its time")? + system.context("its time")?)
}

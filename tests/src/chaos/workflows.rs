//! Chords and chains while their workers are killed: each body and each last step is sent once and completes, whoever died
//! with which part of it.

use std::fs;
use std::time::Duration;

use fastrand::Rng;
use lovage_client::{Client, canvas};
use lovage_protocol::{Map, Signature, Value};
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::crew::Recipe;
use super::load::Job;
use super::post::Post;
use super::report::Outcome;
use super::world::{Extent, World};
use crate::redis_server::RedisServer;
use crate::rust_client::client_at;
use crate::wait::within;

const WORKERS: usize = 3;
/// A round sends so many chords of so many members, and so many chains of so many steps, and kills twice.
const CHORDS: usize = 10;
const MEMBERS: usize = 50;
const CHAINS: usize = 5;
const STEPS: usize = 10;
const KILLS: usize = 2;

/// Many chords and chains.
///
/// # Panics
/// When a task is lost, was sent twice or runs twice without a reason.
pub fn many(extent: Extent) -> Outcome {
    let mut world = World::new(extent, RedisServer::start(), Recipe::default());
    for _ in 0..WORKERS {
        world.crew.launch();
    }
    world.crew.settle_in();
    world.listen();
    world.watch();
    let post = Post::open(&world.redis);
    let sender = Sender::new(&world.redis);
    let mut numbers = Numbers::default();
    for _ in 0..extent.rounds {
        for _ in 0..CHORDS {
            let chord = numbers.chord(MEMBERS, 0.05, &mut world.rng);
            sender.send(&mut world, chord);
        }
        for _ in 0..CHAINS {
            let chain = numbers.chain(STEPS, 0.05, &mut world.rng);
            sender.send(&mut world, chain);
        }
        for _ in 0..KILLS {
            world.pause(&(0.05..0.6));
            let victim = world.anyone();
            world.crew.kill(victim);
            world.crew.launch();
        }
    }
    let tally = world.conclude();
    assert_sent_once(&world, &post);
    let (chords, chains) = (extent.rounds * CHORDS, extent.rounds * CHAINS);
    let done = format!("{} × kill -9", extent.rounds * KILLS);
    Outcome::new(done, tally).remark(format!(
        "{chords} chords of {MEMBERS} and {chains} chains of {STEPS}, every part sent once"
    ))
}

/// By so many MiB the memory of a worker may differ between an early and a late part of a large header.
const FLAT: f64 = 8.0;
/// The part of a header that runs while workers are killed.
const KILLING: f64 = 0.9;

/// One chord of so many thousand members as there are rounds. One worker is spared and watched; the others are killed while
/// the members run, and leave before the last ones, so that the one that is watched sends the body and runs it.
///
/// # Panics
/// As [`many`], and when the watched worker grows with the number of members that are done.
pub fn large(extent: Extent) -> Outcome {
    let size = extent.rounds * 1000;
    let mut world = World::new(extent, RedisServer::start(), Recipe::default());
    for _ in 0..WORKERS {
        world.crew.launch();
    }
    world.crew.settle_in();
    world.listen();
    let post = Post::open(&world.redis);
    let watched = world.crew.members()[0].pid();
    let sender = Sender::new(&world.redis);
    let chord = Numbers::default().chord(size, 0.0, &mut world.rng);
    let body = chord.jobs.last().map(|job| job.id.clone());
    let body = body.unwrap_or_default();
    sender.send(&mut world, chord);
    let (mut samples, mut kills) = (Vec::new(), 0);
    let share = |world: &World| part_done(&world.redis, size);
    while share(&world) < KILLING {
        for _ in 0..10 {
            samples.push((share(&world), resident(watched, "VmRSS:")));
            world.pause(&(0.02..0.06));
        }
        let victim = world.rng.usize(1..WORKERS);
        world.crew.kill(victim);
        world.crew.launch();
        kills += 1;
    }
    while world.crew.members().len() > 1 {
        world.crew.settle_in();
        world.crew.dismiss(1);
    }
    let limit = Duration::from_secs(600);
    within(limit, "the body of the chord", || {
        world.crew.look();
        (world.redis.state(&body) == "SUCCESS").then_some(())
    });
    let most = resident(watched, "VmHWM:");
    let mean = |from: f64, to: f64| {
        let taken = samples.iter().filter(|(done, _)| (from..to).contains(done));
        let taken: Vec<f64> = taken.map(|(_, memory)| *memory).collect();
        #[expect(clippy::cast_precision_loss, reason = "some hundred samples")]
        let count = taken.len().max(1) as f64;
        taken.iter().sum::<f64>() / count
    };
    let (early, late) = (mean(0.1, 0.4), mean(0.6, 1.0));
    let tally = world.conclude();
    assert_sent_once(&world, &post);
    // With few members there are few samples, and the worker still finds its size.
    assert!(
        size < 20_000 || late - early < FLAT,
        "the memory of a worker grows with the members that are done, in MiB: {early:.1}, later {late:.1}"
    );
    let done = format!("{kills} × kill -9 during a chord of {size}");
    Outcome::new(done, tally).remark(format!(
        "memory of the spared worker {early:.1} MiB early, {late:.1} MiB late among the members, {most:.1} MiB at most when it had sent and run the body"
    ))
}

/// How much of the only header has returned.
#[expect(clippy::cast_precision_loss, reason = "a hundred thousand members")]
fn part_done(redis: &RedisServer, size: usize) -> f64 {
    let keys: Vec<String> = redis.command(&["KEYS", "celery-taskset-meta-*.j"]);
    let Some(key) = keys.first() else {
        // The chord has ended, or has not begun.
        let sized: Vec<String> = redis.command(&["KEYS", "celery-taskset-meta-*.s"]);
        return if sized.is_empty() { 1.0 } else { 0.0 };
    };
    let done: usize = redis.command(&["ZCARD", key]);
    done as f64 / size as f64
}

/// A number of a process in MiB.
fn resident(pid: i32, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the worker lives");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.expect("it is a number") / 1024.0
}

fn assert_sent_once(world: &World, post: &Post) {
    let ids = world.jobs().iter().map(|job| job.id.as_str());
    let wrong = post.not_once(&world.redis, ids);
    assert!(
        wrong.is_empty(),
        "{} tasks were not sent exactly once, such as {:?}",
        wrong.len(),
        &wrong[..wrong.len().min(5)]
    );
}

/// A client that sends canvases.
#[derive(Debug)]
struct Sender {
    client: Client,
    runtime: Runtime,
}

impl Sender {
    fn new(redis: &RedisServer) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let client = runtime.block_on(client_at(&redis.url(), &redis.url()));
        Self {
            client: client.expect("Redis can be reached"),
            runtime,
        }
    }

    fn send(&self, world: &mut World, workflow: Workflow) {
        let sent = self.runtime.block_on(self.client.apply(&workflow.canvas));
        sent.expect("Redis takes it");
        for job in workflow.jobs {
            world.expect(job);
        }
    }
}

/// A canvas and all of its tasks.
struct Workflow {
    canvas: Signature,
    jobs: Vec<Job>,
}

/// Gives every task a number of its own; those of a workflow follow each other.
#[derive(Debug, Default)]
struct Numbers(u64);

impl Numbers {
    fn chord(&mut self, members: usize, seconds: f64, rng: &mut Rng) -> Workflow {
        let mut jobs = Vec::with_capacity(members + 1);
        let first = self.0 + 1;
        let header: Vec<Signature> = (0..members)
            .map(|_| {
                let pause = Value::Float(seconds * rng.f64());
                self.task("chaos.part", vec![pause], &mut jobs)
            })
            .collect();
        jobs.iter_mut().for_each(|member| member.in_chord = true);
        let from = Value::from(first);
        let body = self.task("chaos.gather", vec![from], &mut jobs);
        Workflow {
            canvas: canvas::chord(header, &body),
            jobs,
        }
    }

    fn chain(&mut self, steps: usize, seconds: f64, rng: &mut Rng) -> Workflow {
        let mut jobs = Vec::with_capacity(steps);
        let steps: Vec<Signature> = (0..steps)
            .map(|step| {
                let name = if step == 0 {
                    "chaos.part"
                } else {
                    "chaos.step"
                };
                let pause = Value::Float(seconds * rng.f64());
                self.task(name, vec![pause], &mut jobs)
            })
            .collect();
        Workflow {
            canvas: canvas::chain(steps),
            jobs,
        }
    }

    /// A task with its number and these arguments.
    fn task(&mut self, name: &str, more: Vec<Value>, jobs: &mut Vec<Job>) -> Signature {
        self.0 += 1;
        let id = Uuid::new_v4().to_string();
        jobs.push(Job {
            id: id.clone(),
            number: self.0,
            retries: 0,
            eta: None,
            key: None,
            in_chord: false,
        });
        let args = std::iter::once(Value::from(self.0)).chain(more);
        let mut task = Signature::new(name, args.collect(), Map::new());
        task.options.insert("task_id".to_owned(), Value::Str(id));
        task
    }
}

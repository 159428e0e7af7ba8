//! `lovage worker`: start, flags, signals, exit codes.

use std::{fs, process::Stdio};

use lovage_broker::redis_server::RedisServer;
use rustix::process::Signal;

use crate::program::{Place, command, folder, text};

#[test]
fn the_banner_is_on_standard_output_and_the_log_on_standard_error() {
    let place = Place::new();
    let mut worker = place.worker(&[
        "-Q", "hot,mail", "-X", "mail", "-c", "7", "-P", "threads", "-n", "w1@box",
    ]);
    worker.wait_for("w1@box ready.");
    let banner = worker.out();
    for part in [
        "w1@box",
        "7 (threads)",
        "28 (x4)",
        ".> hot ",
        ". demo.add",
        "unlike Celery's defaults",
    ] {
        assert!(banner.contains(part), "{part}\n{banner}");
    }
    assert!(!banner.contains("mail"), "{banner}");
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait().code(), Some(0));
    assert!(!worker.err().contains('\u{1b}'), "a file gets no colours");
}

#[test]
fn json_logs_are_json_line_by_line() {
    let place = Place::new();
    let mut worker = place.worker(&["--json-logs", "-n", "w1@box"]);
    worker.wait_for("w1@box ready.");
    worker.signal(Signal::INT);
    assert_eq!(worker.wait().code(), Some(1));
    assert_eq!(worker.out(), "");
    for line in worker.err().lines() {
        serde_json::from_str::<serde_json::Value>(line)
            .unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}

#[test]
fn signals_give_the_exit_codes_of_celery() {
    let place = Place::new();
    let check = |signals: &[Signal], code: i32, left: u64| {
        let mut worker = place.worker(&["-n", "w1@box"]);
        worker.wait_for("w1@box ready.");
        if left > 0 {
            place.run(&["call", "demo.sleep", "600"]).expect(0);
            let mut connection = place.redis.connection(0).unwrap();
            let unacked = || redis_len(&mut connection);
            wait_until(unacked);
        }
        for &signal in signals {
            worker.signal(signal);
            if signals.len() > 1 {
                worker.wait_for("worker: Warm shutdown");
            }
        }
        assert_eq!(
            worker.wait().code(),
            Some(code),
            "{signals:?}\n{}",
            worker.err()
        );
        let purged = place.run(&["purge", "-f", "--json"]).expect(0).json();
        assert_eq!(
            purged["purged"], left,
            "{signals:?}: a task that was cut short goes back"
        );
    };
    check(&[Signal::TERM], 0, 0);
    check(&[Signal::INT], 1, 0);
    check(&[Signal::QUIT], 0, 1);
    check(&[Signal::INT, Signal::INT], 1, 1);
    check(&[Signal::TERM, Signal::QUIT], 0, 1);
}

fn redis_len(connection: &mut redis::Connection) -> bool {
    let held: u64 = redis::cmd("HLEN").arg("unacked").query(connection).unwrap();
    held == 1
}

fn wait_until(mut true_now: impl FnMut() -> bool) {
    let limit = std::time::Instant::now() + crate::program::PATIENCE;
    while !true_now() {
        assert!(std::time::Instant::now() < limit, "the task was not taken");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn flags_without_effect_are_accepted_with_a_hint() {
    let place = Place::new();
    let mut worker = place.worker(&["-A", "proj", "-O", "fair", "-l", "WARNING"]);
    worker.wait_for("hint: -O");
    let hints = worker.err();
    for flag in ["-A", "-O"] {
        assert!(hints.contains(&format!("hint: {flag} ")), "{flag}\n{hints}");
    }
}

#[test]
fn a_pid_file_belongs_to_one_process() {
    let place = Place::new();
    let (_folder, path) = folder();
    let pattern = path.join("%n-%d.pid");
    let file = path.join("w1-example.com.pid");
    let flags = ["--pidfile", text(&pattern), "-n", "w1@box.example.com"];
    let mut worker = place.worker(&flags);
    worker.wait_for("ready.");
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        format!("{}\n", worker.pid())
    );
    let mut words = vec!["worker"];
    words.extend(flags);
    place
        .run(&words)
        .expect(73)
        .one_line_with(&worker.pid().to_string());
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait().code(), Some(0));
    assert!(!file.exists());
}

#[test]
fn a_broker_that_is_away_is_waited_for() {
    let mut place = Place::new();
    place.redis.kill().unwrap();
    let mut worker = place.worker(&["-n", "w1@box"]);
    worker.wait_for("Trying again in 1 s (attempt 1)");
    place.redis.restart().unwrap();
    worker.wait_for("w1@box ready.");
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait().code(), Some(0));
}

#[test]
fn waiting_for_a_broker_can_be_ended() {
    let mut place = Place::new();
    place.redis.kill().unwrap();
    let mut worker = place.worker(&[]);
    worker.wait_for("Trying again");
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait().code(), Some(0));
}

#[test]
fn a_broker_that_evicts_is_refused_in_production_and_warned_of_before() {
    let evicting = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"];
    let place = Place::on(RedisServer::with_arguments(&evicting).unwrap());
    let mut variables = place.variables().to_vec();
    variables.push(("LOVAGE_ENV", "production"));
    let refused = crate::program::run(&["worker"], &variables).expect(78);
    refused.one_line_with("allkeys-lru");
    let mut worker = place.worker(&["-n", "w1@box"]);
    worker.wait_for("w1@box ready.");
    assert!(worker.err().contains("allkeys-lru"), "{}", worker.err());
}

#[test]
fn a_worker_outlives_the_reader_of_its_banner() {
    let place = Place::new();
    let (_folder, path) = folder();
    let log = fs::File::create(path.join("log")).unwrap();
    let mut child = command(&["worker", "-n", "w1@box"], &place.variables())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let sum = place.run(&["call", "demo.add", "2", "3", "--wait", "--timeout", "20"]);
    let running = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(sum.expect(0).out, "5\n");
    assert!(running);
}

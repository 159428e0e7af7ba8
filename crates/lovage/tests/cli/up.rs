//! `lovage up`: a Redis of its own that comes and goes with it.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::program::{Running, folder, run, text};

fn up(data: &Path) -> Running {
    let mut up = Running::start(
        &[
            "up",
            "--data",
            text(data),
            "-n",
            "w1@box",
            "--without-flower",
        ],
        &[],
    );
    up.wait_for("w1@box ready.");
    up
}

/// The URL that it prints, as one pastes it.
fn url(up: &Running) -> String {
    let out = up.out();
    let export = out
        .lines()
        .find_map(|line| line.trim().strip_prefix("export CELERY_BROKER_URL="));
    export
        .unwrap_or_else(|| panic!("no export line:\n{out}"))
        .to_owned()
}

/// The process id of the server of that folder.
fn server(data: &Path) -> Pid {
    let log = fs::read_to_string(data.join("redis/server.log")).unwrap();
    let pid = log.split(':').next().unwrap().trim().parse().unwrap();
    Pid::from_raw(pid).unwrap()
}

#[track_caller]
fn wait_for_end(server: Pid) {
    for _ in 0..500 {
        if test_kill_process(server).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("the server still runs");
}

#[test]
fn it_works_as_printed_and_leaves_nothing_running() {
    let (_folder, data) = folder();
    let mut first = up(&data);
    let broker = url(&first);
    let variables = [("CELERY_BROKER_URL", broker.as_str())];
    assert_eq!(
        run(&["call", "demo.add", "2", "3", "--wait"], &variables)
            .expect(0)
            .out,
        "5\n"
    );
    let id = run(&["call", "demo.add", "2", "40", "-q", "later"], &variables)
        .expect(0)
        .out;
    let sent = run(
        &["call", "demo.add", "20", "3", "--wait", "--json"],
        &variables,
    )
    .expect(0)
    .json();

    let second = run(&["up", "--data", text(&data), "--without-flower"], &[]).expect(73);
    second.one_line_with(&first.pid().to_string());

    let process = server(&data);
    first.signal(Signal::INT);
    assert_eq!(first.wait().code(), Some(0));
    wait_for_end(process);

    // The data is there again, under the same URL.
    let mut again = up(&data);
    assert_eq!(url(&again), broker);
    let kept = run(&["result", sent["task_id"].as_str().unwrap()], &variables).expect(0);
    assert_eq!(kept.out, "23\n");
    let waiting = run(&["purge", "-Q", "later", "-f", "--json"], &variables)
        .expect(0)
        .json();
    assert_eq!(waiting["purged"], 1, "{id}");
    again.signal(Signal::TERM);
    assert_eq!(again.wait().code(), Some(0));
}

#[test]
fn the_server_ends_when_its_parent_is_killed() {
    let (_folder, data) = folder();
    let mut killed = up(&data);
    let process = server(&data);
    killed.signal(Signal::KILL);
    killed.wait();
    wait_for_end(process);
    // Nothing is left that holds the folder.
    let mut again = up(&data);
    again.signal(Signal::HUP);
    assert_eq!(again.wait().code(), Some(0), "a closed terminal ends it");
}

#[test]
fn a_server_that_dies_ends_it_with_a_line() {
    let (_folder, data) = folder();
    let mut up = up(&data);
    kill_process(server(&data), Signal::KILL).unwrap();
    assert_eq!(up.wait().code(), Some(1));
    assert!(up.err().contains("redis-server has ended"), "{}", up.err());
}

#[test]
fn it_joins_only_a_broker_that_it_was_told_of() {
    let redis = lovage_broker::redis_server::RedisServer::start().unwrap();
    let (_folder, data) = folder();
    let broker = redis.url(0);
    let variables = [("CELERY_BROKER_URL", broker.as_str())];
    let words = [
        "up",
        "--data",
        text(&data),
        "-n",
        "w1@box",
        "--without-flower",
    ];
    let mut up = Running::start(&words, &variables);
    up.wait_for("w1@box ready.");
    assert!(!up.out().contains("Flower"), "{}", up.out());
    assert!(
        up.out()
            .contains(&format!("export CELERY_BROKER_URL={broker}")),
        "{}",
        up.out()
    );
    assert!(
        !data.join("redis").exists(),
        "no server of its own was started"
    );
    up.signal(Signal::INT);
    assert_eq!(up.wait().code(), Some(0));
}

#[test]
fn a_missing_redis_server_is_explained() {
    let (_folder, data) = folder();
    let ended = run(&["up", "--data", text(&data)], &[("PATH", "/nonexistent")]).expect(1);
    ended.one_line_with("apt install redis-server");
}

/// One request to the API, and what was answered, head and all.
fn ask(port: u16, path: &str, token: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "POST {path} HTTP/1.0\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// What stands between two texts.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split(before).nth(1);
    let found = rest.and_then(|rest| rest.split(after).next());
    found.unwrap_or_else(|| panic!("no {before:?} in:\n{text}"))
}

#[test]
fn the_api_is_served_and_its_administrator_is_told_once() {
    let (_folder, data) = folder();
    let mut first = up(&data);
    let out = first.out();
    let port = between(&out, "http://127.0.0.1:", "/docs").parse().unwrap();
    let password = between(&out, "user admin@localhost, password ", " ");
    let login = format!(r#"{{"email": "admin@localhost", "password": "{password}"}}"#);
    let tokens = ask(port, "/api/v1/auth/login", "", &login);
    let token = between(&tokens, r#""access_token":""#, "\"");
    let send = "/api/v1/tasks/demo.add/send?wait=20";
    let answer = ask(port, send, token, r#"{"x": 2, "y": 3}"#);
    assert!(answer.contains(r#""value":5"#), "{answer}");
    first.signal(Signal::INT);
    assert_eq!(first.wait().code(), Some(0));

    let mut again = up(&data);
    let out = again.out();
    assert!(
        out.contains("/docs") && !out.contains("shown only now"),
        "{out}"
    );
    again.signal(Signal::TERM);
    assert_eq!(again.wait().code(), Some(0));
}

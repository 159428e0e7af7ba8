//! Commands that need no broker, and what they say when there is none.

use std::{
    fs,
    io::Read,
    process::Stdio,
    time::{Duration, Instant},
};

use crate::program::{command, folder, run, text};

#[test]
fn help_and_version_go_to_standard_output() {
    let help = run(&["--help"], &[]).expect(0);
    for word in [
        "up",
        "worker",
        "call",
        "result",
        "list",
        "stubs",
        "purge",
        "dlq",
        "config",
        "completions",
        "Exit codes",
    ] {
        assert!(help.out.contains(word), "{word}");
    }
    assert!(!help.out.contains('\u{1b}'), "a pipe gets no colours");
    assert!(
        run(&["--version"], &[])
            .expect(0)
            .out
            .starts_with("lovage ")
    );
    let long = run(&["worker", "--help"], &[]).expect(0).out;
    assert!(long.contains("TERM stops warmly"), "{long}");
    run(&["wroker"], &[]).expect(2);
    run(&[], &[]).expect(2);
}

#[test]
fn all_faults_of_the_settings_come_in_one_list() {
    let faults = [
        ("CELERY_BROKER_URL", "redis://:sesame@h:port"),
        ("LOVAGE_LEASE", "5"),
        ("CELERY_TIMEZONE", "Mars"),
    ];
    for words in [
        &["worker"][..],
        &["call", "x"],
        &["config", "check"],
        &["list"],
    ] {
        let ended = run(words, &faults).expect(78);
        for (name, _) in faults {
            assert!(ended.err.contains(name), "{words:?}: {}", ended.err);
        }
        assert!(!ended.err.contains("sesame"), "{}", ended.err);
    }
    let json = run(&["config", "check", "--json"], &faults)
        .expect(78)
        .json();
    assert_eq!(
        (&json["ok"], json["faults"].as_array().unwrap().len()),
        (&false.into(), 3)
    );
}

#[test]
fn names_that_are_read_by_nothing_are_told_beside_faults() {
    let set = [("LOVAGE_LEASE", "5"), ("LOVAGE_LAESE", "5s")];
    let json = run(&["config", "check", "--json"], &set).expect(78).json();
    let warning = json["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("LOVAGE_LAESE") && warning.contains("LOVAGE_LEASE?"),
        "{json}"
    );
    let plain = run(&["config", "check"], &set).expect(78);
    assert!(plain.err.contains("warning: LOVAGE_LAESE"), "{plain:?}");
    assert!(plain.err.contains("1 setting is wrong"), "{plain:?}");
}

#[test]
fn an_error_is_json_where_json_was_asked_for() {
    let wrong = [("LOVAGE_LEASE", "5")];
    for (words, variables, code) in [
        (&["result", "x", "--json"][..], &wrong[..], 78),
        (
            &["dlq", "list", "--json"],
            &[("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")],
            1,
        ),
    ] {
        let ended = run(words, variables).expect(code);
        assert_eq!(ended.out, "", "{ended:?}");
        let last = ended.err.lines().last().unwrap();
        let told: serde_json::Value = serde_json::from_str(last).unwrap();
        assert!(told["error"].is_string(), "{ended:?}");
    }
    let plain = run(&["result", "x"], &wrong).expect(78);
    assert!(plain.err.contains("error: 1 setting is wrong"), "{plain:?}");
}

#[test]
fn what_holds_is_shown_without_passwords() {
    let set = [
        ("CELERY_BROKER_URL", "redis://:sesame@h/2"),
        ("CELERY_TASK_ACK_LATE", "1"),
    ];
    let json = run(&["config", "check", "--json"], &set).expect(0).json();
    assert_eq!(
        json["settings"]["CELERY_BROKER_URL"],
        "redis://:********@h:6379/2"
    );
    assert!(
        json["warnings"][0]
            .as_str()
            .unwrap()
            .contains("CELERY_TASK_ACKS_LATE"),
        "{json}"
    );
    let plain = run(&["config", "check"], &set).expect(0);
    assert!(
        plain.err.contains("warning: CELERY_TASK_ACK_LATE"),
        "{plain:?}"
    );
    let example = run(&["config", "example"], &[]).expect(0).out;
    assert_eq!(example, lovage::settings::env_example());
    let reference = run(&["config", "reference"], &[]).expect(0).out;
    assert_eq!(reference, lovage::settings::reference());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    for words in [
        &["config", "example"][..],
        &["completions", "zsh"],
        &["--help"],
    ] {
        let mut child = command(words, &[])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Closed before anything was read.
        drop(child.stdout.take());
        let mut said = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        assert!(child.wait().unwrap().success(), "{words:?}: {said}");
        assert_eq!(said, "", "{words:?}");
    }
}

#[test]
fn completions_know_the_flags() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell], &[]).expect(0).out;
        assert!(script.contains("exclude-queues"), "{shell}");
    }
    run(&["completions", "csh"], &[]).expect(2);
}

#[test]
fn without_a_broker_that_is_said() {
    for words in [
        &["call", "x"][..],
        &["result", "x"],
        &["purge", "-f"],
        &["dlq", "list"],
    ] {
        run(words, &[])
            .expect(78)
            .one_line_with("CELERY_BROKER_URL");
        run(words, &[("CELERY_BROKER_URL", "memory://")])
            .expect(78)
            .one_line_with("memory://");
    }
    let demo = [("LOVAGE_DEMO_TASKS", "1")];
    run(&["worker"], &demo)
        .expect(78)
        .one_line_with("CELERY_BROKER_URL");
    run(&["worker"], &[("CELERY_BROKER_URL", "memory://")])
        .expect(78)
        .one_line_with("LOVAGE_DEMO_TASKS");
}

#[test]
fn a_broker_that_is_away_is_one_line_within_seconds() {
    let away = [("CELERY_BROKER_URL", "redis+socket:///nowhere/redis.sock")];
    for words in [
        &["call", "x"][..],
        &["call", "x", "--wait"],
        &["result", "x"],
        &["purge", "-f"],
        &["dlq", "replay", "--all"],
    ] {
        let begun = Instant::now();
        run(words, &away)
            .expect(1)
            .one_line_with("/nowhere/redis.sock");
        assert!(
            begun.elapsed() < Duration::from_secs(6),
            "{words:?}: {:?}",
            begun.elapsed()
        );
    }
}

#[test]
fn tasks_are_listed_with_parameters() {
    let none = run(&["list"], &[]).expect(0);
    assert_eq!(none.out, "");
    assert!(none.err.contains("LOVAGE_DEMO_TASKS"), "{none:?}");
    assert_eq!(
        run(&["list", "--json"], &[]).expect(0).json(),
        serde_json::json!([])
    );
    let demo = [("LOVAGE_DEMO_TASKS", "1")];
    let table = run(&["list"], &demo).expect(0).out;
    assert!(table.starts_with("TASK "), "{table}");
    let json = run(&["list", "--json"], &demo).expect(0).json();
    let add = json
        .as_array()
        .unwrap()
        .iter()
        .find(|task| task["name"] == "demo.add")
        .unwrap();
    assert_eq!(add["parameters"][0]["name"], "x");
    assert_eq!(add["parameters"][0]["required"], true);
    assert!(table.contains("demo.add"), "{table}");
}

#[test]
fn production_has_no_lovage_up() {
    run(&["up"], &[("LOVAGE_ENV", "production")])
        .expect(78)
        .one_line_with("lovage worker");
}

#[test]
fn stubs_are_written_again_but_never_over_somebody_elses_package() {
    let (_folder, out) = folder();
    let words = ["stubs", "python", "--out", text(&out), "--package", "ours"];
    let demo = [("LOVAGE_DEMO_TASKS", "1")];
    let first = run(&words, &demo).expect(0);
    assert_eq!(
        first.out,
        format!("9 tasks in {}\n", out.join("ours").display())
    );
    let init = out.join("ours/__init__.py");
    let text_of = || fs::read_to_string(&init).unwrap();
    let written = text_of();
    assert!(
        written.starts_with("# Generated by lovage stubs python; do not edit.\n"),
        "{written}"
    );
    fs::write(&init, written.replace("demo", "changed")).unwrap();
    let json = run(&[&words[..], &["--json"]].concat(), &demo)
        .expect(0)
        .json();
    assert_eq!(text_of(), written);
    let files = json["files"].as_array().unwrap();
    assert!(files.iter().any(|file| file == text(&init)), "{files:?}");
    assert_eq!(json["tasks"], 9);

    fs::write(&init, "theirs = 1\n").unwrap();
    let refused = run(&words, &demo).expect(1);
    refused.one_line_with("is not a package of lovage stubs");
    assert_eq!(text_of(), "theirs = 1\n");
}

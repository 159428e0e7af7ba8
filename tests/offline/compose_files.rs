//! What is in `compose/`, held to those who read it by `compose/check`; and that its checks find what is wrong.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use lovage_integration_tests::place::{python, repository};

/// A text that is in a file, what takes its place, and what must be said of that.
type Slip = (&'static str, &'static str, &'static str, &'static str);

#[test]
fn what_is_in_compose_is_as_its_readers_have_it() {
    let told = Command::new(repository().join("compose/check"))
        .env("LOVAGE_TEST_PYTHON", python())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "{said}");
    for word in [
        "services, the Compose specification",
        "manifests, Kubernetes 1.29 to 1.",
    ] {
        assert!(said.contains(word), "{word} is not in:\n{said}");
    }
}

fn check(program: &str, what: &Path) -> Output {
    Command::new(python())
        .arg(repository().join("compose/checks").join(program))
        .arg(what)
        .output()
        .unwrap()
}

fn slip(file: &Path, (_, from, to, _): &Slip) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{} has no {from}", file.display());
    fs::write(file, text.replacen(from, to, 1)).unwrap();
}

fn all_are_found(told: &Output, slips: &[Slip]) {
    let said = String::from_utf8_lossy(&told.stderr);
    assert!(!told.status.success(), "{said}");
    for (place, from, _, word) in slips {
        let found = said
            .lines()
            .any(|line| line.contains(place) && line.contains(word));
        assert!(found, "{from} was changed, and nobody says {word}:\n{said}");
    }
}

#[test]
fn what_is_wrong_in_a_manifest_is_found() {
    let slips: &[(&str, Slip)] = &[
        (
            "beat",
            (
                "Deployment lovage-beat: spec.template",
                "readinessProbe:",
                "readynessProbe:",
                "readynessProbe",
            ),
        ),
        (
            "beat",
            (
                "Deployment lovage-beat",
                "maxUnavailable: 1\n  selector:\n    matchLabels: {app.kubernetes.io/name: lovage, app.kubernetes.io/component: beat}",
                "maxUnavailable: 1\n  selector:\n    matchLabels: {app.kubernetes.io/name: beat}",
                "PodDisruptionBudget",
            ),
        ),
        (
            "worker",
            (
                "Deployment lovage-worker",
                "terminationGracePeriodSeconds: 330",
                "terminationGracePeriodSeconds: 300",
                "killed before LOVAGE_DRAIN_TIMEOUT",
            ),
        ),
        (
            "worker",
            (
                "ScaledObject",
                "scaleTargetRef: {name: lovage-worker}",
                "scaleTargetRef: {name: lovage-workers}",
                "no Deployment lovage-workers",
            ),
        ),
        (
            "worker",
            (
                "ScaledObject",
                "threshold: \"500\"",
                "threshold: 500",
                "500 is not of type 'string'",
            ),
        ),
        (
            "keeper",
            (
                "Deployment lovage-keeper",
                "{key: database_url, path: database_url}",
                "{key: database, path: database}",
                "DATABASE_URL_FILE is /run/secrets/lovage/database_url, where nothing is mounted",
            ),
        ),
        (
            "keeper",
            (
                "Deployment lovage-keeper",
                "{key: database, path: database}",
                "{key: database, path: database}",
                "no key database",
            ),
        ),
        (
            "config",
            (
                "Job lovage-migrate",
                "LOVAGE_LOG_FORMAT",
                "LOVAGE_LOG_FORM",
                "LOVAGE_LOG_FORM is no setting",
            ),
        ),
        (
            "api",
            (
                "Service lovage-api",
                "targetPort: http",
                "targetPort: web",
                "no pod has a port web",
            ),
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let copied = Command::new("cp")
        .arg("-r")
        .arg(repository().join("compose/kubernetes"))
        .arg(folder.path())
        .status();
    assert!(copied.unwrap().success());
    let layout = folder.path().join("kubernetes");
    let example = layout.join("overlays/example");
    let secrets = example.join("secrets");
    fs::create_dir(&secrets).unwrap();
    for name in ["broker_url", "database_url", "secret_key", "admin_password"] {
        fs::write(secrets.join(name), "none").unwrap();
    }
    let untouched = check("kubernetes.py", &example);
    let said = String::from_utf8_lossy(&untouched.stderr);
    assert!(untouched.status.success(), "{said}");
    for (file, change) in slips {
        slip(&layout.join("base").join(format!("{file}.yaml")), change);
    }
    let slips: Vec<Slip> = slips.iter().map(|(_, change)| *change).collect();
    all_are_found(&check("kubernetes.py", &example), &slips);
}

#[test]
fn what_is_wrong_in_the_compose_file_is_found() {
    let slips: &[Slip] = &[
        (
            "",
            "stop_grace_period: 6m",
            "stop_grace_time: 6m",
            "stop_grace_time",
        ),
        (
            "LOVAGE_ADMIN_EMAIL",
            "${LOVAGE_ADMIN_EMAIL:?the e-mail address of the first administrator; put it into compose/.env}",
            "${LOVAGE_ADMIN_EMAIL}",
            "does not say what to do",
        ),
        (
            "api",
            "127.0.0.1:${API_PORT:-5000}:5000",
            "${API_PORT:-5000}:5000",
            "reached from outside",
        ),
        (
            "nginx",
            "    mem_limit: 64m\n",
            "",
            "it may take all memory",
        ),
        (
            "keeper",
            "\"health\", \"keeper\"",
            "\"health\", \"worker\"",
            "not asked as the role that it is",
        ),
        (
            "worker",
            "SENTRY_DSN_FILE: ${SENTRY_DSN_FILE:-}",
            "SENTRY_DSN: ${SENTRY_DSN:-}",
            "SENTRY_DSN is a secret",
        ),
        (
            "api",
            "/run/secrets/secret_key",
            "/run/secrets/a_key",
            "which it is not given",
        ),
        (
            "flower",
            "[broker_url, flower_auth]",
            "[broker_url, flower]",
            "secrets has no flower",
        ),
        (
            "grafana",
            "profiles: [monitoring]\n    image: grafana",
            "image: grafana",
            "prometheus is left out where this is not",
        ),
        (
            "beat",
            "LOVAGE_MONITOR_BIND:",
            "LOVAGE_MONITOR_PORT:",
            "LOVAGE_MONITOR_PORT is no setting",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("compose.yaml");
    fs::copy(repository().join("compose/compose.yaml"), &file).unwrap();
    for change in slips {
        slip(&file, change);
    }
    all_are_found(&check("compose_file.py", &file), slips);
}

#[test]
fn promise_19_no_secret_of_a_deployment_is_in_what_git_or_docker_keeps() {
    let secret = [
        "compose/.env",
        "compose/secrets/secret_key",
        "compose/kubernetes/overlays/example/secrets/secret_key",
        "data/backups/lovage-20261127T020000.000Z/broker.rdb",
    ];
    let ignored = Command::new("git")
        .current_dir(repository())
        .arg("check-ignore")
        .args(secret)
        .output()
        .unwrap();
    let ignored = String::from_utf8_lossy(&ignored.stdout);
    let docker = fs::read_to_string(repository().join(".dockerignore")).unwrap();
    for file in secret {
        assert!(ignored.lines().any(|line| line == file), "Git takes {file}");
        let left_out = docker
            .lines()
            .any(|line| !line.is_empty() && Path::new(file).starts_with(line));
        assert!(left_out, "the image's build is given {file}");
    }
}

//! `scripts/deploy host`: what it refuses, what it brings up, and how it goes back.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lovage_integration_tests::place::{lovage, repository};
use lovage_integration_tests::redis_server::free_port;
use lovage_integration_tests::{RedisServer, http};
use tempfile::TempDir;

/// A folder to deploy into; what runs there ends with the value.
struct Place {
    folder: TempDir,
    api: u16,
}

impl Place {
    fn on(redis: &RedisServer) -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
            api: free_port(),
        };
        let settings = [
            "LOVAGE_ENV=production".to_owned(),
            "LOVAGE_DEMO_TASKS=1".to_owned(),
            format!("CELERY_BROKER_URL={}", redis.port_url()),
            format!(
                "DATABASE_URL=sqlite://{}/lovage.db",
                place.folder.path().display()
            ),
            "SECRET_KEY=0b9df0d0c63a9f07cbe0f1a0f1f6d1ab56c2b6b1".to_owned(),
            "LOVAGE_ADMIN_EMAIL=root@example.org".to_owned(),
            "LOVAGE_ADMIN_PASSWORD='correct \"horse\" battery'".to_owned(),
            format!("LOVAGE_API_BIND=127.0.0.1:{}", place.api),
        ];
        place.write("lovage.env", &settings.join("\n"));
        for role in ["keeper", "worker", "beat"] {
            let bind = format!("LOVAGE_MONITOR_BIND=127.0.0.1:{}", free_port());
            place.write(&format!("{role}.env"), &bind);
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn deploy(&self, binary: &Path, more: &[&str]) -> Output {
        Command::new(repository().join("scripts/deploy"))
            .arg("host")
            .arg(self.folder.path())
            .arg(binary)
            .args(more)
            .env("LOVAGE_DEPLOY_PATIENCE", "60")
            .output()
            .expect("the script can be started")
    }

    fn pid(&self, role: &str) -> String {
        let number = fs::read_to_string(self.path("run").join(role)).unwrap();
        number.split(' ').next().unwrap().to_owned()
    }

    /// The program that a role runs.
    fn program(&self, role: &str) -> PathBuf {
        fs::read_link(format!("/proc/{}/exe", self.pid(role))).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.deploy(Path::new("none"), &["--stop"]);
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A later version: the same program with `begins` in its place for what it names, as a script beside it.
fn later(place: &Place, worker: &str) -> PathBuf {
    let file = place.path("later");
    let real = lovage();
    let text = format!(
        "#!/bin/sh\nif [ \"$1\" = worker ]; then {worker}; fi\nexec '{}' \"$@\"\n",
        real.display()
    );
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    file
}

#[test]
fn promise_01_a_deployment_tells_all_that_is_wrong_before_it_changes_anything() {
    let redis = RedisServer::durable();
    let place = Place::on(&redis);
    let faulty = [
        "LOVAGE_ENV=production",
        "CELERY_BROKER_URL=http://nowhere",
        "LOVAGE_LEASE=6",
        "SECRET_KEY=changeme",
        "LOVAGE_MONITOR_BIND=127.0.0.1:9540",
    ];
    place.write("lovage.env", &faulty.join("\n"));
    for role in ["keeper", "worker", "beat"] {
        place.write(&format!("{role}.env"), "");
    }
    let told = place.deploy(&lovage(), &["--yes"]);
    let text = said(&told);
    assert!(!told.status.success());
    for word in [
        "CELERY_BROKER_URL",
        "LOVAGE_LEASE",
        "SECRET_KEY",
        "DATABASE_URL is not set",
        "LOVAGE_ADMIN_EMAIL is not set",
        "LOVAGE_MONITOR_BIND is 127.0.0.1:9540, which keeper has already",
    ] {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
    assert!(!text.contains("changeme"), "{text}");
    assert!(!place.path("releases").exists(), "nothing was changed");
}

#[test]
fn a_deployment_comes_up_in_order_is_verified_by_a_task_and_can_be_repeated() {
    let redis = RedisServer::durable();
    let place = Place::on(&redis);
    let first = place.deploy(&lovage(), &["--yes"]);
    let text = said(&first);
    assert!(first.status.success(), "{text}");
    for word in [
        "keeper",
        "a task went through API and worker",
        "lovage doctor finds nothing",
    ] {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
    assert_eq!(http::get(place.api, "/health/ready").status, 200);
    let before = place.pid("worker");
    let again = place.deploy(&lovage(), &["--yes"]);
    assert!(again.status.success(), "{}", said(&again));
    assert_ne!(before, place.pid("worker"));
    let backups = fs::read_dir(place.path("backups")).unwrap();
    let backups = backups.filter(|one| {
        let name = one.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("lovage-")
    });
    assert_eq!(backups.count(), 2, "each deployment begins with a backup");
    let stopped = place.deploy(Path::new("none"), &["--stop"]);
    assert!(stopped.status.success(), "{}", said(&stopped));
    // Its number may be another program's by now.
    let left = fs::read_link(format!("/proc/{before}/exe"));
    assert!(left.map_or(true, |program| !program.starts_with(place.folder.path())));
}

#[test]
fn a_version_that_does_not_come_up_is_exchanged_for_the_one_before() {
    let redis = RedisServer::durable();
    let place = Place::on(&redis);
    let first = place.deploy(&lovage(), &["--yes", "--no-backup"]);
    assert!(first.status.success(), "{}", said(&first));
    let good = place.program("worker");
    let broken = later(&place, "echo 'the new worker cannot start' >&2; exit 3");
    let told = place.deploy(&broken, &["--yes", "--no-backup"]);
    let text = said(&told);
    assert!(!told.status.success());
    for word in [
        "worker does not become ready",
        "the new worker cannot start",
        "the version before runs again",
    ] {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
    assert_eq!(place.program("worker"), good);
    assert_eq!(place.program("keeper"), good);
    assert_eq!(http::get(place.api, "/health/ready").status, 200);
}

#[test]
fn promise_10_a_queue_without_a_worker_is_no_success() {
    let redis = RedisServer::durable();
    let place = Place::on(&redis);
    let settings = fs::read_to_string(place.path("lovage.env")).unwrap();
    place.write(
        "lovage.env",
        &format!("{settings}\nCELERY_TASK_ROUTES='{{\"mail.*\": \"mail\"}}'"),
    );
    let told = place.deploy(&lovage(), &["--yes", "--no-backup"]);
    let text = said(&told);
    assert!(!told.status.success());
    assert!(
        text.contains("queue-without-consumer") && text.contains("mail"),
        "{text}"
    );
    assert!(text.contains("no version before"), "{text}");
}

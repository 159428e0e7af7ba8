//! Where the tools are: the repository, the Python interpreter, the `lovage` binary.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests folder has a parent")
        .to_path_buf()
}

/// The folder with the Python side of the tests.
pub fn python_sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/python")
}

/// The Python interpreter with Celery: `LOVAGE_TEST_PYTHON`, else the repository's `.venv`.
///
/// # Panics
/// When it does not exist; the message says what to run.
pub fn python() -> PathBuf {
    let python = std::env::var_os("LOVAGE_TEST_PYTHON")
        .map_or_else(|| repository().join(".venv/bin/python"), PathBuf::from);
    assert!(
        python.exists(),
        "no Python with Celery at {}: run scripts/setup, or set LOVAGE_TEST_PYTHON to an interpreter that has celery[redis]",
        python.display()
    );
    python
}

/// A program of this crate, beside this executable: cargo builds them with the tests.
///
/// # Panics
/// When it is not there; the message says what to run.
pub fn built(name: &str) -> PathBuf {
    let program = profile_folder().join(name);
    assert!(
        program.exists(),
        "no {}: run cargo build --package lovage-integration-tests --bins",
        program.display()
    );
    program
}

/// The `redis-server` program: `LOVAGE_TEST_REDIS_SERVER`, else the one on the path.
pub fn redis_server() -> PathBuf {
    std::env::var_os("LOVAGE_TEST_REDIS_SERVER")
        .map_or_else(|| PathBuf::from("redis-server"), PathBuf::from)
}

/// The `lovage` binary: `LOVAGE_TEST_BINARY` as it is, else the one beside this test executable, built anew when it is
/// missing or older than its sources.
///
/// # Panics
/// When it cannot be built.
pub fn lovage() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY
        .get_or_init(|| match std::env::var_os("LOVAGE_TEST_BINARY") {
            Some(path) => PathBuf::from(path),
            None => built_binary(),
        })
        .clone()
}

fn built_binary() -> PathBuf {
    let profile = profile_folder();
    let binary = profile.join("lovage");
    // One lock for all test processes: the first builds, the others find it done.
    let lock =
        File::create(profile.join(".lovage-tests.lock")).expect("the target folder is writable");
    lock.lock().expect("the build lock can be taken");
    // Cargo leaves the binary's date alone when nothing in it changed, so the check has a date of its own.
    let stamp = profile.join(".lovage-tests.stamp");
    let checked =
        modified(&binary).map(|built| modified(&stamp).map_or(built, |stamp| stamp.max(built)));
    if checked.is_none_or(|checked| newest_source() > checked) {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args(["build", "--package", "lovage", "--bin", "lovage"])
            .current_dir(repository());
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        let output = cargo.output().expect("cargo can be started");
        assert!(
            output.status.success(),
            "cargo build --package lovage --bin lovage failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        File::create(&stamp).expect("the target folder is writable");
    }
    binary
}

/// `target/debug` or `target/release`: the test executable lies in its `deps`.
fn profile_folder() -> PathBuf {
    let this = std::env::current_exe().expect("the path of this executable is known");
    let folder = this.parent().expect("an executable lies in a folder");
    if folder.ends_with("deps") {
        folder
            .parent()
            .expect("deps lies in a profile folder")
            .into()
    } else {
        folder.into()
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

fn newest_source() -> SystemTime {
    let root = repository();
    let mut newest = modified(&root.join("Cargo.lock")).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut folders = [
        "api",
        "beat",
        "crates",
        "flower-compat",
        "keeper",
        "migrations",
        "tasks",
    ]
    .map(|folder| root.join(folder))
    .to_vec();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                // Tests are not part of the binary.
                if !path.ends_with("tests") {
                    folders.push(path);
                }
            } else if path
                .extension()
                .is_some_and(|ext| ext == "rs" || ext == "toml" || ext == "lua")
            {
                newest = newest.max(modified(&path).unwrap_or(newest));
            }
        }
    }
    newest
}

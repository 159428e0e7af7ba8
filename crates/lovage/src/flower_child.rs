//! The Flower that `lovage up` starts where it is installed, and ends.
//!
//! It listens on loopback only and wants a password, since with its buttons tasks are sent and workers stopped. It is
//! started on stubs of the tasks: what a Flower does by a task's name it does only for names that its own application
//! has. The worker does not wait for it, and goes on when it ends.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use lovage_settings::{BrokerUrl, RedisUrl, ResultUrl};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    failure::Failure,
    guard::{self, free_port},
    output,
    stubs::{PACKAGE, Package},
};

/// Where people look for it.
const PORT: u16 = 5555;
const USER: &str = "lovage";
const STOP_LIMIT: Duration = Duration::from_secs(3);
/// A Python that takes longer to say what it has would hold up the worker.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// A running Flower.
#[derive(Debug)]
pub(crate) struct FlowerChild {
    access: Access,
    stop: CancellationToken,
    watch: JoinHandle<()>,
}

/// How one gets in.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) url: String,
    pub(crate) user: &'static str,
    pub(crate) password: String,
}

/// A Flower that is installed: the Python that has it.
#[derive(Debug)]
pub(crate) struct Flower {
    python: PathBuf,
}

/// What it is to watch.
#[derive(Debug)]
pub(crate) struct Watched<'a> {
    pub(crate) broker: &'a BrokerUrl,
    pub(crate) results: &'a ResultUrl,
    /// Other variables that it should find.
    pub(crate) variables: Vec<(&'static str, String)>,
}

impl Flower {
    /// Asks every Python that may have it.
    pub(crate) async fn find() -> Option<Self> {
        for python in candidates(Path::new(""), env::var_os("PATH").as_deref()) {
            if has_flower(&python).await {
                return Some(Self { python });
            }
        }
        None
    }

    /// Starts it without waiting for anything. Stubs and log are written under the data folder.
    pub(crate) fn start(
        self,
        data: &Path,
        stubs: &Package,
        watched: Watched<'_>,
    ) -> Result<FlowerChild, Failure> {
        let cannot = |what: &str, error: io::Error| {
            Failure::failed(format!("{} cannot be {what}: {error}", data.display()))
        };
        let folder = data.join("stubs");
        fs::create_dir_all(&folder).map_err(|error| cannot("made", error))?;
        let folder = folder
            .canonicalize()
            .map_err(|error| cannot("found", error))?;
        stubs.write(&folder)?;
        let log = data.join("flower.log");
        let file = File::create(&log).map_err(|error| cannot("written to", error))?;
        let for_errors = file
            .try_clone()
            .map_err(|error| cannot("written to", error))?;
        let port = free_port(PORT).map_err(|error| not_started(&error))?;
        if port != PORT {
            output::warning(format_args!(
                "port {PORT} is taken: Flower is on port {port}"
            ));
        }
        let password = password().map_err(|error| not_started(&error))?;
        let mut command = Command::new(&self.python);
        for (name, _) in env::vars_os() {
            // Meant for another Flower.
            if name.to_string_lossy().starts_with("FLOWER_") {
                command.env_remove(name);
            }
        }
        command
            .args(["-m", "celery", "-A", PACKAGE, "flower"])
            .arg("--address=127.0.0.1")
            .arg(format!("--port={port}"))
            .arg("--persistent=False")
            .current_dir(&folder)
            .env("PYTHONPATH", python_path(&folder))
            .env("CELERY_BROKER_URL", full_broker(watched.broker))
            .env("CELERY_RESULT_BACKEND", full_results(watched.results))
            .envs(watched.variables)
            // Not among the words, which everybody on this machine can read.
            .env("FLOWER_BASIC_AUTH", format!("{USER}:{password}"))
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(for_errors)
            .process_group(0)
            .kill_on_drop(true);
        let server = command.spawn().map_err(|error| not_started(&error))?;
        let guard = guard::guard(&server, STOP_LIMIT).map_err(|error| not_started(&error))?;
        let stop = CancellationToken::new();
        let watch = tokio::spawn(watch(server, guard, stop.clone(), log));
        Ok(FlowerChild {
            access: Access {
                url: format!("http://127.0.0.1:{port}"),
                user: USER,
                password,
            },
            stop,
            watch,
        })
    }
}

impl FlowerChild {
    /// How one gets in.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// Ends it.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        // It fails only when the runtime is ending, which kills the child too.
        let _ = self.watch.await;
    }
}

/// The Pythons to ask: of the virtual environment beside the sources, of the `celery` on the path, and on the path.
fn candidates(folder: &Path, path: Option<&OsStr>) -> Vec<PathBuf> {
    let on_path = |name: &str| {
        let folders = env::split_paths(path?);
        folders
            .map(|folder| folder.join(name))
            .find(|file| file.is_file())
    };
    let own = Some(folder.join(".venv/bin/python")).filter(|file| file.is_file());
    let of_celery = on_path("celery").and_then(|script| interpreter(&script));
    let mut found: Vec<PathBuf> = Vec::new();
    for python in [own, of_celery, on_path("python3")].into_iter().flatten() {
        // Not what a link leads to: by its own path a Python finds its packages.
        if let Ok(python) = std::path::absolute(python)
            && !found.contains(&python)
        {
            found.push(python);
        }
    }
    found
}

/// What the first line of a script names, when that is a Python.
fn interpreter(script: &Path) -> Option<PathBuf> {
    let mut start = Vec::new();
    let file = File::open(script).ok()?;
    file.take(1024).read_to_end(&mut start).ok()?;
    let first = start.split(|byte| *byte == b'\n').next()?;
    let program = Path::new(std::str::from_utf8(first).ok()?.strip_prefix("#!")?.trim());
    let name = program.file_name()?.to_str()?;
    (name.starts_with("python") && program.is_file()).then(|| program.to_owned())
}

/// Whether a Python could import Flower; it does not, which would take much longer.
async fn has_flower(python: &Path) -> bool {
    let question = "import sys; from importlib.util import find_spec as f; sys.exit(not (f('celery') and f('flower')))";
    let asked = Command::new(python)
        .args(["-c", question])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    matches!(timeout(ANSWER_LIMIT, asked).await, Ok(Ok(status)) if status.success())
}

/// Waits for its end, whoever wants it.
async fn watch(mut server: Child, mut guard: Child, stop: CancellationToken, log: PathBuf) {
    tokio::select! {
        ended = server.wait() => {
            let _ = guard.kill().await;
            let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
            warn!("Flower has ended ({how}), and the worker goes on; its log is {}", log.display());
        }
        () = stop.cancelled() => guard::stop(&mut server, &mut guard, STOP_LIMIT).await,
    }
}

fn not_started(error: &io::Error) -> Failure {
    Failure::failed(format!("Flower cannot be started: {error}"))
}

/// 128 random bits as text.
fn password() -> io::Result<String> {
    let mut bits = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bits)?;
    Ok(URL_SAFE_NO_PAD.encode(bits))
}

/// The folder before what the user's own variable names.
fn python_path(folder: &Path) -> OsString {
    let mut path = folder.as_os_str().to_owned();
    if let Some(own) = env::var_os("PYTHONPATH").filter(|own| !own.is_empty()) {
        path.push(":");
        path.push(own);
    }
    path
}

fn full_broker(broker: &BrokerUrl) -> String {
    match broker {
        BrokerUrl::Redis(urls) => full(urls),
        other => other.to_string(),
    }
}

fn full_results(results: &ResultUrl) -> String {
    match results {
        ResultUrl::Redis(urls) => full(urls),
        ResultUrl::Database(database) => database.exposed(),
        other => other.to_string(),
    }
}

/// URLs with their passwords, as kombu takes them.
fn full(urls: &[RedisUrl]) -> String {
    let urls: Vec<String> = urls
        .iter()
        .map(|url| match &url.password {
            None => url.to_string(),
            Some(password) => {
                // A URL shows its password masked, as a secret shows itself.
                let masked = format!(":{password}@");
                let exposed = utf8_percent_encode(password.expose(), NON_ALPHANUMERIC);
                url.to_string()
                    .replacen(&masked, &format!(":{exposed}@"), 1)
            }
        })
        .collect();
    urls.join(";")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_for_beside_the_sources_then_on_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let here = |file: &str| folder.path().join(file);
        let path = OsString::from(format!("/nonexistent:{}", here("bin").display()));
        let check = |expected: &[&str]| {
            let expected: Vec<PathBuf> = expected.iter().map(|file| here(file)).collect();
            assert_eq!(candidates(folder.path(), Some(&path)), expected);
        };
        let write = |file: &str, text: &str| {
            fs::create_dir_all(here(file).parent().unwrap()).unwrap();
            fs::write(here(file), text).unwrap();
        };
        check(&[]);
        write("bin/python3", "");
        check(&["bin/python3"]);
        write("bin/celery", "#!/bin/sh\n");
        check(&["bin/python3"]);
        write("venv/python3.11", "");
        let script = format!("#!{}\nimport celery\n", here("venv/python3.11").display());
        write("bin/celery", &script);
        check(&["venv/python3.11", "bin/python3"]);
        write(".venv/bin/python", "");
        check(&[".venv/bin/python", "venv/python3.11", "bin/python3"]);
        assert_eq!(candidates(folder.path(), None), [here(".venv/bin/python")]);
    }

    #[tokio::test]
    async fn a_program_that_is_no_python_has_no_flower() {
        assert!(!has_flower(Path::new("/bin/false")).await);
        assert!(!has_flower(Path::new("/nonexistent")).await);
    }

    #[test]
    fn it_gets_the_urls_with_their_passwords() {
        let check = |url: &str| {
            assert_eq!(full_broker(&BrokerUrl::parse(url).unwrap()), url);
        };
        check("redis://127.0.0.1:7001/0");
        check("redis://:p%40ss@cache:6379/1");
        check("redis://me:s%2Fe@cache:6379/0;redis://me:other@spare:6379/0");
        check("rediss://:x@cache:6379/0?ssl_cert_reqs=none");
    }

    #[test]
    fn no_two_passwords_are_alike() {
        let one = password().unwrap();
        assert_eq!(one.len(), 22);
        assert_ne!(one, password().unwrap());
    }
}

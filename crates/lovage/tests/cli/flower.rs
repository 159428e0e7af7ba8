//! `lovage up`: a Flower that comes and goes with it. It is the real one, of the Python that the other tests use.

use std::{
    env,
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::program::{PATIENCE, Running, folder, text};

/// The folder of a Python with Flower: of `LOVAGE_TEST_PYTHON`, else of the repository's `.venv`.
fn python_folder() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/python");
    let python = env::var_os("LOVAGE_TEST_PYTHON").map_or(own, PathBuf::from);
    assert!(
        python.is_file(),
        "no Python with Flower at {}: run scripts/setup, or set LOVAGE_TEST_PYTHON",
        python.display()
    );
    python.parent().unwrap().to_owned()
}

/// `lovage up` with that Python first on the path.
fn lovage_up(data: &Path) -> Running {
    let path = format!(
        "{}:{}",
        python_folder().display(),
        env::var("PATH").unwrap_or_default()
    );
    let variables = [("PATH", path.as_str()), ("FLOWER_URL_PREFIX", "elsewhere")];
    let words = ["up", "--data", text(data), "-n", "w1@box"];
    let mut lovage = Running::start(&words, &variables);
    lovage.wait_for("w1@box ready.");
    lovage
}

/// One of these tests at a time: a Flower listens a second after its port was found free.
fn alone() -> File {
    let lock = File::create(env::temp_dir().join("lovage-flower-tests.lock")).unwrap();
    lock.lock().unwrap();
    lock
}

/// The same, and how one gets into its Flower.
struct Up {
    lovage: Running,
    _alone: File,
    port: u16,
    password: String,
}

impl Up {
    fn start(data: &Path) -> Self {
        let alone = alone();
        let lovage = lovage_up(data);
        let out = lovage.out();
        let line = out
            .lines()
            .find_map(|line| line.trim().strip_prefix("http://127.0.0.1:"))
            .unwrap_or_else(|| panic!("no Flower:\n{out}{}", lovage.err()));
        let (port, rest) = line.split_once(' ').unwrap();
        let password = rest
            .trim()
            .strip_prefix("user lovage, password ")
            .unwrap()
            .to_owned();
        Self {
            port: port.parse().unwrap(),
            password,
            lovage,
            _alone: alone,
        }
    }

    /// The status of its answer, and the answer; none while nobody listens.
    fn ask(&self, request: &str, password: Option<&str>, body: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let login = password.map_or_else(String::new, |password| {
            let login = STANDARD.encode(format!("lovage:{password}"));
            format!("Authorization: Basic {login}\r\n")
        });
        let length = body.len();
        write!(
            stream,
            "{request} HTTP/1.0\r\n{login}Content-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        Some((status, answer))
    }

    fn status(&self, request: &str, password: Option<&str>) -> Option<u16> {
        Some(self.ask(request, password, "")?.0)
    }

    /// Waits until it answers.
    #[track_caller]
    fn wait_for_flower(&self, data: &Path) {
        let limit = Instant::now() + PATIENCE;
        while self.status("GET /healthcheck", None).is_none() {
            assert!(
                Instant::now() < limit,
                "no Flower:\n{}\n{}",
                self.lovage.err(),
                fs::read_to_string(data.join("flower.log")).unwrap_or_default()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its process.
    fn flower(&self) -> Pid {
        let port = format!("--port={}", self.port);
        let pid = fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            .find(|pid| {
                let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                words
                    .split(|byte| *byte == 0)
                    .any(|word| word == port.as_bytes())
            });
        Pid::from_raw(pid.unwrap()).unwrap()
    }
}

#[track_caller]
fn wait_for_end(process: Pid) {
    let limit = Instant::now() + PATIENCE;
    while test_kill_process(process).is_ok() {
        assert!(Instant::now() < limit, "Flower still runs");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn flower_comes_with_it_knows_the_tasks_and_wants_its_password() {
    let (_folder, data) = folder();
    let mut up = Up::start(&data);
    up.wait_for_flower(&data);
    let right = Some(up.password.as_str());
    assert_eq!(up.status("GET /api/workers", None), Some(401));
    assert_eq!(up.status("GET /api/workers", Some("sesame")), Some(401));
    assert_eq!(up.status("GET /api/workers", right), Some(200));
    // Other processes of this machine see command lines.
    let words = fs::read(format!(
        "/proc/{}/cmdline",
        up.flower().as_raw_nonzero().get()
    ))
    .unwrap();
    assert!(!String::from_utf8_lossy(&words).contains(&up.password));
    // Without stubs it knows no task by its name, and answers 404.
    let apply = "POST /api/task/apply/demo.add";
    let (status, answer) = up.ask(apply, right, r#"{"args": [2, 3]}"#).unwrap();
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains(r#""result": 5"#), "{answer}");

    let flower = up.flower();
    up.lovage.signal(Signal::INT);
    assert_eq!(up.lovage.wait().code(), Some(0));
    assert!(test_kill_process(flower).is_err(), "Flower still runs");
    assert!(
        !up.lovage.err().contains("Flower has ended"),
        "{}",
        up.lovage.err()
    );
}

/// What `scripts/up` ends in too: a Flower remembers nothing by itself, and the keeper tells it.
#[test]
fn a_flower_that_is_started_anew_has_its_history_back() {
    let (_folder, data) = folder();
    let mut first = Up::start(&data);
    first.wait_for_flower(&data);
    let apply = "POST /api/task/apply/demo.add";
    let password = first.password.clone();
    let (status, answer) = first
        .ask(apply, Some(&password), r#"{"args": [2, 3]}"#)
        .unwrap();
    assert_eq!(status, 200, "{answer}");
    let id = answer.split(r#""task-id": ""#).nth(1).unwrap();
    let id = id.split('"').next().unwrap().to_owned();
    first.lovage.signal(Signal::INT);
    assert_eq!(first.lovage.wait().code(), Some(0));
    // It gives the lock of these tests free.
    drop(first);

    let mut second = Up::start(&data);
    second.wait_for_flower(&data);
    let info = format!("GET /api/task/info/{id}");
    let limit = Instant::now() + PATIENCE;
    let told = loop {
        match second.ask(&info, Some(&second.password), "") {
            Some((200, told)) if told.contains("SUCCESS") => break told,
            other => assert!(Instant::now() < limit, "{other:?}\n{}", second.lovage.err()),
        }
        thread::sleep(Duration::from_millis(50));
    };
    assert!(
        told.contains("demo.add") && told.contains("w1@box"),
        "{told}"
    );
    second.lovage.signal(Signal::INT);
    assert_eq!(second.lovage.wait().code(), Some(0));
}

#[test]
fn flower_ends_when_its_parent_is_killed() {
    let (_folder, data) = folder();
    let mut up = Up::start(&data);
    // Its Redis goes at the same time, which must not hold it up.
    up.wait_for_flower(&data);
    let flower = up.flower();
    up.lovage.signal(Signal::KILL);
    up.lovage.wait();
    wait_for_end(flower);
}

#[test]
fn a_flower_that_dies_is_told_of_and_the_worker_goes_on() {
    let (_folder, data) = folder();
    let mut up = Up::start(&data);
    kill_process(up.flower(), Signal::KILL).unwrap();
    up.lovage.wait_for("Flower has ended (signal: 9");
    assert_eq!(up.lovage.err().matches("Flower has ended").count(), 1);
    up.lovage.signal(Signal::INT);
    assert_eq!(up.lovage.wait().code(), Some(0));
}

#[test]
fn another_port_is_taken_with_a_warning() {
    // Whoever has it: this test, another one, or somebody's Flower.
    let _held = TcpListener::bind(("127.0.0.1", 5555));
    let (_folder, data) = folder();
    let up = Up::start(&data);
    assert_ne!(up.port, 5555);
    let warning = format!("port 5555 is taken: Flower is on port {}", up.port);
    assert!(up.lovage.err().contains(&warning), "{}", up.lovage.err());
}

#[test]
fn a_stubs_folder_of_somebody_else_costs_flower_and_nothing_more() {
    let (_folder, data) = folder();
    let theirs = data.join("stubs/lovage_stubs");
    fs::create_dir_all(&theirs).unwrap();
    fs::write(theirs.join("__init__.py"), "mine = 1\n").unwrap();
    let _alone = alone();
    let mut up = lovage_up(&data);
    assert!(up.err().contains("Flower is not started"), "{}", up.err());
    up.signal(Signal::INT);
    assert_eq!(up.wait().code(), Some(0));
}

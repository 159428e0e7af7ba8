//! One PostgreSQL for a whole test run, though a test runner may give each test a process of its own.
//!
//! The first test that needs it starts it, on a unix socket in a temporary folder, and a shell beside it that ends it by its
//! pid when nobody has used it for a while. Whoever uses it holds a shared lock on the file `users` until its process ends,
//! however it ends; starting and ending happen under the lock of the file `gate`. PostgreSQL refuses to run as root, so root
//! runs it as the user `postgres` that Debian's package makes.

use std::{
    env,
    fs::{self, File, OpenOptions},
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::{fs::MetadataExt, net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};

/// How long the server may take to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends the server once nobody has used it for twenty seconds. `$1` is the folder.
const WATCH: &str = r#"
cd "$1" || exit 1
while :; do
    flock -x users true
    sleep 20
    exec 9>gate
    flock -x 9
    if flock -xn users true; then
        pid=$(head -n 1 data/postmaster.pid)
        kill -INT "$pid"
        while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
        rm -rf data
        exit 0
    fi
    exec 9>&-
done
"#;

struct Server {
    folder: PathBuf,
    /// Held until the process ends.
    _user: File,
}

static SERVER: OnceLock<Server> = OnceLock::new();

fn server() -> &'static Server {
    SERVER.get_or_init(Server::start)
}

/// The URL of one of its databases.
pub(super) fn url(name: &str) -> String {
    format!(
        "postgres:///{name}?host={}&user=lovage",
        server().folder.display()
    )
}

/// Runs one statement outside of any test's database.
pub(super) async fn run(sql: &str) {
    let connection = connect("postgres").await;
    connection
        .execute_unprepared(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    let _ = connection.close().await;
}

/// The name of a migrated database to be copied. Each test program has its own, since its migrations may be newer.
pub(super) async fn template() -> String {
    let program = env::current_exe().expect("a program knows where it is");
    let changed = fs::metadata(&program).and_then(|about| about.modified());
    let name = format!(
        "template_{:016x}",
        digest(&(program, changed.expect("a program is a file")))
    );
    let gate = lock_gate(&server().folder);
    let connection = connect("postgres").await;
    let known = super::number(
        &connection,
        &format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'"),
    )
    .await;
    let _ = connection.close().await;
    if known == 0 {
        let half = format!("{name}_half");
        run(&format!("DROP DATABASE IF EXISTS {half}")).await;
        run(&format!("CREATE DATABASE {half}")).await;
        let connection = connect(&half).await;
        lovage_migrations::up(&connection, None)
            .await
            .expect("a new database can be migrated");
        let _ = connection.close().await;
        run(&format!("ALTER DATABASE {half} RENAME TO {name}")).await;
    }
    drop(gate);
    name
}

async fn connect(name: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url(name));
    options.max_connections(1).sqlx_logging(false);
    Database::connect(options)
        .await
        .unwrap_or_else(|error| panic!("the test's PostgreSQL does not answer: {error}"))
}

fn digest(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

fn lock_gate(folder: &Path) -> File {
    let gate = open(&folder.join("gate"));
    gate.lock().expect("a file can be locked");
    gate
}

fn open(path: &Path) -> File {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Server {
    fn start() -> Self {
        // One for each checkout and user.
        let key = digest(&(env!("CARGO_MANIFEST_DIR"), user()));
        let folder = env::temp_dir().join(format!("lovage-postgres-{key:016x}"));
        fs::create_dir_all(&folder).expect("the temporary folder is writable");
        let gate = lock_gate(&folder);
        let users = open(&folder.join("users"));
        users.lock_shared().expect("a file can be locked");
        if !answers(&folder) {
            start(&folder);
        }
        drop(gate);
        Self {
            folder,
            _user: users,
        }
    }
}

fn user() -> u32 {
    fs::metadata("/proc/self").map_or(0, |about| about.uid())
}

fn answers(folder: &Path) -> bool {
    UnixStream::connect(folder.join(".s.PGSQL.5432")).is_ok()
        && folder.join("data/postmaster.pid").exists()
}

#[expect(
    clippy::zombie_processes,
    reason = "the server serves other tests too; the watch beside it ends it"
)]
fn start(folder: &Path) {
    let programs = programs();
    let data = folder.join("data");
    // One that was killed leaves its files behind.
    let _ = fs::remove_dir_all(&data);
    let _ = fs::remove_file(folder.join(".s.PGSQL.5432.lock"));
    if user() == 0 {
        succeed(Command::new("chown").arg("postgres:").arg(folder));
    }
    succeed(
        as_postgres(&programs.join("initdb"))
            .arg("-D")
            .arg(&data)
            .args(["-U", "lovage", "--auth=trust", "--encoding=UTF8"])
            .args(["--locale=C.UTF-8", "--no-sync", "--no-instructions"]),
    );
    let log = open(&folder.join("log"));
    let mut server = as_postgres(&programs.join("postgres"));
    server
        .arg("-D")
        .arg(&data)
        .arg("-k")
        .arg(folder)
        .args(["-c", "listen_addresses="])
        .args(["-c", "max_connections=300"])
        .args(["-c", "shared_buffers=256MB"])
        .args(["-c", "max_wal_size=2GB"])
        // What a test leaves behind is of no use after a power cut.
        .args(["-c", "fsync=off"])
        .args(["-c", "full_page_writes=off"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0)
        .spawn()
        .expect("PostgreSQL can be started");
    let since = Instant::now();
    while !accepts(&programs, folder) {
        assert!(
            since.elapsed() < PATIENCE,
            "PostgreSQL did not start; {} says why",
            folder.join("log").display()
        );
        thread::sleep(Duration::from_millis(50));
    }
    Command::new("sh")
        .args(["-c", WATCH, "sh"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("a shell can be started");
}

fn accepts(programs: &Path, folder: &Path) -> bool {
    Command::new(programs.join("pg_isready"))
        .arg("-q")
        .arg("-h")
        .arg(folder)
        .status()
        .is_ok_and(|status| status.success())
}

/// The folder of the newest PostgreSQL: Debian keeps its servers out of the PATH.
fn programs() -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .map(|(version, path)| (version, path.join("bin")))
        .filter(|(_, path)| path.join("initdb").exists())
        .collect();
    found.sort();
    if let Some((_, newest)) = found.pop() {
        return newest;
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .find(|folder| folder.join("initdb").exists())
        .expect("PostgreSQL is missing: run scripts/setup, or apt-get install postgresql")
}

fn as_postgres(program: &Path) -> Command {
    if user() != 0 {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid=postgres",
            "--regid=postgres",
            "--clear-groups",
            "--",
        ])
        .arg(program)
        // It cannot read root's folder.
        .current_dir("/");
    command
}

fn succeed(command: &mut Command) {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

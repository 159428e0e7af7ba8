"""Starting, watching and ending the programs under measurement. Every process is ended by its own id."""
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PYTHON = os.environ.get("LOVAGE_TEST_PYTHON") or str(ROOT / ".venv/bin/python")
TICK = os.sysconf("SC_CLK_TCK")
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release"


def progress(text):
    import sys
    print(f"  {text}", file=sys.stderr, flush=True)


def binary(name):
    path = TARGET / name
    if not path.exists():
        raise SystemExit(f"{path} is missing; scripts/bench builds it")
    return str(path)


class Child:
    """A process of ours with its output in a file."""

    def __init__(self, name, command, folder, env=None, cwd=None):
        self.name = name
        self.log = Path(folder) / f"{name.replace(' ', '-')}.log"
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("CELERY_", "LOVAGE_", "REDIS_"))}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                            env={**clean, **(env or {})}, cwd=cwd or folder, start_new_session=True)

    @property
    def pid(self):
        return self.process.pid

    def text(self):
        return self.log.read_text(errors="replace")

    def wait_for(self, needle, seconds=30):
        deadline = time.monotonic() + seconds
        while needle not in self.text():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{self.name} did not become ready:\n{self.text()[-3000:]}")
            time.sleep(0.02)

    def stop(self):
        """SIGTERM, then SIGKILL for it and its children."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                for pid in tree(self.pid):
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                self.process.wait(10)


def tree(pid):
    """The process and all below it."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(") ")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry))
    found = [pid]
    for one in found:
        found.extend(parents.get(one, []))
    return found


def cpu_seconds(pid):
    """User and system time of a process, of its children that live and of those that have ended."""
    total = 0
    for one in tree(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])
    return total / TICK


def memory_mib(pid):
    """Resident memory, and the proportional share (pages shared with others counted in part), over all processes."""
    rss = pss = 0
    for one in tree(pid):
        try:
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith("Rss:"):
                    rss += int(line.split()[1])
                elif line.startswith("Pss:"):
                    pss += int(line.split()[1])
        except OSError:
            continue
    return rss / 1024, pss / 1024


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Redis(Child):
    """A private Redis without persistence, on a socket and on a loopback port."""

    def __init__(self, folder):
        self.socket = str(Path(folder) / "redis.sock")
        self.port = free_port()
        super().__init__("redis-server", ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket",
                                          self.socket, "--save", "", "--appendonly", "no", "--dir", str(folder)], folder)
        self.wait_for("eady to accept connections")
        self.socket_url = f"redis+socket://{self.socket}?virtual_host=0"
        self.tcp_url = f"redis://127.0.0.1:{self.port}/0"

    def client(self):
        import redis
        client = redis.Redis(unix_socket_path=self.socket)
        client.ping()
        return client


class Worker:
    """One kind of worker: how it is started and how its end of work is seen."""

    stores_results = True
    flags = []

    def __init__(self, redis, folder, url):
        self.redis, self.folder, self.url, self.child = redis, folder, url, None

    @property
    def pid(self):
        return self.child.pid

    def env(self):
        return {"CELERY_BROKER_URL": self.url, "CELERY_RESULT_BACKEND": self.url}

    def held(self, client):
        """Messages taken and not acked."""
        return client.hlen("unacked")

    def start(self):
        self.child = self.launch()
        return self

    def stop(self):
        if self.child is not None:
            self.child.stop()
            self.child = None


class CeleryWorker(Worker):
    name = "Celery prefork -c 2"

    def launch(self):
        child = Child("celery", [PYTHON, "-m", "celery", "-A", "celery_app", "worker", "-P", "prefork", "-c", "2", "-l", "info",
                                 "-n", "celery@%h", *self.flags], self.folder, {**self.env(), "PYTHONPATH": str(HERE),
                                                                   "PYTHONDONTWRITEBYTECODE": "1"})
        child.wait_for(" ready.", 60)
        return child


class RustyWorker(Worker):
    name = "rusty-celery"
    stores_results = False

    def launch(self):
        child = Child("rusty", [binary("bench-rusty-worker"), self.redis.tcp_url], self.folder)
        child.wait_for("ready", 30)
        return child

    def held(self, client):
        return client.hlen("_celery.celery_process_map")


class LovageWorker(Worker):
    name = "Lovage"

    def launch(self):
        child = Child("lovage", [binary("lovage"), "worker", "-l", "info", "-n", "lovage@%h", *self.flags], self.folder,
                      {**self.env(), "LOVAGE_DEMO_TASKS": "1"})
        child.wait_for("ready", 30)
        return child


def folder():
    return tempfile.TemporaryDirectory(prefix="lovage-bench-")

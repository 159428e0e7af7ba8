"""Drains with the journal on, and how many tasks a second a keeper turns into rows beside a worker that is fed all the time."""
import os
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import processes
from processes import Child, LovageWorker, binary, progress

# More than the keepers have to do, so that they are never without work.
FED_PER_SECOND = 12_000


class Sqlite:
    name = "SQLite"

    def __init__(self, folder):
        self.path = Path(folder) / "history.db"
        self.url = f"sqlite://{self.path}"

    def count(self, table):
        with sqlite3.connect(f"file:{self.path}?mode=ro", uri=True) as connection:
            return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]

    def stop(self):
        pass


class Postgres:
    """A server of our own on a socket, with its own defaults: what is committed is on the disk."""

    name = "PostgreSQL"

    def __init__(self, folder, place="postgres"):
        programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)
        if programs is None:
            raise SystemExit("PostgreSQL is missing: run scripts/setup")
        self.programs, self.folder = programs, Path(folder) / place
        self.folder.mkdir()
        prefix = []
        if os.getuid() == 0:
            # It refuses to run as root.
            os.chmod(folder, 0o755)
            subprocess.run(["chown", "postgres:", self.folder], check=True)
            prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
        data = self.folder / "data"
        subprocess.run([*prefix, programs / "initdb", "-D", data, "-U", "lovage", "--auth=trust", "--encoding=UTF8",
                        "--locale=C.UTF-8"], check=True, stdout=subprocess.DEVNULL, cwd="/")
        command = [*prefix, str(programs / "postgres"), "-D", str(data), "-k", str(self.folder), "-c", "listen_addresses=",
                   "-c", "shared_buffers=256MB", "-c", "max_wal_size=4GB"]
        self.child = Child(place, command, folder, cwd="/")
        self.child.wait_for("ready to accept connections", 60)
        self.url = f"postgres:///postgres?host={self.folder}&user=lovage"

    def psql(self):
        """The words of a client of it, which reads statements from its input."""
        return [self.programs / "psql", "-h", self.folder, "-U", "lovage", "-d", "postgres", "-Atq", "-v", "ON_ERROR_STOP=1"]

    def count(self, table):
        out = subprocess.run([*self.psql(), "-c", f"SELECT count(*) FROM {table}"], check=True, capture_output=True, text=True,
                             cwd="/")
        return int(out.stdout)

    def stop(self):
        self.child.stop()


class Keeper(Child):
    def __init__(self, folder, url, database):
        env = {"CELERY_BROKER_URL": url, "DATABASE_URL": database.url, "LOVAGE_JOURNAL_BYTES": "2GiB"}
        subprocess.run([binary("lovage"), "migrate", "up"], check=True, env={**os.environ, **env}, cwd=folder,
                       stdout=subprocess.DEVNULL)
        super().__init__(f"keeper-{database.name}", [binary("lovage"), "keeper", "-l", "info"], folder, env)
        self.wait_for("keeper ready", 60)


class Feeder:
    """Puts messages into the queue at a steady rate."""

    def __init__(self, client, message, per_second):
        self.client, self.stopped, self.fed = client, threading.Event(), 0
        self.kind, self.per_second = message, per_second
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        from measure import QUEUE, messages
        began = time.perf_counter()
        for turn in range(10**9):
            if self.stopped.is_set():
                return
            batch = list(messages(self.kind, self.per_second // 20, False))
            self.client.lpush(QUEUE, *batch)
            self.fed += len(batch)
            self.stopped.wait(max(0, began + (turn + 1) / 20 - time.perf_counter()))

    def stop(self):
        self.stopped.set()
        self.thread.join()


def measure(redis, folder, url, sizes, client, message, quick):
    from measure import best_drain, clear_results
    out = {}
    for key, kind in (("sqlite", Sqlite), ("postgres", Postgres)):
        client.flushall()
        database = kind(folder)
        keeper, worker = Keeper(folder, url, database), LovageWorker(redis, folder, url)
        progress(f"journal, {database.name}: starting")
        try:
            worker.start()
            figures = {"name": database.name}
            figures["drain"] = best_drain(sizes["runs"], worker, client, message, sizes["rust"], False, redis.pid)
            figures["bytes_per_task"] = journal_bytes(client) / max(1, int(client.hget("lovage:journal:state", "records")))
            wait_until_read(client)
            figures["rss_mib"] = processes.memory_mib(keeper.pid)[0]
            figures.update(steadily(client, message, database, keeper, 8 if quick else 20))
            wait_until_done(client)
            wait_until_read(client)
            expected = sizes["runs"] * sizes["rust"] + figures["fed"]
            figures["rows"], figures["gaps"] = database.count("task_run"), database.count("history_gap")
            if figures["rows"] != expected or figures["gaps"]:
                raise SystemExit(f"{database.name}: {figures['rows']} rows of {expected} tasks, {figures['gaps']} gaps")
            clear_results(client)
            out[key] = figures
            progress(f"journal, {database.name}: drain {figures['drain']['tasks_per_second']:,.0f} tasks/s, "
                     f"{figures['kept_per_second']:,.0f} tasks/s into rows, keeper {figures['rss_after_mib']:.0f} MiB")
        finally:
            worker.stop()
            keeper.stop()
            database.stop()
    return out


def journal_bytes(client):
    return int(client.hget("lovage:journal:state", "bytes"))


def wait_until_done(client, limit=60):
    from measure import QUEUE
    deadline = time.monotonic() + limit
    while client.llen(QUEUE) or client.hlen("unacked"):
        if time.monotonic() > deadline:
            raise SystemExit(f"the worker is not done in {limit} s")
        time.sleep(0.05)


def wait_until_read(client, limit=300):
    deadline = time.monotonic() + limit
    while client.xlen("lovage:journal"):
        if time.monotonic() > deadline:
            raise SystemExit(f"the keeper has not read the journal in {limit} s")
        time.sleep(0.05)


def steadily(client, message, database, keeper, seconds):
    """Rows a second while tasks come all the time, and what the keeper holds in memory after it."""
    feeder = Feeder(client, message, FED_PER_SECOND)
    try:
        time.sleep(2)
        rows, cpu, began = database.count("task_run"), processes.cpu_seconds(keeper.pid), time.perf_counter()
        time.sleep(seconds)
        more, used = database.count("task_run") - rows, processes.cpu_seconds(keeper.pid) - cpu
        elapsed = time.perf_counter() - began
        rss = processes.memory_mib(keeper.pid)[0]
    finally:
        feeder.stop()
    return {"kept_per_second": more / elapsed, "keeper_cpu_us": used / max(more, 1) * 1e6, "rss_after_mib": rss,
            "fed": feeder.fed}

"""How Lovage fares with more workers, larger messages and many tasks at once."""
import json
import time
import uuid

from measure import QUEUE, clear_results, fill, memory_mib, progress
from processes import Child, LovageWorker, binary, cpu_seconds

WORKERS = (1, 2, 4, 8)
# Bytes of argument, and how many such messages make one drain.
SIZES = ((100, 60_000), (1024, 60_000), (10 * 1024, 20_000), (100 * 1024, 3_000), (1024 * 1024, 300))
IN_FLIGHT = 10_000


class Fleet:
    """So many workers beside each other."""

    def __init__(self, redis, folder, url, count, flags=()):
        environment = {**LovageWorker(redis, folder, url).env(), "LOVAGE_DEMO_TASKS": "1"}
        self.children = []
        for number in range(count):
            words = [binary("lovage"), "worker", "-l", "info", "-n", f"lovage{number}@%h", *flags]
            self.children.append(Child(f"lovage{number}", words, folder, environment))
        for child in self.children:
            child.wait_for("ready", 30)

    def cpu_seconds(self):
        return sum(cpu_seconds(child.pid) for child in self.children)

    def drain(self, client, count):
        """Tasks a second from the moment `bench:filled` becomes the queue until nothing is queued or held."""
        cpu, started = self.cpu_seconds(), time.perf_counter()
        client.rename("bench:filled", QUEUE)
        while client.llen(QUEUE) or client.hlen("unacked"):
            time.sleep(0.005)
        seconds = time.perf_counter() - started
        return {"tasks_per_second": count / seconds, "worker_cpu_us": (self.cpu_seconds() - cpu) / count * 1e6}

    def stop(self):
        for child in self.children:
            child.stop()


def with_payload(app, client, size):
    """A message of `demo.echo` whose argument has this many bytes, split at its ids."""
    result = app.send_task("demo.echo", ("x" * size,), ignore_result=True)
    raw = client.rpop(QUEUE).decode()
    return raw, result.id, json.loads(raw)["properties"]["delivery_tag"]


def fill_with(client, kind, count):
    text, task_id, tag = kind
    portion = max(1, min(1000, (8 << 20) // len(text)))
    batch = []
    for number in range(count):
        batch.append(text.replace(task_id, str(uuid.uuid4())).replace(tag, str(uuid.uuid4())).encode())
        if len(batch) == portion or number == count - 1:
            client.lpush("bench:filled", *batch)
            batch.clear()


def by_workers(redis, folder, url, client, message, count):
    rows = []
    for workers in WORKERS:
        client.flushall()
        fleet = Fleet(redis, folder, url, workers)
        try:
            runs = []
            for _ in range(3):
                fill(client, message, count, False, "bench:filled")
                runs.append(fleet.drain(client, count))
                clear_results(client)
        finally:
            fleet.stop()
        row = sorted(runs, key=lambda run: run["tasks_per_second"])[1]
        rows.append({"workers": workers, **row})
        progress(f"{workers} workers: {row['tasks_per_second']:,.0f} tasks/s")
    return rows


def by_size(redis, folder, url, client, app, share):
    rows = []
    for size, count in SIZES:
        count = max(100, int(count * share))
        client.flushall()
        kind = with_payload(app, client, size)
        fleet = Fleet(redis, folder, url, 1)
        try:
            fill_with(client, kind, count)
            row = fleet.drain(client, count)
        finally:
            fleet.stop()
        rows.append({"payload_bytes": size, "message_bytes": len(kind[0]), **row})
        progress(f"arguments of {size:,} bytes: {row['tasks_per_second']:,.0f} tasks/s")
    return rows


def in_flight(redis, folder, url, client, app):
    """Resident memory of one worker that runs this many tasks at once."""
    client.flushall()
    result = app.send_task("demo.sleep", (600,), ignore_result=True)
    raw = client.rpop(QUEUE).decode()
    kind = (raw, result.id, json.loads(raw)["properties"]["delivery_tag"])
    fleet = Fleet(redis, folder, url, 1, ("-c", str(IN_FLIGHT)))
    try:
        fill_with(client, kind, IN_FLIGHT)
        client.rename("bench:filled", QUEUE)
        # The half second in a score says that the task has begun.
        begun = "local n = 0 for _, s in ipairs(redis.call('ZRANGE', 'unacked_index', 0, -1, 'WITHSCORES')) do " \
                "if tonumber(s) and tonumber(s) % 1 > 0.25 then n = n + 1 end end return n"
        deadline = time.monotonic() + 60
        while client.eval(begun, 0) < IN_FLIGHT:
            if time.monotonic() > deadline:
                raise SystemExit(f"{IN_FLIGHT} tasks did not begin within a minute")
            time.sleep(0.1)
        time.sleep(1)
        rss, _ = memory_mib(fleet.children[0].pid)
    finally:
        for child in fleet.children:
            child.process.kill()
            child.process.wait(10)
        client.flushall()
    progress(f"{IN_FLIGHT:,} tasks at once: {rss:.1f} MiB")
    return {"tasks": IN_FLIGHT, "rss_mib": rss}


def measure(redis, folder, url, client, app, message, quick):
    return {
        "workers": by_workers(redis, folder, url, client, message, 40_000 if quick else 100_000),
        "sizes": by_size(redis, folder, url, client, app, 0.2 if quick else 1.0),
        "in_flight": in_flight(redis, folder, url, client, app),
    }

"""Drains with task events on: without anybody who listens, with one who does, and what Flower takes."""
import time
import urllib.request

import processes
from processes import CeleryWorker, Child, LovageWorker, PYTHON, HERE, progress

CHANNEL = "/0.celeryev/*"


class CeleryWithEvents(CeleryWorker):
    name = "Celery prefork -c 2, -E"
    flags = ["-E"]


class LovageWithEvents(LovageWorker):
    name = "Lovage, -E"
    flags = ["-E"]


class LovageFinalOnly(LovageWithEvents):
    name = "Lovage, -E, last events only"

    def env(self):
        return {**super().env(), "LOVAGE_EVENTS_FINAL_ONLY": "1"}


class Listener(Child):
    """One who hears all events and does nothing with them: redis-cli, which is no slower than any receiver."""

    def __init__(self, redis, folder):
        super().__init__("listener", ["sh", "-c", f"exec redis-cli -s {redis.socket} psubscribe '{CHANNEL}' > /dev/null"], folder)


def wait_for_listeners(client, count):
    deadline = time.monotonic() + 20
    while client.execute_command("PUBSUB", "NUMPAT") < count:
        if time.monotonic() > deadline:
            raise SystemExit("nobody listens")
        time.sleep(0.02)


def measure(redis, folder, url, sizes, app, client, message):
    from measure import best_drain
    out = {}
    for key, kind in (("celery", CeleryWithEvents), ("lovage", LovageWithEvents), ("final_only", LovageFinalOnly)):
        client.flushall()
        worker = kind(redis, folder, url)
        progress(f"{worker.name}: starting")
        rust = kind is not CeleryWithEvents
        count, runs = sizes["rust" if rust else "celery"], sizes["runs"] if rust else 1
        try:
            worker.start()
            figures = {"name": worker.name}
            figures["drain"] = best_drain(runs, worker, client, message, count, False, redis.pid)
            subscribed = client.execute_command("PUBSUB", "NUMPAT")
            listener = Listener(redis, folder)
            try:
                wait_for_listeners(client, subscribed + 1)
                figures["heard"] = best_drain(runs, worker, client, message, count, False, redis.pid)
                # Redis drops a listener that falls behind (client-output-buffer-limit pubsub).
                figures["listener_dropped"] = client.execute_command("PUBSUB", "NUMPAT") < subscribed + 1
            finally:
                listener.stop()
            if rust:
                figures["lost"] = events_lost(app)
            out[key] = figures
            for case in ("drain", "heard"):
                progress(f"{worker.name}, {case}: {figures[case]['tasks_per_second']:,.0f} tasks/s, "
                         f"{figures[case]['worker_cpu_us']:.1f} µs CPU a task")
        finally:
            worker.stop()
    out["flower"] = flower(redis, folder, client, url, message)
    return out


def events_lost(app):
    """What the worker says of its events. One that sends fewer than it should would win every race."""
    stats, = app.control.inspect().stats().values()
    lost = stats["events"]["lost"]
    if lost:
        raise SystemExit(f"{lost} of {lost + stats['events']['sent']} events were lost")
    return lost


def flower(redis, folder, client, url, message):
    """How many events a second Flower takes: a worker's events of some thousand tasks, and the CPU time until all are counted."""
    from measure import fill, QUEUE
    client.flushall()
    tasks, port = 5_000, processes.free_port()
    child = Child("flower", [PYTHON, "-m", "celery", "-A", "celery_app", "flower", f"--port={port}", "--address=127.0.0.1",
                             "--max_tasks=100000"], folder,
                  {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url, "PYTHONPATH": str(HERE),
                   "PYTHONDONTWRITEBYTECODE": "1", "FLOWER_UNAUTHENTICATED_API": "true"})
    worker = LovageWithEvents(redis, folder, url)
    try:
        child.wait_for("Connected to", 60)
        worker.start()
        fill(client, message, tasks, False, "bench:filled")
        cpu, began = processes.cpu_seconds(child.pid), time.perf_counter()
        client.rename("bench:filled", QUEUE)
        counted, since = 0, time.perf_counter()
        while counted < 3 * tasks and time.perf_counter() - since < 20:
            time.sleep(0.2)
            seen = events_counted(port)
            if seen > counted:
                counted, since = seen, time.perf_counter()
        used = processes.cpu_seconds(child.pid) - cpu
        figures = {"sent": 3 * tasks, "counted": counted, "cpu_us": used / max(counted, 1) * 1e6,
                   "events_per_second": counted / used if used else 0, "seconds": since - began}
    finally:
        worker.stop()
        child.stop()
    progress(f"Flower: {counted:,} of {3 * tasks:,} events, {figures['cpu_us']:.0f} µs CPU an event")
    return figures


def events_counted(port):
    """What Flower's own counters say of task events."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return 0
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("flower_events_total{")))


"""The Celery application of the interoperability tests: what Rust sends to, and what sends to Rust."""
import json
import os
import time

from celery import Celery
from kombu.common import Broadcast

settings = json.loads(os.environ.get("TEST_CELERY_SETTINGS", "{}"))
if "result_backend" in settings:
    # Celery believes the variable before any setting.
    os.environ["CELERY_RESULT_BACKEND"] = settings["result_backend"] or ""
app = Celery("app")
app.conf.update(
    broker_url=os.environ["CELERY_BROKER_URL"],
    result_backend=os.environ["CELERY_RESULT_BACKEND"] or None,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)
# What JSON cannot say: names of broadcasts.
broadcasts = settings.pop("test_broadcasts", [])
# Where `traced` sends spans.
collector = settings.pop("test_collector", None)
app.conf.update(settings)
if broadcasts:
    app.conf.task_queues = [Broadcast(name) for name in broadcasts]


class Refused(Exception):
    """An exception of the application's own."""


@app.task(name="py.add")
def add(x, y):
    return x + y


# Lovage's test worker has one of this name, too.
@app.task(name="test.pid")
def pid():
    return "python"


@app.task(name="py.echo")
def echo(*args, **kwargs):
    return {"args": args, "kwargs": kwargs}


@app.task(name="py.fail")
def fail(message="boom"):
    raise ValueError(message)


@app.task(name="py.refuse")
def refuse(code, why):
    raise Refused(code, why)


@app.task(name="py.sleep")
def sleep(seconds):
    time.sleep(seconds)
    return seconds


@app.task(name="py.request", bind=True)
def request(self):
    """What the worker was told about this very run."""
    r = self.request
    return {
        "id": r.id, "task": r.task, "args": r.args, "kwargs": r.kwargs, "root_id": r.root_id, "parent_id": r.parent_id,
        "retries": r.retries, "eta": r.eta, "expires": r.expires, "priority": r.delivery_info["priority"],
        "routing_key": r.delivery_info["routing_key"], "ignore_result": r.ignore_result, "lang": r.lang,
        "timelimit": r.timelimit, "shadow": r.shadow, "headers": r.headers, "argsrepr": r.argsrepr,
        "kwargsrepr": r.kwargsrepr, "correlation_id": r.correlation_id, "now": time.time(),
    }


@app.task(name="py.retry_once", bind=True, max_retries=3)
def retry_once(self, value):
    if self.request.retries < 1:
        raise self.retry(exc=RuntimeError("again"), countdown=0)
    return [value, self.request.retries]


@app.task(name="py.progress", bind=True)
def progress(self, total):
    for current in range(total):
        self.update_state(state="PROGRESS", meta={"current": current, "total": total})
        time.sleep(0.1)
    return total

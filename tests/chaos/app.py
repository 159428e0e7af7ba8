"""The Celery application of the chaos tests: the same tasks as the Rust workers have, which write down each of their runs."""
import json
import os
import time

from celery import Celery

app = Celery("app")
app.conf.update(
    broker_url=os.environ["CELERY_BROKER_URL"],
    result_backend=os.environ["CELERY_RESULT_BACKEND"],
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)
app.conf.update(json.loads(os.environ.get("TEST_CELERY_SETTINGS", "{}")))

WORKER = os.environ.get("CHAOS_WORKER", "")
LEDGER = os.open(os.environ["CHAOS_LEDGER"], os.O_WRONLY | os.O_APPEND)


def note(what, request):
    """One line in one write: lines of many processes never mix, and what a killed one wrote stays."""
    line = f"{what} {request.id} {request.retries} {WORKER} {time.time_ns() // 1000}\n".encode()
    assert os.write(LEDGER, line) == len(line)


@app.task(name="chaos.work", bind=True, max_retries=1000)
def work(self, number, seconds, retries, countdown):
    note("B", self.request)
    time.sleep(seconds)
    note("E", self.request)
    if self.request.retries < retries:
        raise self.retry(countdown=countdown)
    return {"number": number, "by": WORKER, "attempt": self.request.retries}

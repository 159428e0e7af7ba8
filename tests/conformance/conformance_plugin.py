"""A pytest plug-in that has the suite's worker be an external process.

It takes the place of the fixture `celery_session_worker` before the suite's conftest imports that name, begins anew with
emptied databases after each test that failed, and ends tests that take too long. The worker has the node name that the
suite expects, that of the test process.
"""
import json
import os
import re
import signal
import time

import celery.contrib.pytest
import pytest
from celery.utils.nodenames import anon_nodename
from mirror import Mirror
from processes import Worker
from redis import Redis

# Some tests wait for a result without a time-out inside a subtest, which swallows one strike: it strikes again and again.
AGAIN = 5


class Suite:
    worker = None
    app = None
    failed = False
    began = 0.0


def settings():
    return json.loads(os.environ["CONFORMANCE_SETTINGS"])


@pytest.fixture(scope="session")
def celery_session_worker(celery_session_app, celery_includes, celery_class_tasks):
    for module in celery_includes:
        celery_session_app.loader.import_task_module(module)
    for task in celery_class_tasks:
        celery_session_app.register_task(task)
    begin_anew(celery_session_app)
    said = settings()["environment"]
    redis = Redis(host=said["REDIS_HOST"], port=int(said["REDIS_PORT"]), socket_timeout=None)
    Mirror(celery_session_app, redis, lambda: begin_anew(celery_session_app))
    yield Suite.worker
    Suite.worker.stop()


celery.contrib.pytest.celery_session_worker = celery_session_worker


def begin_anew(app):
    said = settings()
    if Suite.worker is not None:
        Suite.worker.stop()
    with app.connection_for_write() as connection:
        connection.default_channel.client.flushall()
    Suite.app, Suite.failed = app, False
    Suite.worker = Worker(said["command"], said["environment"], anon_nodename(), said["concurrency"], said["log"])
    Suite.worker.start(app)
    # The mirror hears of successes by them.
    app.control.enable_events()


def strike(_signal, _frame):
    pytest.fail("it took too long", pytrace=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    Suite.began = time.monotonic()
    signal.signal(signal.SIGALRM, strike)
    note("test", item.nodeid)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    signal.setitimer(signal.ITIMER_REAL, settings()["limit"], AGAIN)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def pytest_runtest_setup(item):
    if Suite.failed and Suite.app is not None:
        begin_anew(Suite.app)


def pytest_runtest_logreport(report):
    if report.failed:
        Suite.failed = True
    if report.failed or report.skipped or report.when == "call":
        reason = str(getattr(report.longrepr, "reprcrash", None) or report.longrepr or "").strip()
        line = next((line for line in reason.splitlines() if line.strip()), "")
        # Where it lies on this machine is nobody's concern.
        line = re.sub(r"\S*/(site-packages|celery-[0-9.]+|conformance)/", "", line)
        note("part", report.nodeid, outcome=report.outcome, why=line[:300])
    if report.when == "teardown":
        note("end", report.nodeid, seconds=round(time.monotonic() - Suite.began, 2))


def note(kind, test, **more):
    with open(settings()["report"], "a", encoding="utf-8") as out:
        out.write(json.dumps({"kind": kind, "test": test, **more}) + "\n")

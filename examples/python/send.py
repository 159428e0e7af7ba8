"""Sends demo.add(2, 3) and prints its result.

Start a worker with the demo tasks (``lovage up``), then run this with the
variables that it prints:

    CELERY_BROKER_URL=redis://127.0.0.1:6379/0 .venv/bin/python examples/python/send.py
"""

import os
import sys

from celery import Celery
from celery.exceptions import TimeoutError
from kombu.exceptions import OperationalError


def main() -> int:
    broker = os.environ.get("CELERY_BROKER_URL")
    if not broker:
        print("set CELERY_BROKER_URL, as `lovage up` prints it", file=sys.stderr)
        return 2
    results = os.environ.get("CELERY_RESULT_BACKEND", broker)

    # The task itself is not here: Python knows it by its name only.
    app = Celery("send", broker=broker, backend=results)
    app.conf.broker_transport_options = {"socket_connect_timeout": 5}

    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1)
        result = app.send_task("demo.add", args=(2, 3))
        print(f"sent demo.add(2, 3), id {result.id}")
        print(f"result: {result.get(timeout=10)}")
    except TimeoutError:
        print("no result after 10 s: does a worker run with the demo tasks?", file=sys.stderr)
        return 1
    except OperationalError as error:
        print(f"cannot reach the broker {app.connection().as_uri()}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Stock Celery's side of scripts/test-compose: sends tasks from outside, for as long as it is told, and accounts for each.

    produce.py send FILE SECONDS     tasks with ids of its own; each is in FILE before it is sent, and is sent until it is taken
    produce.py count FILE PATIENCE   waits for all results, and fails when one is missing or wrong

The broker is CELERY_BROKER_URL, and the results are there.
"""

import os
import sys
import time
import uuid

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

# What is not reachable: the broker that was just killed, seen by kombu or by the store of results.
AWAY = (OperationalError, RedisError, OSError)

url = os.environ["CELERY_BROKER_URL"]
app = Celery("outside", broker=url, backend=url)
app.conf.update(broker_transport_options={"socket_timeout": 5}, redis_socket_timeout=5)


def send(path: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    number = 0
    with open(path, "a", encoding="ascii") as ids:
        while time.monotonic() < end:
            number += 1
            task = str(uuid.uuid4())
            # Known before it is sent: what becomes of it is asked for, whatever happens here.
            print(task, number, file=ids, flush=True)
            # Every tenth takes a while, so that a worker always dies with something in its hands.
            name, args = ("demo.sleep", [1]) if number % 10 == 0 else ("demo.add", [number, 1])
            while True:
                try:
                    app.send_task(name, args, task_id=task, retry=False)
                    break
                except AWAY:
                    time.sleep(0.2)
            time.sleep(0.03)
    print(number)


def count(path: str, patience: float) -> None:
    with open(path, encoding="ascii") as lines:
        waiting = {task: int(number) for task, number in (line.split() for line in lines)}
    total = len(waiting)
    wrong = []
    end = time.monotonic() + patience
    while waiting and time.monotonic() < end:
        for task, number in list(waiting.items()):
            try:
                # Not the object's own cache: each look is a question.
                meta = app.backend.get_task_meta(task, cache=False)
            except AWAY:
                break
            if meta["status"] == "SUCCESS":
                if number % 10 and meta["result"] != number + 1:
                    wrong.append(f"{task}: {number} + 1 is not {meta['result']}")
                del waiting[task]
            elif meta["status"] in ("FAILURE", "REVOKED"):
                wrong.append(f"{task}: {meta['status']} {meta['result']}")
                del waiting[task]
        if waiting:
            time.sleep(0.2)
    wrong += [f"{task}: no result" for task in waiting]
    for line in wrong[:20]:
        print(line, file=sys.stderr)
    print(total)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    {"send": send, "count": count}[sys.argv[1]](sys.argv[2], float(sys.argv[3]))

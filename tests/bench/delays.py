"""Delays a large number of tasks on a private Redis and tells what that costs a Lovage worker, and how late the due ones run. See
scripts/delays --help."""
import argparse
import datetime
import json
import os
import random
import sys
import time
import uuid
from pathlib import Path

import processes
from processes import LovageWorker, Redis, folder, memory_mib, progress

DELAYED = "lovage:delayed"


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/delays", description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000, metavar="N", help="tasks that are due in a far future (1,000,000)")
    parser.add_argument("--due", type=int, default=5_000, metavar="N", help="tasks that come due during the measurement (5,000)")
    parser.add_argument("--spread", type=float, default=20.0, metavar="SECONDS", help="over which they come due (20)")
    parser.add_argument("--debug", action="store_true", help="measure the debug binary")
    parser.add_argument("--markdown", metavar="FILE", help="also write the table to a Markdown file")
    return parser.parse_args()


def message(eta):
    import base64
    task = str(uuid.uuid4())
    body = base64.b64encode(json.dumps([[2, 3], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]).encode())
    return task, json.dumps({
        "body": body.decode(), "content-encoding": "utf-8", "content-type": "application/json",
        "headers": {"lang": "py", "task": "demo.add", "id": task, "shadow": None, "eta": eta.isoformat(), "expires": None,
                    "group": None, "group_index": None, "retries": 0, "timelimit": [None, None], "root_id": task,
                    "parent_id": None, "argsrepr": "(2, 3)", "kwargsrepr": "{}", "origin": "gen1@host1", "ignore_result": False,
                    "replaced_task_nesting": 0, "stamped_headers": None, "stamps": {}},
        "properties": {"correlation_id": task, "reply_to": "", "delivery_mode": 2, "priority": 0, "body_encoding": "base64",
                       "delivery_info": {"exchange": "", "routing_key": "celery"}, "delivery_tag": str(uuid.uuid4())}})


def publish(client, etas):
    sent = {}
    for start in range(0, len(etas), 2_000):
        pipe = client.pipeline(transaction=False)
        for eta in etas[start:start + 2_000]:
            task, text = message(eta)
            sent[task] = eta
            pipe.lpush("celery", text)
        pipe.execute()
    return sent


def wait_until(what, condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not in {seconds} s: {what}")
        time.sleep(0.05)


def lateness(client, sent):
    late = []
    tasks = list(sent)
    for start in range(0, len(tasks), 1_000):
        part = tasks[start:start + 1_000]
        for task, record in zip(part, client.mget([f"celery-task-meta-{task}" for task in part])):
            done = datetime.datetime.fromisoformat(json.loads(record)["date_done"])
            late.append((done - sent[task]).total_seconds() * 1000)
    return sorted(late)


def main():
    args = arguments()
    if args.debug:
        processes.TARGET = processes.TARGET.parent / "debug"
    with folder() as place:
        redis = Redis(place)
        client = redis.client()
        worker = LovageWorker(redis, place, redis.socket_url).start()
        try:
            now = datetime.datetime.now(datetime.timezone.utc)
            publish(client, [now - datetime.timedelta(seconds=1)] * 1_000)
            wait_until("the first tasks end", lambda: client.hlen("unacked") + client.llen("celery") == 0, 60)
            before = memory_mib(worker.pid)[0]
            far = now + datetime.timedelta(days=30)
            started = time.monotonic()
            for start in range(0, args.tasks, 50_000):
                publish(client, [far] * min(50_000, args.tasks - start))
            wait_until("all are put aside", lambda: client.zcard(DELAYED) == args.tasks, 600)
            rate = args.tasks / (time.monotonic() - started)
            after = memory_mib(worker.pid)[0]
            progress(f"{args.tasks:,} tasks delayed, {rate:,.0f} a second; the worker grew from {before:.1f} to {after:.1f} MiB")
            begin = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=3)
            etas = [begin + datetime.timedelta(seconds=random.uniform(0, args.spread)) for _ in range(args.due)]
            sent = publish(client, etas)
            wait_until("the due ones have run", lambda: client.exists(*[f"celery-task-meta-{task}" for task in sent]) == len(sent),
                       args.spread + 60)
            late = lateness(client, sent)
            doomed = next(iter(publish(client, [far])))
            wait_until("it is put aside", lambda: client.zcard(DELAYED) == args.tasks + 1, 30)
            asked = time.monotonic()
            client.zadd("lovage:revoked", {f"id:{doomed}": time.time()})
            client.publish("/0.lovage.revoked", "")
            wait_until("it is revoked", lambda: client.zcard(DELAYED) == args.tasks, 30)
            revoked = (time.monotonic() - asked) * 1000
        finally:
            worker.stop()
            redis.stop()
    middle, p99 = late[len(late) // 2], late[len(late) * 99 // 100]
    grown = after - before
    table = [
        ("tasks delayed", f"{args.tasks:,}", ""),
        ("put aside, tasks a second", f"{rate:,.0f}", ""),
        ("growth of the worker, MiB", f"{grown:.1f}", "under 20"),
        ("due tasks, late by p50 / p99 / most, ms", f"{middle:.0f} / {p99:.0f} / {late[-1]:.0f}", "p99 under 250"),
        ("earliest, ms", f"{late[0]:.1f}", "not before its time"),
        ("revoking one of them, ms", f"{revoked:.0f}", ""),
    ]
    text = "| | measured | required |\n|---|---|---|\n" + "".join(f"| {a} | {b} | {c} |\n" for a, b, c in table)
    print(text, end="")
    if args.markdown:
        Path(args.markdown).write_text("# A million delayed tasks\n\n" + os.environ.get("CIRCUMSTANCES", "").strip() + "\n\n" + text)
    sys.exit(0 if grown < 20 and p99 < 250 and late[0] >= 0 else 1)


main()

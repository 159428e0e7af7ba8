"""How many committed rows of the outbox a keeper sends a second, on PostgreSQL, while others commit all the time."""
import subprocess
import time

import processes
from journal import Keeper, Postgres
from processes import progress

QUEUE = "outbox-bench"
# So many rows a transaction.
ROWS = 100
INSERT = f"""INSERT INTO outbox (task_id, task, args, queue)
SELECT gen_random_uuid()::text, 'rides.confirm', '[' || number || ']', '{QUEUE}' FROM generate_series(1, {ROWS}) AS number;
"""


def measure(folder, url, client, quick):
    client.flushall()
    database = Postgres(folder, "postgres-outbox")
    keeper = Keeper(folder, url, database)
    rows = 40_000 if quick else 200_000
    progress("outbox: starting")
    try:
        # What a keeper does for the first time is not what is measured.
        write(database, ROWS)
        wait_until_sent(client, ROWS)
        cpu, began = processes.cpu_seconds(keeper.pid), time.perf_counter()
        write(database, rows)
        written = time.perf_counter() - began
        wait_until_sent(client, ROWS + rows)
        elapsed, used = time.perf_counter() - began, processes.cpu_seconds(keeper.pid) - cpu
        rss = processes.memory_mib(keeper.pid)[0]
        wait_until_empty(database)
        if client.llen(QUEUE) != ROWS + rows:
            raise SystemExit(f"outbox: {client.llen(QUEUE)} messages of {ROWS + rows} rows")
    finally:
        keeper.stop()
        database.stop()
        client.flushall()
    progress(f"outbox: {rows / elapsed:,.0f} messages/s, written at {rows / written:,.0f}/s")
    return {"messages": rows, "messages_per_second": rows / elapsed, "written_per_second": rows / written,
            "keeper_cpu_us": used / rows * 1e6, "rss_mib": rss}


def write(database, rows):
    """Commits so many, a few at a time."""
    subprocess.run(database.psql(), input=INSERT * (rows // ROWS), check=True, text=True, cwd="/")


def wait_until_sent(client, count, limit=120):
    deadline = time.monotonic() + limit
    while client.llen(QUEUE) < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"outbox: {client.llen(QUEUE)} of {count} messages after {limit} s")
        time.sleep(0.01)


def wait_until_empty(database, limit=30):
    deadline = time.monotonic() + limit
    while left := database.count("outbox"):
        if time.monotonic() > deadline:
            raise SystemExit(f"outbox: {left} rows are left")
        time.sleep(0.05)

"""The measurements. Each takes a running worker and gives plain numbers."""
import json
import socket
import statistics
import time
import uuid

from processes import cpu_seconds, memory_mib, progress

QUEUE = "celery"
MESSAGE_BYTES = 918


def template(app, client):
    """A no-op message as Celery writes it, split at its ids, with its length made up to 918 bytes."""
    result = app.send_task("demo.noop")
    raw = client.rpop(QUEUE)
    envelope = json.loads(raw)
    envelope["headers"]["ignore_result"] = False
    # The free text `origin` makes up for the length of names and process ids.
    excess = len(json.dumps(envelope)) - MESSAGE_BYTES
    origin = envelope["headers"]["origin"]
    envelope["headers"]["origin"] = origin[:len(origin) - excess] if excess > 0 else origin + "x" * -excess
    return json.dumps(envelope), result.id, envelope["properties"]["delivery_tag"]


def messages(kind, count, ignore_result):
    text, task_id, tag = kind
    if ignore_result:
        # One byte more for `false` keeps the length.
        text = text.replace('"ignore_result": false', '"ignore_result": true ')
    for _ in range(count):
        yield text.replace(task_id, str(uuid.uuid4())).replace(tag, str(uuid.uuid4())).encode()


def fill(client, kind, count, ignore_result, key):
    batch = []
    for message in messages(kind, count, ignore_result):
        batch.append(message)
        if len(batch) == 1000:
            client.lpush(key, *batch)
            batch.clear()
    if batch:
        client.lpush(key, *batch)


def clear_results(client):
    batch = []
    for key in client.scan_iter("celery-task-meta-*", count=5000):
        batch.append(key)
        if len(batch) == 5000:
            client.unlink(*batch)
            batch.clear()
    if batch:
        client.unlink(*batch)


def count_results(client):
    return sum(1 for _ in client.scan_iter("celery-task-meta-*", count=5000))


def drain(worker, client, kind, count, ignore_result, redis_pid, limit=180):
    """Time from the moment all messages are in the queue until none is left, none is held and all results are stored."""
    with_results = worker.stores_results and not ignore_result
    fill(client, kind, count, ignore_result, "bench:filled")
    cpu, redis_cpu = cpu_seconds(worker.pid), cpu_seconds(redis_pid)
    started = time.perf_counter()
    client.rename("bench:filled", QUEUE)
    while True:
        pipe = client.pipeline(transaction=True)
        pipe.llen(QUEUE)
        pipe.hlen("unacked")
        queued, _ = pipe.execute()
        if queued == 0 and worker.held(client) == 0:
            break
        if time.perf_counter() - started > limit:
            raise SystemExit(f"{worker.name} did not drain {count} messages in {limit} s: {queued} left")
        time.sleep(0.005)
    seconds = time.perf_counter() - started
    # What the worker still does after the last ack belongs to its price.
    time.sleep(0.2)
    figures = {
        "tasks": count,
        "tasks_per_second": count / seconds,
        "worker_cpu_us": (cpu_seconds(worker.pid) - cpu) / count * 1e6,
        "redis_cpu_us": (cpu_seconds(redis_pid) - redis_cpu) / count * 1e6,
    }
    if with_results:
        stored = count_results(client)
        if stored != count:
            raise SystemExit(f"{worker.name}: {stored} of {count} results are stored")
        clear_results(client)
    return figures


def best_drain(runs, *args):
    """The median of several runs by rate; the first run only warms up."""
    figures = sorted((drain(*args) for _ in range(runs)), key=lambda f: f["tasks_per_second"])
    return figures[len(figures) // 2]


def percentiles(times):
    times.sort()
    return {"p50_ms": statistics.median(times), "p99_ms": times[min(len(times) - 1, int(len(times) * 0.99))]}


def wire_latency(path, kind, count):
    """One task at a time on an idle system, without the cost of any client library: from the LPUSH of a ready message until
    the announcement of its result, over two bare connections."""
    def command(*words):
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)

    def connect():
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(10)
        connection.connect(path)
        return connection

    producer, listener = connect(), connect()
    times = []
    for i, message in enumerate(messages(kind, count + 20, False)):
        channel = b"celery-task-meta-" + json.loads(message)["headers"]["id"].encode()
        listener.sendall(command(b"SUBSCRIBE", channel))
        listener.recv(4096)
        push = command(b"LPUSH", QUEUE.encode(), message)
        # The worker comes to rest first: it still counts its last task.
        time.sleep(0.002)
        started = time.perf_counter()
        producer.sendall(push)
        while b"SUCCESS" not in listener.recv(65536):
            pass
        if i >= 20:
            times.append((time.perf_counter() - started) * 1000)
        producer.recv(100)
        listener.sendall(command(b"UNSUBSCRIBE", channel))
        listener.recv(4096)
    return percentiles(times)


def latency(app, count):
    """One task at a time on an idle system: from before Celery's send_task until the result is in the caller's hands."""
    times = []
    for i in range(count + 20):
        started = time.perf_counter()
        app.send_task("demo.noop").get(timeout=10)
        if i >= 20:
            times.append((time.perf_counter() - started) * 1000)
    return percentiles(times)


def idle(worker, seconds):
    cpu = cpu_seconds(worker.pid)
    time.sleep(seconds)
    rss, pss = memory_mib(worker.pid)
    return {"rss_mib": rss, "pss_mib": pss, "cpu_percent": (cpu_seconds(worker.pid) - cpu) / seconds * 100}


def python_publish(app, client, count):
    """Messages a second with a loop of send_task, and with group().apply_async()."""
    from celery import group
    for _ in range(50):
        app.send_task("demo.noop")
    started = time.perf_counter()
    for _ in range(count):
        app.send_task("demo.noop")
    one_by_one = count / (time.perf_counter() - started)
    size = 1000
    started = time.perf_counter()
    for _ in range(max(1, count // size)):
        group(app.signature("demo.noop") for _ in range(size)).apply_async()
    bulk = max(1, count // size) * size / (time.perf_counter() - started)
    client.delete(QUEUE)
    progress(f"Python publishes {one_by_one:,.0f}/s one by one, {bulk:,.0f}/s as groups of {size}")
    return {"one_by_one": one_by_one, "bulk": bulk}

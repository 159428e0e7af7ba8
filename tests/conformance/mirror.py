"""What the suite looks for inside its own process, where it expects its worker to be. Without this a test that looks there would
say nothing of the worker, whatever that does. Everything here is made from what the worker really did:

* the signal `task_received`: sent for each message that Redis sees the worker take, with the request that stock Celery makes of
  the very bytes that the worker holds;
* `state.successful_requests`: the ids in the worker's own `task-succeeded` events;
* `state.revoked_stamps.clear()`: has a worker begin anew that knows of none.
"""
import functools
import json
import re
import threading
import time
from codecs import decode

from celery.result import AsyncResult
from celery.signals import task_received
from celery.worker import state
from celery.worker.request import Request

TOKEN = re.compile(rb'"((?:\\.|[^"\\])*)"')


class Forgetting(dict):
    """Stands for the stamps that are revoked in the worker: the suite only ever clears them."""

    def __init__(self, begin_anew):
        super().__init__()
        self.begin_anew = begin_anew

    def clear(self):
        self.begin_anew()


class Mirror:
    def __init__(self, app, redis, begin_anew):
        self.app, self.redis = app, redis
        self.mark, self.seen = b"the mirror has seen all before", threading.Event()
        self.channel = app.connection_for_read().default_channel
        state.revoked_stamps = Forgetting(begin_anew)
        watched = threading.Event()
        threading.Thread(target=self.watch, args=(watched,), daemon=True).start()
        watched.wait(10)
        AsyncResult.get = self.behind(AsyncResult.get)
        threading.Thread(target=self.listen, daemon=True).start()

    def watch(self, watched):
        """Each message that is held appears in a HSET of the hash `unacked`, in a script or in a pipeline."""
        connection = self.redis.connection_pool.get_connection()
        connection.send_command("MONITOR")
        while True:
            line = connection.read_response(timeout=None)
            watched.set()
            if isinstance(line, str):
                line = line.encode()
            if self.mark in line:
                self.seen.set()
            if b'"unacked"' not in line:
                continue
            words = [decode(word, "unicode_escape").encode("latin-1") for word in TOKEN.findall(line)]
            if words[0].upper() == b"HSET" and words[1] == b"unacked":
                for held in words[3::2]:
                    self.received(json.loads(held)[0])

    def catch_up(self):
        """An embedded worker would have sent the signal before the result came; here the result waits for the signal."""
        if task_received.receivers:
            self.seen.clear()
            self.redis.echo(self.mark)
            self.seen.wait(2)

    def behind(self, get):
        @functools.wraps(get)
        def behind(*args, **kwargs):
            try:
                return get(*args, **kwargs)
            finally:
                self.catch_up()
        return behind

    def received(self, payload):
        name = payload.get("headers", {}).get("task")
        if name is None or not task_received.receivers:
            return
        # A test prepares for the signal after it has sent the task, and counts on a worker that takes its time.
        time.sleep(0.05)
        message = self.channel.message_to_python(payload)
        request = Request(message, app=self.app, task=self.app.tasks.get(name), hostname="suite@localhost")
        task_received.send(sender=self, request=request)

    def listen(self):
        def succeeded(event):
            state.successful_requests.add(event["uuid"])

        with self.app.connection_for_read() as connection:
            self.app.events.Receiver(connection, handlers={"task-succeeded": succeeded}).capture(limit=None, timeout=None)

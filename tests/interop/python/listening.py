"""What a monitor written in Python sees: Celery's own receiver and state, in a thread of a conversation."""
import logging
import threading
import time

from celery.events import EventReceiver
from celery.events.state import State
from kombu.utils.json import dumps, loads


class Complaints(logging.Handler):
    """Keeps every warning that Celery or kombu has about what it reads."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        # What the sender of a task is warned of is not about what was read.
        if record.name != "celery.app.base":
            self.lines.append(f"{record.name}: {record.getMessage()}")


class Listener:
    """Hears every event from its making on."""

    def __init__(self, app):
        self.app = app
        self.events = []
        self.errors = []
        self.complaints = Complaints()
        logging.getLogger().addHandler(self.complaints)
        self.state = State()
        self.ready = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()
        # It subscribes when it reads for the first time: it listens once it has heard something.
        with app.events.default_dispatcher() as dispatcher:
            for _ in range(200):
                dispatcher.send("probe-listener")
                if self.ready.wait(0.05):
                    return
        raise RuntimeError(f"the receiver did not become ready: {self.errors}")

    def _run(self):
        try:
            with self.app.connection() as connection:
                receiver = EventReceiver(connection, handlers={"*": self._hear}, app=self.app)
                # The receiver consumes on a copy of the connection.
                with receiver.consumer_context() as (consuming, _, _):
                    while True:
                        try:
                            consuming.drain_events(timeout=1)
                        except TimeoutError:
                            pass
        except BaseException as error:
            self.errors.append(repr(error))

    def _hear(self, event):
        if event["type"] == "probe-listener":
            self.ready.set()
            return
        # As it was read: the state keeps the event and adds to it.
        self.events.append(loads(dumps(event)))
        try:
            self.state.event(event)
        except Exception as error:
            self.errors.append(repr(error))

    def wait(self, condition, timeout=20):
        """Waits until the events heard so far meet the condition, and returns whether they do."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if condition(list(self.events)):
                return True
            time.sleep(0.01)
        return False

    def of_task(self, uuid):
        return [event for event in list(self.events) if event.get("uuid") == uuid]

    def of_node(self, hostname, prefix="worker-"):
        return [e for e in list(self.events) if e["hostname"] == hostname and e["type"].startswith(prefix)]

    def trouble(self):
        return self.errors + self.complaints.lines

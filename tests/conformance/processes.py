"""The Redis and the worker under test. Each is ended by its own id."""
import os
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path

QUEUE = "celery"
PATIENCE = 30


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Redis:
    """A private server without persistence on a loopback port."""

    def __init__(self, folder):
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        with (Path(folder) / "redis.log").open("wb") as log:
            self.process = subprocess.Popen(
                ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                 "--dir", str(folder)], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        deadline = time.monotonic() + PATIENCE
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"redis-server did not start, see {folder}/redis.log")
            time.sleep(0.02)

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                s.sendall(b"PING\r\n")
                return s.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)


class Worker:
    """One worker process at a time, started from a shell command."""

    def __init__(self, command, environment, node, concurrency, log):
        values = {"broker": environment["CELERY_BROKER_URL"], "backend": environment["CELERY_RESULT_BACKEND"],
                  "queue": QUEUE, "nodename": node, "concurrency": str(concurrency)}
        for name, value in values.items():
            command = command.replace("{" + name + "}", shlex.quote(value))
        self.command, self.node, self.log, self.process = command, node, Path(log), None
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("CELERY_", "LOVAGE_", "REDIS_"))}
        self.environment = {**clean, **environment, "CELERY_SUITE_QUEUE": QUEUE, "CELERY_SUITE_NODENAME": node,
                            "CELERY_SUITE_CONCURRENCY": str(concurrency)}

    def start(self, app):
        """Returns when it answers a ping."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(f"exec {self.command}", shell=True, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, env=self.environment, start_new_session=True)
        deadline = time.monotonic() + PATIENCE
        while not app.control.ping(destination=[self.node], timeout=0.2):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the worker does not answer, see {self.log}")

    def stop(self):
        """SIGTERM, after 10 s SIGKILL, for all of its session."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)

"""The tasks that Lovage's test worker has, for a Python worker beside it: the same names, arguments and ends."""
import json
import os
import time

from celery import chain
from celery.exceptions import Ignore, Reject

from app import Refused, app


@app.task(name="demo.add")
def add(x, y):
    return x + y


@app.task(name="demo.noop")
def noop():
    pass


@app.task(name="demo.sleep")
def sleep(seconds):
    time.sleep(seconds)
    return seconds


@app.task(name="demo.fail")
def fail(message="demo.fail does what it says"):
    raise RuntimeError(message)


@app.task(name="demo.retry_then_succeed", bind=True, max_retries=1000)
def retry_then_succeed(self, times, countdown=0.0):
    if self.request.retries < times:
        raise self.retry(countdown=countdown)
    return self.request.retries


@app.task(name="demo.progress", bind=True)
def progress(self, steps, pause=0.1):
    for current in range(steps):
        self.update_state(state="PROGRESS", meta={"current": current, "total": steps})
        time.sleep(pause)
    return steps


@app.task(name="test.refuse")
def refuse(code, why):
    raise Refused(code, why)


@app.task(name="test.ignore")
def ignore():
    raise Ignore()


@app.task(name="test.reject", acks_late=True)
def reject():
    raise Reject("no thanks", requeue=False)


@app.task(name="test.requeue_once", acks_late=True, bind=True)
def requeue_once(self):
    """Gives its message back the first time."""
    if self.request.delivery_info.get("redelivered"):
        return "done"
    raise Reject("not yet", requeue=True)


@app.task(name="test.always_retries", bind=True, max_retries=2)
def always_retries(self):
    raise self.retry(exc=KeyError("lost"), countdown=0.4)


@app.task(name="test.heeds", bind=True)
def heeds(self):
    """Cleans up when its soft limit is over."""
    from celery.exceptions import SoftTimeLimitExceeded

    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        return "cleaned up"


@app.task(name="test.checkpoint", bind=True)
def checkpoint(self, step, note):
    """Sends an event of its own."""
    self.send_event("task-checkpoint", step=step, note=note)
    return step


@app.task(name="test.until")
def until(path):
    while not os.path.exists(path):
        time.sleep(0.01)


@app.task(name="test.block")
def block(seconds):
    time.sleep(seconds)
    return seconds


@app.task(name="test.turn")
def turn():
    return 0


@app.task(name="test.exit")
def leave(code):
    os._exit(code)


@app.task(name="canvas.add")
def canvas_add(x, y):
    return x + y


@app.task(name="canvas.mul")
def canvas_mul(x, y):
    return x * y


@app.task(name="canvas.sum")
def canvas_sum(numbers):
    return sum(numbers)


@app.task(name="canvas.echo")
def canvas_echo(it):
    return it


@app.task(name="canvas.fail")
def canvas_fail(why):
    raise ValueError(why)


@app.task(name="canvas.note")
def canvas_note(it, *, path):
    with open(path, "a") as file:
        file.write(json.dumps(it) + "\n")


@app.task(name="canvas.replaced", bind=True)
def canvas_replaced(self, x):
    raise self.replace(chain(canvas_add.s(x, 1), canvas_mul.s(2)))


@app.task(name="canvas.joins", bind=True)
def canvas_joins(self, x):
    self.add_to_chord(canvas_add.s(x, 100))
    return x


@app.task(name="canvas.sends")
def canvas_sends(x):
    return chain(canvas_add.s(x, 1), canvas_mul.s(10)).apply_async().id


@app.task(name="canvas.stamps", bind=True)
def canvas_stamps(self):
    return self.request.stamps or {}

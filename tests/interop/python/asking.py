"""Remote control as an operator's script does it, for a conversation."""
import math
import time

from app import app


def ask(method, arguments=None, destination=None, limit=None, timeout=5.0, **addressing):
    """Every node's answer, by its name; ends as soon as there are `limit` of them or one for each destination."""
    # A connection of its own: one that waited in vain leaves a pop behind that would take the next answer.
    with app.connection_for_write() as connection:
        replies = app.control.broadcast(
            method, arguments=arguments or {}, destination=destination, connection=connection, reply=True,
            timeout=timeout, limit=limit, **addressing)
    return {node: finite(answer) for reply in replies or [] for node, answer in reply.items()}


def finite(value):
    """The same without infinities, which JSON has not and some of Celery's settings are."""
    if isinstance(value, float) and not math.isfinite(value):
        return 1e308
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    return [finite(one) for one in value] if isinstance(value, list) else value


def timed(method, arguments=None, destination=None):
    """An answer and how long it took, in seconds."""
    started = time.perf_counter()
    answers = ask(method, arguments, destination)
    return [answers, time.perf_counter() - started]

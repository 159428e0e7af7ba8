"""Sends what the shop sends and prints each answer, a line of JSON: run it before a task moves and after, and compare.

CELERY_BROKER_URL=redis://… python ask.py
"""
import json

from celery import chord

from shop.tasks import price, receipt, total

mug, tea = {"article": "mug", "quantity": 2}, {"article": "tea", "quantity": 1}


def answer(sent):
    """The value, or the class and arguments of what was raised."""
    value = sent.get(timeout=20, propagate=False)
    if isinstance(value, BaseException):
        value = [type(value).__module__, type(value).__name__, list(value.args)]
    return [sent.state, value]


calls = {
    "positional": price.delay([mug, tea]),
    "by name": price.apply_async(kwargs={"lines": [tea], "discount": 0.5}),
    "half a cent": price.delay([tea], 0.1),
    "nothing in it": price.delay([]),
    "unknown": price.delay([{"article": "spoon", "quantity": 1}]),
    "later": price.apply_async(([mug],), countdown=0.2),
    "a chain into Python": (price.s([mug, tea]) | receipt.s("Ada")).delay(),
    "a chord": chord([price.s([mug]), price.s([tea])], total.s()).delay(),
}
for what, sent in calls.items():
    print(json.dumps([what, *answer(sent)]))

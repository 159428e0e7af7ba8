"""Writes to the outbox through Django's ORM: one task in a transaction that is committed, one in one that is rolled back.

Usage: django_app.py DATABASE_URL; prints the id of the task that was committed.
"""

import json
import sys
import uuid
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import django
from django.conf import settings


def database(url):
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": url.removeprefix("sqlite://")}
    query = parse_qs(parts.query)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "HOST": query["host"][0],
        "USER": query["user"][0],
    }


settings.configure(DATABASES={"default": database(sys.argv[1])}, USE_TZ=True)
django.setup()

from django.db import models, transaction  # noqa: E402
from django.utils import timezone  # noqa: E402


class Outbox(models.Model):
    task_id = models.CharField(max_length=255)
    task = models.TextField()
    args = models.TextField(default="[]")
    kwargs = models.TextField(default="{}")
    priority = models.SmallIntegerField(null=True)
    expires = models.DateTimeField(null=True)

    class Meta:
        app_label = "rides"
        db_table = "outbox"
        managed = False


def enqueue(task, *args, **kwargs):
    return Outbox.objects.create(
        task_id=str(uuid.uuid4()),
        task=task,
        args=json.dumps(args),
        kwargs=json.dumps(kwargs),
        priority=3,
        expires=timezone.now() + timedelta(hours=1),
    )


with transaction.atomic():
    kept = enqueue("rides.confirm", 42, name="Zoë")
try:
    with transaction.atomic():
        enqueue("rides.never")
        raise RuntimeError("the ride could not be saved")
except RuntimeError:
    pass
print(kept.task_id)

"""A Celery app such as one finds in the wild, for scripts/celery-conf to read:

.venv/bin/python scripts/celery-conf examples.python.celery_app:app
"""

import re
from datetime import timedelta

from celery import Celery
from kombu import Exchange, Queue
from kombu.common import Broadcast

app = Celery("shop", broker="redis://:a%20password@cache:6379/1")

app.conf.update(
    result_backend="redis://:a%20password@cache:6379/2",
    result_expires=timedelta(hours=6),
    result_extended=True,
    timezone="Europe/Zurich",
    task_default_queue="shop",
    task_queues=[
        Queue("shop"),
        Queue("mail"),
        Queue("reports", Exchange("office", type="topic"), routing_key="office.report.#", expires=60),
        Broadcast("everyone"),
    ],
    task_routes={
        "shop.send_*": {"queue": "mail", "priority": 3},
        re.compile(r"shop\.(daily|weekly)_report"): {"queue": "reports"},
        "shop.tasks.it's": "shop",
    },
    task_time_limit=600,
    task_soft_time_limit=540.5,
    task_track_started=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={"visibility_timeout": 43200, "global_keyprefix": "shop."},
    result_backend_transport_options={"global_keyprefix": "shop."},
    accept_content=["json", "application/x-yaml"],
    task_serializer="yaml",
    result_serializer="msgpack",
    task_annotations={"shop.send_mail": {"rate_limit": "10/m", "max_retries": 5}},
    worker_max_tasks_per_child=100,
    worker_pool="prefork",
    # For scripts/celery-schedules.
    beat_schedule={"report": {"task": "shop.daily_report", "schedule": 3600.0}},
)


@app.task(name="shop.send_mail")
def send_mail(address, subject):
    """Pretends to send a mail."""
    return f"{subject} to {address}"

"""The application. What moves a task is the route at the end."""
import os

from celery import Celery

app = Celery(
    "shop",
    broker=os.environ["CELERY_BROKER_URL"],
    backend=os.environ.get("CELERY_RESULT_BACKEND") or os.environ["CELERY_BROKER_URL"],
    include=["shop.tasks"],
)
app.conf.broker_connection_retry_on_startup = True

# The names that have moved. Empty it, and Python runs them again.
MOVED = [name for name in os.environ.get("SHOP_MOVED", "").split(",") if name]
app.conf.task_routes = {name: {"queue": "rust"} for name in MOVED}

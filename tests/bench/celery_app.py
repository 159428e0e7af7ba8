"""The Celery application of the benchmark: the baseline's worker and everybody's producer."""
import os

from celery import Celery

app = Celery("bench")
app.conf.update(
    broker_url=os.environ["CELERY_BROKER_URL"],
    result_backend=os.environ["CELERY_RESULT_BACKEND"],
    broker_connection_retry_on_startup=True,
    # The same promise as Lovage's default: a message is acked after its task has ended.
    task_acks_late=True,
)


@app.task(name="demo.noop")
def noop():
    return None

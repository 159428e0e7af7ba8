"""Writes to the outbox through SQLAlchemy: one task in a transaction that is committed, one in one that is rolled back.

Usage: sqlalchemy_app.py DATABASE_URL; prints the id of the task that was committed.
"""

import json
import sys
from datetime import datetime, timedelta, timezone
from uuid import uuid4

from sqlalchemy import Column, DateTime, MetaData, SmallInteger, Table, Text, create_engine, insert

url = sys.argv[1]
# SQLAlchemy counts slashes in another way, and has the driver in the scheme.
url = url.replace("sqlite://", "sqlite:///").replace("postgres://", "postgresql+psycopg2://")
engine = create_engine(url)
outbox = Table(
    "outbox",
    MetaData(),
    Column("task_id", Text),
    Column("task", Text),
    Column("args", Text),
    Column("kwargs", Text),
    Column("priority", SmallInteger),
    Column("expires", DateTime(timezone=True)),
)


def enqueue(connection, task, *args, **kwargs):
    task_id = str(uuid4())
    connection.execute(
        insert(outbox).values(
            task_id=task_id,
            task=task,
            args=json.dumps(args),
            kwargs=json.dumps(kwargs),
            priority=3,
            expires=datetime.now(timezone.utc) + timedelta(hours=1),
        )
    )
    return task_id


with engine.begin() as connection:
    kept = enqueue(connection, "rides.confirm", 42, name="Zoë")
try:
    with engine.begin() as connection:
        enqueue(connection, "rides.never")
        raise RuntimeError("the ride could not be saved")
except RuntimeError:
    pass
print(kept)

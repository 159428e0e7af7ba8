"""A small shop, whose tasks are run by Celery."""
from .celery import app

__all__ = ["app"]

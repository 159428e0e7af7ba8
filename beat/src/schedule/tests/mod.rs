//! Schedules against what Celery computed, and against their own clocks.

mod clock_changes;
mod vectors;

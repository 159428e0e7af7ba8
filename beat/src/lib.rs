//! Decides what is due and sends it, from one leader at a time.
//!
//! The pure part says when: a [`Schedule`] gives the instant after another, a [`Timing`] what is due at a given time. The
//! thin part asks and does: a [`Beat`] leads or stands by, and has its [`Store`] make each tick happen in one step with its
//! message. Whatever dies when, a run has one message; its execution is at least once, like any task's.
//!
//! It runs no task, and knows neither Redis nor SQL: schedules are kept in the database, by its stores, or without one at the
//! broker, by its own seam.
//!
//! | module | knows |
//! |---|---|
//! | [`schedule`] | crontabs, intervals, the sun, an instant: the next run after another |
//! | `due` | what is due now, what becomes of missed runs |
//! | `draft`, `duration` | a schedule as it is written down |
//! | `check` | from a draft to what can run, fault by fault |
//! | `roster` | which tasks there are, and whether arguments fit |
//! | `message` | the message that a run sends |
//! | [`store`] | where schedules are kept: the seam, and its forms |
//! | `declared` | files and code, and what is kept of them |
//! | `agenda`, `service` | the leader's loop |
//! | `standing` | how a schedule that is kept stands |
//! | `by_hand` | what people do: run now, backfill, pause |
//! | `chore` | when the beat that leads has something to do itself |
//! | `presence` | answering a ping, as Celery's beat does |
//!
//! ```
//! use chrono_tz::Tz;
//! use lovage_beat::Schedule;
//!
//! let schedule = Schedule::Crontab("30 2 * * *".parse()?);
//! let evening = lovage_beat::instant("2026-03-28T20:00:00Z")?;
//! let run = schedule.next_after(evening, Tz::Europe__Zurich).expect("there is one every day");
//! // That night the clocks go from 2 to 3: the run is an hour later on the wall.
//! assert_eq!(run.at.with_timezone(&Tz::Europe__Zurich).to_rfc3339(), "2026-03-29T03:30:00+02:00");
//! assert!(run.remark.is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod agenda;
mod by_hand;
mod check;
mod chore;
mod declared;
mod draft;
mod due;
mod duration;
mod message;
mod numbers;
mod presence;
mod roster;
pub mod schedule;
mod service;
mod standing;
pub mod store;

pub use by_hand::{ByHandError, MOST_RUNS, backfill, may_become, may_go, run_now, set_paused};
pub use check::{Defaults, DraftFaults, FieldFault, instant, zone};
pub use chore::Ticks;
pub use declared::{
    Agreed, DeclaredError, added, agree, changed, check_all, parse_file, read_file,
};
pub use draft::{Draft, Kind, SolarDraft};
pub use due::{Decision, MOST_MISSED, Missed, Next, Progress, SKIP_AFTER, Timing, task_id};
pub use duration::WithUnit;
pub use message::{BEAT_TASK, DUE, MessageError, SCHEDULE_NAME, prepare};
pub use numbers::BeatNumbers;
pub use presence::answer_pings;
pub use roster::Roster;
pub use schedule::{Remark, Run, Schedule};
pub use service::{Beat, BeatOptions, LeaderReport, Status};
pub use standing::Standing;
pub use store::{BrokerStore, DatabaseStore, Store, StoreError};

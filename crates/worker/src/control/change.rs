//! What changes the worker: limits, pool, events, its end.

use std::time::Duration;

use lovage_flower_compat::{Answer, Raised};
use lovage_protocol::{Value, repr};
use lovage_registry::RateLimit;
use tracing::{info, warn};

use super::{Panel, arguments::Arguments};
use crate::{error::ControlError, pool::Autoscale, rate::RateRefused};

impl Panel {
    /// `celery/worker/control.py`, `rate_limit`.
    pub(super) fn rate_limit(&self, arguments: &Arguments) -> Result<Answer, Raised> {
        let rate = match read_rate(arguments.get("rate_limit")) {
            Ok(rate) => rate,
            Err(BadRate::Unit(unit)) => return Err(Raised::new("KeyError", &unit)),
            Err(BadRate::Number(text)) => {
                let raised = Raised::new("ValueError", &text);
                return Ok(Answer::error(format!(
                    "Invalid rate limit string: {raised}"
                )));
            }
        };
        let task = arguments.text("task_name").unwrap_or_default();
        let shown = rate.as_ref().map(ToString::to_string);
        match self.handle.rate_limits().set(task, rate) {
            Ok(()) => {}
            Err(refused @ RateRefused::UnknownTask) => {
                return Ok(Answer::error(refused.to_string()));
            }
            Err(refused) => return Ok(Answer::error(refused.to_string())),
        }
        Ok(match shown {
            None => {
                info!("Rate limits disabled for tasks of type {task}");
                Answer::ok("rate limit disabled successfully")
            }
            Some(rate) => {
                info!("New rate limit for tasks of type {task}: {rate}.");
                Answer::ok("new rate limit set successfully")
            }
        })
    }

    /// `celery/worker/control.py`, `time_limit`; here it holds from the next task on.
    pub(super) fn time_limit(&self, arguments: &Arguments) -> Result<Answer, Raised> {
        let limit = |name| -> Result<Option<Duration>, Raised> {
            let seconds = arguments.seconds(name)?.filter(|seconds| *seconds > 0.0);
            Ok(seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()))
        };
        let (hard, soft) = (limit("hard")?, limit("soft")?);
        let task = arguments.text("task_name").unwrap_or_default();
        match self.handle.set_time_limits(task, hard, soft) {
            Ok(()) => {
                info!("New time limits for tasks of type {task}: soft={soft:?} hard={hard:?}");
                Ok(Answer::ok("time limits set successfully"))
            }
            Err(ControlError::UnknownTask { .. }) => Ok(Answer::error("unknown task")),
            Err(refused) => Ok(Answer::error(refused.to_string())),
        }
    }

    pub(super) fn pool_grow(&self, arguments: &Arguments) -> Result<Answer, Raised> {
        let more = amount(arguments)?;
        self.handle.pool_grow(more).map_err(raised)?;
        Ok(Answer::ok("pool will grow"))
    }

    pub(super) fn pool_shrink(&self, arguments: &Arguments) -> Result<Answer, Raised> {
        let fewer = amount(arguments)?;
        self.handle.pool_shrink(fewer).map_err(raised)?;
        Ok(Answer::ok("pool will shrink"))
    }

    pub(super) fn pool_restart(&self) -> Result<Answer, Raised> {
        if !self.shared.settings.events.pool_restarts {
            return Err(Raised::new("ValueError", "Pool restarts not enabled"));
        }
        self.shared.pool.restart();
        Ok(Answer::ok("reload started"))
    }

    pub(super) fn autoscale(&self, arguments: &Arguments) -> Result<Answer, Raised> {
        let (max, min) = (arguments.number("max")?, arguments.number("min")?);
        let Some(now) = self.handle.state().autoscale else {
            return Err(Raised::new("ValueError", "Autoscale not enabled"));
        };
        let size = |given: Option<i64>, now: usize| match given {
            None => Ok(now),
            Some(given) => usize::try_from(given)
                .map_err(|_| Raised::new("ValueError", "autoscale needs numbers from 0 on")),
        };
        let bounds = Autoscale::new(size(max, now.max)?, size(min, now.min)?);
        self.handle
            .autoscale(bounds.max, bounds.min)
            .map_err(raised)?;
        Ok(Answer::ok(format!(
            "autoscale now max={} min={}",
            bounds.max, bounds.min
        )))
    }

    pub(super) fn enable_events(&self) -> Answer {
        Answer::ok(if self.shared.announcer.emitter.switch(true) {
            info!("Events of group {{task}} enabled by remote.");
            "task events enabled"
        } else {
            "task events already enabled"
        })
    }

    pub(super) fn disable_events(&self) -> Answer {
        Answer::ok(if self.shared.announcer.emitter.switch(false) {
            info!("Events of group {{task}} disabled by remote.");
            "task events disabled"
        } else {
            "task events already disabled"
        })
    }

    /// Takes part in an election that everybody was asked to hold.
    pub(super) async fn election(&self, arguments: &Arguments) -> Result<Value, Raised> {
        let (id, topic) = (arguments.text("id")?, arguments.text("topic")?);
        if let Some(gossip) = &self.gossip {
            gossip
                .elect(id, topic, arguments.get("action").clone())
                .await;
        }
        Ok(Value::Null)
    }

    /// Nobody is answered: the worker is about to be gone.
    pub(super) fn shut_down(&self, arguments: &Arguments) -> Answer {
        let text = arguments.text("msg").unwrap_or("Got shutdown from remote");
        warn!("{text}");
        self.shared.shutdown.warm();
        Answer::Silence
    }
}

fn amount(arguments: &Arguments) -> Result<usize, Raised> {
    let amount = arguments.number("n")?.unwrap_or(1);
    usize::try_from(amount).map_err(|_| Raised::new("ValueError", "n must not be negative"))
}

fn raised(refused: ControlError) -> Raised {
    match refused {
        ControlError::TooFew { .. } => {
            Raised::new("ValueError", "Can't shrink pool. All processes busy!")
        }
        refused => Raised::new("ValueError", &refused.to_string()),
    }
}

enum BadRate {
    /// The unit is none: Python's `KeyError` for it.
    Unit(String),
    /// The number is none: the text of Python's `ValueError`.
    Number(String),
}

/// As `celery/utils/time.py`, `rate`: a number, or a text of a number and a unit.
fn read_rate(value: &Value) -> Result<Option<RateLimit>, BadRate> {
    let text = match value {
        Value::Null | Value::Bool(false) => return Ok(None),
        Value::Str(text) => text.clone(),
        Value::Bool(true) => "1".to_owned(),
        number if number.as_f64().is_some() => repr::python_repr(number),
        other => {
            let kind = other.kind();
            return Err(BadRate::Number(format!(
                "a rate limit is a number or a text, not {kind}"
            )));
        }
    };
    if let Ok(rate) = RateLimit::parse(&text) {
        return Ok(rate);
    }
    let (number, unit) = text.split_once('/').unwrap_or((&text, "s"));
    if number.trim().parse::<f64>().is_ok() && !matches!(unit, "s" | "m" | "h") {
        return Err(BadRate::Unit(unit.to_owned()));
    }
    let number = repr::python_string(number);
    Err(BadRate::Number(format!(
        "could not convert string to float: {number}"
    )))
}

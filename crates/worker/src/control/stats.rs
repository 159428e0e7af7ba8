//! The counters of a worker (`celery/worker/worker.py`, `stats`), in the shape that Flower's pages read.

use lovage_protocol::{Map, Value};
use lovage_settings::{BrokerUrl, Pool as Kind, RedisAddress, RedisUrl};

use super::{Panel, object, process};
use crate::{handle::PoolState, pool::Autoscale};

impl Panel {
    pub(super) fn stats(&self) -> Value {
        let state = self.handle.state();
        let total = self.shared.catalogue.accepted();
        let total: Map = total
            .into_iter()
            .map(|(name, count)| (name.to_owned(), number(count)))
            .collect();
        let emitter = &self.shared.announcer.emitter;
        let mut stats = Map::new();
        let mut add = |name: &str, value: Value| stats.insert(name.to_owned(), value);
        add("total", Value::Map(total));
        add("pid", i64::from(std::process::id()).into());
        add("clock", Value::Str(emitter.clock().value().to_string()));
        add("uptime", number(self.since.elapsed().as_secs()));
        if let Some(bounds) = state.autoscale {
            add("autoscaler", autoscaler(bounds, state.slots));
        }
        add("pool", self.pool(&state));
        add("broker", self.broker());
        add(
            "prefetch_count",
            // Celery has 0 for no limit.
            count(
                Some(self.shared.pool.size.prefetch())
                    .filter(|most| *most < usize::MAX)
                    .unwrap_or(0),
            ),
        );
        add("rusage", Value::Map(process::usage()));
        add(
            "events",
            object([
                ("on", emitter.is_on().into()),
                ("sent", number(emitter.sent())),
                ("lost", number(emitter.lost())),
            ]),
        );
        Value::Map(stats)
    }

    fn pool(&self, state: &PoolState) -> Value {
        let worker = &self.shared.settings.worker;
        let implementation = match state.kind {
            Kind::Async => "lovage.pool.async:TaskPool",
            Kind::Threads => "celery.concurrency.thread:TaskPool",
            Kind::Prefork => "celery.concurrency.prefork:TaskPool",
            Kind::Solo => "celery.concurrency.solo:TaskPool",
        };
        let mut pool = Map::new();
        let mut add = |name: &str, value: Value| pool.insert(name.to_owned(), value);
        add("implementation", implementation.into());
        add("max-concurrency", count(state.slots));
        let processes = state.processes.iter().map(|pid| i64::from(*pid).into());
        match state.kind {
            Kind::Threads => add("threads", count(state.running)),
            _ => add("processes", Value::List(processes.collect())),
        };
        if state.kind != Kind::Threads {
            let most = worker.max_tasks_per_child;
            add(
                "max-tasks-per-child",
                most.map_or_else(|| "N/A".into(), |most| i64::from(most).into()),
            );
            add(
                "put-guarded-by-semaphore",
                (state.kind == Kind::Solo).into(),
            );
            add("timeouts", self.timeouts());
        }
        if state.kind == Kind::Prefork {
            add("writes", self.writes());
        }
        if state.abandoned > 0 {
            add("abandoned-threads", count(state.abandoned));
        }
        Value::Map(pool)
    }

    /// Soft and hard limit of all tasks, 0 for none.
    fn timeouts(&self) -> Value {
        let tasks = &self.shared.settings.tasks;
        let seconds = |limit: Option<std::time::Duration>| {
            limit.map_or(Value::Int(0), |limit| Value::Float(limit.as_secs_f64()))
        };
        Value::List(vec![
            seconds(tasks.soft_time_limit),
            seconds(tasks.time_limit),
        ])
    }

    /// What was given to each child (`celery/concurrency/asynpool.py`, `human_write_stats`).
    fn writes(&self) -> Value {
        let jobs = self.shared.pool.jobs_given();
        let total: u64 = jobs.iter().sum();
        #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
        let share = |part: f64| match total {
            0 => "0.00".to_owned(),
            total => format!("{:.2}", part / total as f64),
        };
        #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
        let shares: Vec<String> = jobs.iter().map(|jobs| share(*jobs as f64)).collect();
        #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
        let average = share(total as f64 / jobs.len().max(1) as f64);
        let raw: Vec<String> = jobs.iter().map(ToString::to_string).collect();
        object([
            ("total", number(total)),
            ("avg", average.into()),
            ("all", shares.join(", ").into()),
            ("raw", raw.join(", ").into()),
            ("strategy", "fair".into()),
            (
                "inqueues",
                // A child is given one job at a time: nothing waits in a pipe.
                object([("total", count(jobs.len())), ("active", 0.into())]),
            ),
        ])
    }

    fn broker(&self) -> Value {
        let settings = &self.shared.settings.broker;
        let urls: &[RedisUrl] = match &settings.url {
            Some(BrokerUrl::Redis(urls)) => urls,
            _ => &[],
        };
        let first = urls.first();
        let (hostname, port) = match first.map(|url| &url.address) {
            Some(RedisAddress::Tcp { host, port }) => (host.clone(), i64::from(*port).into()),
            Some(address) => (address.label(), Value::Null),
            None => (String::new(), Value::Null),
        };
        let user = first.and_then(|url| url.username.as_deref());
        let database = first.map_or_else(String::new, |url| url.database.to_string());
        let others = urls.iter().skip(1).map(|url| Value::Str(url.to_string()));
        object([
            ("hostname", hostname.into()),
            ("userid", user.map_or(Value::Null, Value::from)),
            ("virtual_host", database.into()),
            ("port", port),
            ("insist", false.into()),
            ("ssl", first.is_some_and(|url| url.tls.is_some()).into()),
            ("transport", transport(settings.url.as_ref()).into()),
            (
                "connect_timeout",
                number(settings.connect_timeout.as_secs()),
            ),
            ("transport_options", Value::Map(Map::new())),
            ("login_method", Value::Null),
            ("uri_prefix", Value::Null),
            ("heartbeat", Value::Float(120.0)),
            ("failover_strategy", "round-robin".into()),
            ("alternates", Value::List(others.collect())),
            ("credential_provider", Value::Null),
        ])
    }
}

/// The name that kombu has for how a broker is spoken to.
pub(super) fn transport(url: Option<&BrokerUrl>) -> &'static str {
    match url {
        Some(BrokerUrl::Redis(urls)) => match urls.first().map(|url| &url.address) {
            Some(RedisAddress::Sentinel(_)) => "sentinel",
            _ => "redis",
        },
        _ => "memory",
    }
}

/// The bounds, and how many slots there are (`celery/worker/autoscale.py`, `info`).
fn autoscaler(bounds: Autoscale, slots: usize) -> Value {
    object([
        ("max", count(bounds.max)),
        ("min", count(bounds.min)),
        ("current", count(slots)),
        ("qty", 0.into()),
    ])
}

fn count(number: usize) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

fn number(number: u64) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

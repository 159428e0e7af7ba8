//! `lovage worker`: runs tasks until it is told to stop.

use std::{num::NonZero, path::PathBuf, sync::Arc, thread, time::Duration};

use clap::Args;
use lovage_protocol::{NodeName, QueueName};
use lovage_registry::TaskSpec;
use lovage_settings::{BrokerUrl, Pool, Settings, parse_level};
use lovage_worker::{Autoscale, Catalogue, Module, Presence, Worker, WorkerParts};
use tracing::info;

use crate::{
    banner::Banner,
    command::{QueueList, beat, pool_child, seconds, select_queues},
    conf::conf,
    connect,
    failure::{Failure, chain},
    monitor, nodename, output,
    pidfile::PidFile,
    platform,
    signals::{Signals, Voice},
    told,
};

/// Tasks at once in the async pool, when nobody says.
const ASYNC_CONCURRENCY: usize = 100;
/// Seconds between two signs of life, as Celery has it.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// tokio's own limit of threads for what blocks.
const BLOCKING_THREADS: usize = 512;

/// What shapes a worker, in `lovage worker` and `lovage up`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Tasks at once, or auto [default: 100 for the async pool, the number of cores for threads and prefork]
    #[arg(short, long, value_name = "N", value_parser = concurrency)]
    concurrency: Option<Concurrency>,
    /// Queues to consume, with commas between them [default: the default queue]
    #[arg(short = 'Q', long, value_name = "QUEUES")]
    queues: Option<QueueList>,
    /// Queues not to consume
    #[arg(short = 'X', long, value_name = "QUEUES")]
    exclude_queues: Option<QueueList>,
    // Not a doc comment: to rustdoc, what is in the brackets would be a link.
    #[arg(
        short = 'n',
        long,
        value_name = "NODE",
        help = "Node name; %h host, %n name, %d domain, %i process index [default: celery@%h]"
    )]
    hostname: Option<String>,
    /// How tasks are run: async (many in one process), threads, prefork (child processes) or solo [default: async]
    #[arg(short = 'P', long, value_name = "POOL")]
    pool: Option<Pool>,
    /// DEBUG, INFO, WARNING, ERROR, CRITICAL, or a list such as info,lovage_worker=debug [default: INFO]
    #[arg(short, long, value_name = "LEVEL", value_parser = parse_level)]
    loglevel: Option<String>,
    /// Messages taken ahead, times concurrency; 0 takes without limit [default: 4]
    #[arg(long, value_name = "N")]
    prefetch_multiplier: Option<usize>,
    /// Grow and shrink between these many tasks at once, as the load asks for
    #[arg(long, value_name = "MAX,MIN", value_parser = autoscale)]
    autoscale: Option<Autoscale>,
    /// Replace a child process of the prefork pool after this many tasks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tasks_per_child: Option<u32>,
    /// Replace a child process that has used more than this much memory, in KiB, after its task
    #[arg(long, value_name = "KIB", value_parser = clap::value_parser!(u64).range(1..))]
    max_memory_per_child: Option<u64>,
    /// Stop a task after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    time_limit: Option<Duration>,
    /// Tell a task to end after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    soft_time_limit: Option<Duration>,
    /// One JSON object a line, as LOVAGE_LOG_FORMAT=json
    #[arg(long)]
    json_logs: bool,
    /// Send task events from the start on, for Flower and celery events
    #[arg(short = 'E', long, visible_alias = "events")]
    task_events: bool,
    /// Seconds between two signs of life [default: 2]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    heartbeat_interval: Option<Duration>,
    /// Give no sign of life: the worker is not shown as online
    #[arg(long)]
    without_heartbeat: bool,
    /// Do not listen to other workers
    #[arg(long)]
    without_gossip: bool,
    /// Do not greet other workers at the start
    #[arg(long)]
    without_mingle: bool,
}

/// Run tasks until told to stop.
///
/// TERM stops warmly: running tasks end, the rest goes back to its queues. Ctrl-C does too, and a second one gives the
/// running tasks back as well; so does QUIT at once, or after CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT. LOVAGE_DRAIN_TIMEOUT
/// limits how long TERM waits.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lovage worker                              consume the default queue
  lovage worker -Q hot,mail -c 200 -l info   two queues, 200 tasks at once
  lovage worker -P threads -n crunch@%h      blocking tasks, one thread per core
  lovage worker -P prefork --time-limit 60   one process per core, and a task that takes longer is killed")]
pub(crate) struct WorkerArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Write the process id to this file (%n and so on as in -n), and remove it at the end
    #[arg(long, value_name = "FILE")]
    pidfile: Option<String>,
    #[command(flatten)]
    celery: CeleryArgs,
}

/// Flags of Celery's that have no effect here, so that a start script may keep them.
#[derive(Debug, Args)]
struct CeleryArgs {
    #[arg(short = 'O', long, hide = true, value_name = "PROFILE")]
    optimization: Option<String>,
}

impl WorkerArgs {
    /// What shapes the worker.
    pub(crate) fn into_run(self) -> RunArgs {
        self.run
    }
}

impl CeleryArgs {
    fn hint(&self) {
        if self.optimization.is_some() {
            output::hint(
                "-O has no effect: slots are always given to what comes next (Celery's -O fair)",
            );
        }
    }
}

/// The value of `-c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Concurrency {
    Auto,
    Tasks(usize),
}

fn concurrency(text: &str) -> Result<Concurrency, String> {
    match text.parse() {
        Ok(tasks @ 1..=100_000) => Ok(Concurrency::Tasks(tasks)),
        _ if text.eq_ignore_ascii_case("auto") => Ok(Concurrency::Auto),
        _ => Err("expected a whole number from 1 to 100000, or auto".to_owned()),
    }
}

/// Reads Celery's `max,min`, or `max` alone.
fn autoscale(text: &str) -> Result<Autoscale, String> {
    let wrong = || "expected max,min: two whole numbers, the larger first".to_owned();
    let (max, min) = text.split_once(',').unwrap_or((text, "0"));
    let number = |text: &str| text.trim().parse::<usize>().map_err(|_| wrong());
    let (max, min) = (number(max)?, number(min)?);
    if max == 0 || max > 100_000 || min > max {
        return Err(wrong());
    }
    Ok(Autoscale::new(max, min))
}

/// A worker that is decided on and not yet started.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    /// The broker that `lovage up` has started.
    pub(crate) made_up_broker: Option<String>,
    modules: Vec<Module>,
    node: NodeName,
    queues: Vec<QueueName>,
    concurrency: usize,
    pool: Pool,
    autoscale: Option<Autoscale>,
    presence: Presence,
    tasks: Vec<String>,
}

impl Plan {
    /// Joins flags and settings; flags win.
    pub(crate) fn new(
        args: RunArgs,
        mut settings: Settings,
        mut modules: Vec<Module>,
    ) -> Result<Self, Failure> {
        modules.extend(platform::modules(&settings));
        let specs = Catalogue::specs(&modules)?;
        if specs.is_empty() {
            return Err(lovage_worker::BuildError::NoTasks.into());
        }
        let host = hostname::get().map(|name| name.to_string_lossy().into_owned());
        let host = host.unwrap_or_else(|_| "localhost".to_owned());
        let node = nodename::node_name(args.hostname.as_deref(), &host).map_err(Failure::usage)?;
        let queues = select_queues(args.queues, args.exclude_queues, &settings)?;
        let pool = args.pool.unwrap_or(settings.worker.pool);
        let wanted = match args.concurrency {
            Some(Concurrency::Auto) => None,
            Some(Concurrency::Tasks(tasks)) => Some(tasks),
            None => settings.worker.concurrency,
        };
        let concurrency = match (pool, wanted) {
            (Pool::Solo, _) => 1,
            (_, Some(tasks)) => tasks,
            (Pool::Async, None) => ASYNC_CONCURRENCY,
            (Pool::Threads | Pool::Prefork, None) => {
                thread::available_parallelism().map_or(1, NonZero::get)
            }
        };
        if let Some(level) = args.loglevel {
            settings.telemetry.level = level;
        }
        settings.telemetry.json |= args.json_logs;
        if let Some(multiplier) = args.prefetch_multiplier {
            settings.worker.prefetch_multiplier = multiplier;
        }
        let worker = &mut settings.worker;
        worker.max_tasks_per_child = args.max_tasks_per_child.or(worker.max_tasks_per_child);
        worker.max_memory_per_child = args.max_memory_per_child.or(worker.max_memory_per_child);
        settings.tasks.time_limit = args.time_limit.or(settings.tasks.time_limit);
        settings.tasks.soft_time_limit = args.soft_time_limit.or(settings.tasks.soft_time_limit);
        modules.extend(told::module(&settings, &node, &specs));
        let tasks = specs.iter().map(|spec| spec.name.to_string()).collect();
        settings.events.task_events |= args.task_events;
        let interval = args
            .heartbeat_interval
            .filter(|interval| !interval.is_zero());
        let presence = Presence {
            heartbeat: (!args.without_heartbeat).then(|| interval.unwrap_or(HEARTBEAT)),
            gossip: !args.without_gossip,
            mingle: !args.without_mingle,
            ..Presence::default()
        };
        Ok(Self {
            settings,
            made_up_broker: None,
            modules,
            node,
            queues,
            concurrency,
            pool,
            autoscale: args.autoscale.filter(|_| pool != Pool::Solo),
            presence,
            tasks,
        })
    }

    /// The tasks that it runs.
    pub(crate) fn specs(&self) -> Result<Vec<TaskSpec>, Failure> {
        Ok(Catalogue::specs(&self.modules)?)
    }

    /// The beat that goes with it: its settings, its tasks, what they declare.
    pub(crate) fn beat(&self) -> Result<beat::Plan, Failure> {
        let in_code = beat::in_code(&self.modules)?;
        let mut settings = self.settings.clone();
        // One process has one address, and the worker tells there.
        settings.telemetry.monitor_bind = None;
        beat::Plan::of(settings, self.specs()?, in_code)
    }

    /// What a child process of this worker needs.
    pub(crate) fn into_child(self) -> (Vec<Module>, Settings, NodeName) {
        (self.modules, self.settings, self.node)
    }

    /// Tasks at once.
    pub(crate) fn concurrency(&self) -> usize {
        self.autoscale.map_or(self.concurrency, |bounds| bounds.max)
    }

    /// How a signal is acknowledged.
    fn voice(&self) -> Voice {
        if self.settings.telemetry.json {
            Voice::Log
        } else {
            Voice::Plain
        }
    }
}

/// Runs the command.
pub(crate) fn run(
    args: WorkerArgs,
    settings: Settings,
    modules: Vec<Module>,
) -> Result<u8, Failure> {
    let plan = Plan::new(args.run, settings, modules)?;
    args.celery.hint();
    connect::broker_url(&plan.settings)?;
    let pidfile = args
        .pidfile
        .map(|name| nodename::expand_node(&name, &plan.node).map_err(Failure::usage))
        .transpose()?;
    let held = pidfile
        .map(|path| PidFile::take(&PathBuf::from(path)))
        .transpose()?;
    let _told = lovage_telemetry::start(&plan.settings.telemetry, "worker")?;
    let ended = in_runtime(plan.concurrency(), async move {
        let signals = listen(&plan)?;
        serve(plan, &signals).await?;
        Ok(signals.exit_code())
    });
    drop(held);
    ended
}

/// How many threads drive the async tasks: half of the cores. The others are for what runs beside them (blocking tasks,
/// Redis on a small machine), and a hand-over between two threads costs more than most tasks: on two cores, one thread
/// ends as many no-op tasks as two, in less CPU time (docs/adr/0009).
fn executor_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}

/// Runs on [`executor_threads`]. What still blocks a thread when the worker has ended is left behind: its message went back.
pub(crate) fn in_runtime(
    concurrency: usize,
    work: impl Future<Output = Result<u8, Failure>>,
) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(executor_threads())
        .max_blocking_threads(BLOCKING_THREADS.saturating_add(concurrency))
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the runtime: {error}")))?;
    let ended = runtime.block_on(work);
    runtime.shutdown_background();
    ended
}

/// Listens to the signals of a worker.
pub(crate) fn listen(plan: &Plan) -> Result<Signals, Failure> {
    Signals::listen(plan.voice(), plan.settings.worker.shutdown.clone())
        .map_err(|error| Failure::failed(format!("cannot listen to signals: {error}")))
}

/// Runs the worker until a signal stops it. A broker that is away is waited for.
pub(crate) async fn serve(plan: Plan, signals: &Signals) -> Result<(), Failure> {
    let Plan {
        settings,
        made_up_broker,
        modules,
        node,
        queues,
        concurrency,
        pool,
        autoscale,
        mut presence,
        tasks,
    } = plan;
    let url = connect::broker_url(&settings)?;
    let specs = Catalogue::specs(&modules)?;
    if settings.telemetry.json {
        info!(%node, broker = %url, concurrency, pool = pool.name(), "starting");
    } else {
        let banner = Banner {
            node: &node,
            settings: &settings,
            broker: url,
            queues: &queues,
            concurrency,
            pool,
            autoscale,
            tasks: &tasks,
        };
        // A banner that nobody reads is no reason to stop.
        let _ = output::line(banner);
    }
    let watch = monitor::WorkerProbe::default();
    let _served = monitor::serve(&settings, watch.clone()).await?;
    let connected = tokio::select! {
        connected = connect::patiently(&settings, &specs) => connected?,
        () = signals.asked() => return Ok(()),
    };
    let child = match (pool, url) {
        (Pool::Prefork, BrokerUrl::Memory) => {
            return Err(Failure::settings(
                "the prefork pool needs a broker that its child processes can reach, and memory:// is none",
            ));
        }
        (Pool::Prefork, _) => Some(pool_child::command(made_up_broker).map_err(|error| {
            Failure::failed(format!("child processes cannot be started: {error}"))
        })?),
        _ => None,
    };
    presence.conf = conf(&settings);
    let parts = WorkerParts {
        broker: connected.broker,
        results: connected.results,
        client: connected.client,
        modules,
        settings: Arc::new(settings),
        node: node.clone(),
        queues,
        concurrency,
        pool,
        child,
        autoscale,
        presence,
    };
    let worker = tokio::select! {
        worker = Worker::start(parts) => worker?,
        () = signals.asked() => return Ok(()),
    };
    watch.watch(worker.handle(), signals.shutdown());
    let ran = worker
        .run(signals.shutdown(), || info!("{node} ready."))
        .await;
    ran.map(drop)
        .map_err(|error| Failure::failed(chain(&error)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use lovage_protocol::Value;
    use lovage_settings::{Pool, Settings};
    use lovage_worker::{Module, RawTask};

    use super::{Plan, RunArgs};

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        run: RunArgs,
    }

    fn plan(flags: &str, variables: &[(&str, &str)]) -> Plan {
        let pairs = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let (settings, _) = Settings::from_lookup(pairs).unwrap();
        let words = std::iter::once("worker").chain(flags.split_whitespace());
        let task = RawTask::new("one", |_| async { Ok(Value::Null) });
        let args = Flags::try_parse_from(words).unwrap().run;
        Plan::new(args, settings, vec![Module::new("tests").raw(task)]).unwrap()
    }

    #[test]
    fn flags_win_over_settings() {
        let set = [
            ("CELERY_WORKER_CONCURRENCY", "7"),
            ("CELERY_WORKER_POOL", "threads"),
            ("CELERY_WORKER_PREFETCH_MULTIPLIER", "2"),
            ("LOVAGE_LOG", "debug"),
        ];
        let by_settings = plan("", &set);
        assert_eq!(
            (by_settings.concurrency, by_settings.pool),
            (7, Pool::Threads)
        );
        assert_eq!(by_settings.settings.worker.prefetch_multiplier, 2);
        assert_eq!(by_settings.settings.telemetry.level, "debug");
        let by_flags = plan(
            "-c 3 -P async --prefetch-multiplier 1 -l WARNING --json-logs",
            &set,
        );
        assert_eq!((by_flags.concurrency, by_flags.pool), (3, Pool::Async));
        assert_eq!(by_flags.settings.worker.prefetch_multiplier, 1);
        assert_eq!(by_flags.settings.telemetry.level, "warn");
        assert!(by_flags.settings.telemetry.json);
    }

    #[test]
    fn concurrency_has_a_default_for_each_pool() {
        let cores = std::thread::available_parallelism().unwrap().get();
        assert_eq!(plan("", &[]).concurrency, 100);
        assert_eq!(plan("-P threads", &[]).concurrency, cores);
        assert_eq!(plan("-P prefork", &[]).concurrency, cores);
        assert_eq!(plan("-P solo -c 8", &[]).concurrency, 1);
        assert_eq!(
            plan("-c auto -P threads", &[("CELERY_WORKER_CONCURRENCY", "7")]).concurrency,
            cores
        );
    }

    #[test]
    fn a_worker_without_tasks_is_refused() {
        let args = Flags::try_parse_from(["worker"]).unwrap().run;
        assert_eq!(
            Plan::new(args, Settings::default(), Vec::new())
                .unwrap_err()
                .tell(),
            78
        );
    }
}

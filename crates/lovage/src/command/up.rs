//! `lovage up`: everything that is needed to try it, in one command.

use std::{
    env,
    fmt::{self, Display},
    path::{Path, PathBuf},
};

use clap::Args;
use lovage_settings::{BeatStore, BrokerUrl, DatabaseSettings, DatabaseUrl, Environment, Settings};
use lovage_worker::Module;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    api_beside::ApiBeside,
    command::worker::{Plan, RunArgs, in_runtime, listen, serve},
    connect,
    effective::effective,
    failure::Failure,
    flower_child::{Access, Flower, FlowerChild, Watched},
    history_child::HistoryChild,
    output::{self, FAINT, HEADING, NAME},
    platform,
    redis_child::RedisChild,
    stubs::{PACKAGE, Package},
};

/// The sender that comes with the sources.
const SENDER: &str = "examples/python/send.py";
const PYTHON: &str = ".venv/bin/python";

/// Try it: a Redis of its own, a worker with the demo tasks, a beat, the HTTP API, and Flower to watch them.
///
/// A redis-server is started on a free port of this machine, unless CELERY_BROKER_URL is set; its data stays under
/// data/redis for the next time. The API is at LOVAGE_API_BIND, with a SQLite database under data and an administrator whose
/// password is printed once. Flower is started on this machine's port 5555 if it is installed, with a password that
/// is printed. Ctrl-C ends them all. For development only: the demo tasks can kill the worker.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lovage up
  CELERY_BROKER_URL=redis://localhost:6379/0 lovage up    on a Redis that runs already")]
pub(crate) struct UpArgs {
    /// Where the data is kept
    #[arg(long, value_name = "FOLDER", default_value = "data")]
    data: PathBuf,
    /// Do not start Flower
    #[arg(long)]
    without_flower: bool,
    /// Do not serve the HTTP API
    #[arg(long)]
    without_api: bool,
    #[command(flatten)]
    run: RunArgs,
}

impl UpArgs {
    /// What shapes its worker.
    pub(crate) fn into_run(self) -> RunArgs {
        self.run
    }
}

/// Runs the command.
pub(crate) fn run(
    args: UpArgs,
    mut settings: Settings,
    mut modules: Vec<Module>,
) -> Result<u8, Failure> {
    if settings.environment == Environment::Production {
        return Err(Failure::settings(
            "LOVAGE_ENV is production, and `lovage up` is for development; run `lovage worker`",
        ));
    }
    settings.worker.demo_tasks = true;
    modules.extend(platform::printed_mail(&settings));
    // Whoever tries it wants to see it.
    settings.events.task_events = true;
    let plan = Plan::new(args.run, settings, modules)?;
    let _told = lovage_telemetry::start(&plan.settings.telemetry, "up")?;
    let beside = Beside {
        flower: !args.without_flower,
        api: !args.without_api,
    };
    in_runtime(plan.concurrency(), run_all(args.data, plan, beside))
}

/// What there is beside the worker.
#[derive(Debug, Clone, Copy)]
struct Beside {
    flower: bool,
    api: bool,
}

async fn run_all(data: PathBuf, mut plan: Plan, beside: Beside) -> Result<u8, Failure> {
    let signals = listen(&plan)?;
    signals
        .end_with_terminal()
        .map_err(|error| Failure::failed(format!("cannot listen to signals: {error}")))?;
    // Looked for while Redis starts.
    let flower = beside.flower.then(|| tokio::spawn(Flower::find()));
    let mut child = None;
    if plan.settings.broker.url.is_none() {
        let folder = data.join("redis");
        let redis = tokio::select! {
            started = RedisChild::start(&folder) => started?,
            () = signals.asked() => return Ok(0),
        };
        plan.made_up_broker = Some(redis.url());
        plan.settings.broker.url =
            Some(BrokerUrl::parse(&redis.url()).expect("it is made of a port"));
        child = Some(redis);
    } else if plan.settings.broker.url != Some(BrokerUrl::Memory) {
        // Nothing is up before it answers.
        tokio::select! {
            answered = connect::patiently(&plan.settings, &[]) => drop(answered?),
            () = signals.asked() => return Ok(0),
        }
    }
    if plan.settings.database.url == DatabaseSettings::default().url {
        plan.settings.database.url = DatabaseUrl::Sqlite(data.join("lovage.db"));
        if plan.settings.beat.store == BeatStore::Auto {
            // Where `lovage schedule` looks in another terminal, which is told of the broker alone.
            plan.settings.beat.store = BeatStore::Broker;
        }
    }
    let history = HistoryChild::start(&plan.settings).await;
    let history = history
        .map_err(|failure| failure.warn("no history is kept"))
        .ok();
    let flower = match flower {
        Some(search) => search.await.ok().flatten(),
        None => None,
    };
    if let (Some(history), Some(_)) = (&history, &flower) {
        history.tell_flower().await;
    }
    let flower = flower.and_then(|flower| start_flower(flower, &data, &plan));
    let api = match beside.api {
        true => tokio::select! {
            api = start_api(&data, &plan) => api,
            () = signals.asked() => None,
        },
        false => None,
    };
    let beat = Beating::begin(&plan)?;
    // Written once everything is there to be used, or on its way; a closed pipe is no reason to stop.
    if !signals.were_asked() {
        let _ = output::line(Welcome {
            settings: &plan.settings,
            folder: Path::new(""),
            own_redis: child.is_some(),
            flower: flower.as_ref().map(FlowerChild::access),
            api: api.as_ref(),
        });
    }
    let served = match &mut child {
        None => serve(plan, &signals).await,
        Some(redis) => tokio::select! {
            served = serve(plan, &signals) => served,
            ended = redis.ended() => Err(Failure::failed(format!(
                "redis-server has ended ({}); its log is {}",
                ended.map_or_else(|error| error.to_string(), |status| status.to_string()),
                redis.log().display(),
            ))),
        },
    };
    if let Some(api) = api {
        api.stop().await;
    }
    beat.end().await;
    if let Some(flower) = flower {
        flower.stop().await;
    }
    if let Some(history) = history {
        history.stop().await;
    }
    if let Some(redis) = child {
        redis.stop().await;
    }
    served.map(|()| 0)
}

/// Serves the API beside the worker. Without it everything else works, so what is in its way is only told.
async fn start_api(data: &Path, plan: &Plan) -> Option<ApiBeside> {
    // Memory is the worker's alone.
    if plan.settings.broker.url == Some(BrokerUrl::Memory) {
        return None;
    }
    let specs = plan.specs().ok()?;
    match Box::pin(ApiBeside::start(data, &plan.settings, specs)).await {
        Ok(api) => Some(api),
        Err(failure) => {
            failure.warn("the API is not served");
            None
        }
    }
}

/// The beat beside the worker.
struct Beating {
    stop: CancellationToken,
    running: Option<JoinHandle<Result<(), Failure>>>,
}

impl Beating {
    /// Begins it, where there is a broker that it can share with the worker.
    fn begin(plan: &Plan) -> Result<Self, Failure> {
        let stop = CancellationToken::new();
        let shared = !matches!(plan.settings.broker.url, None | Some(BrokerUrl::Memory));
        let running = match shared {
            true => Some(tokio::spawn(plan.beat()?.run(stop.clone()))),
            false => None,
        };
        Ok(Self { stop, running })
    }

    /// Ends it; the lead is free then.
    async fn end(self) {
        self.stop.cancel();
        if let Some(running) = self.running
            && let Ok(Err(failure)) = running.await
        {
            failure.warn("beat has ended");
        }
    }
}

/// Starts Flower beside the worker. Without it everything else works, so what is in its way is only told.
fn start_flower(flower: Flower, data: &Path, plan: &Plan) -> Option<FlowerChild> {
    let settings = &plan.settings;
    let broker = settings.broker.url.as_ref()?;
    if *broker == BrokerUrl::Memory {
        return None;
    }
    let started = plan
        .specs()
        .and_then(|specs| Package::new(PACKAGE, &specs, settings))
        .and_then(|stubs| {
            let watched = Watched {
                broker,
                results: &settings.results.place(broker),
                variables: transport_options(settings),
            };
            flower.start(data, &stubs, watched)
        });
    match started {
        Ok(child) => Some(child),
        Err(failure) => {
            failure.warn("Flower is not started");
            None
        }
    }
}

/// The options of the transport that are not kombu's own, whether they come from the environment or from `.env`.
fn transport_options(settings: &Settings) -> Vec<(&'static str, String)> {
    let usual = effective(&Settings::default());
    effective(settings)
        .into_iter()
        .filter(|(name, value)| {
            name.ends_with("_TRANSPORT_OPTIONS")
                && env::var_os(name).is_none()
                && !usual.contains(&(*name, value.clone()))
        })
        .collect()
}

/// The URLs in use, to be pasted, and something to try.
#[derive(Debug)]
struct Welcome<'a> {
    settings: &'a Settings,
    /// Where the sources would be.
    folder: &'a Path,
    /// The broker is this program's child.
    own_redis: bool,
    /// How to get into Flower, where it was started.
    flower: Option<&'a Access>,
    /// The API, where it is served.
    api: Option<&'a ApiBeside>,
}

impl Display for Welcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(broker) = &self.settings.broker.url else {
            return Ok(());
        };
        let results = self.settings.results.place(broker);
        let program = program();
        if !self.own_redis {
            writeln!(
                f,
                "{FAINT}CELERY_BROKER_URL is set: that broker is used, and no Redis is started (unset it for one).{FAINT:#}"
            )?;
        }
        writeln!(
            f,
            "{HEADING}Lovage is up.{HEADING:#} In other terminals, use\n"
        )?;
        writeln!(f, "  export {NAME}CELERY_BROKER_URL{NAME:#}={broker}")?;
        writeln!(
            f,
            "  export {NAME}CELERY_RESULT_BACKEND{NAME:#}={results}\n"
        )?;
        if let Some(Access {
            url,
            user,
            password,
        }) = self.flower
        {
            writeln!(f, "{HEADING}Watch{HEADING:#} with Flower\n")?;
            writeln!(
                f,
                "  {NAME}{url}{NAME:#}  user {user}, password {password}\n"
            )?;
        }
        if let Some(api) = self.api {
            let url = &api.url;
            writeln!(f, "{HEADING}Send and repair{HEADING:#} over HTTP\n")?;
            writeln!(f, "  {NAME}{url}/docs{NAME:#}")?;
            match &api.admin {
                Some((email, password)) => {
                    writeln!(f, "  user {email}, password {password} (shown only now)\n")?;
                }
                None => writeln!(f)?,
            }
        }
        writeln!(f, "{HEADING}Try{HEADING:#}\n")?;
        if self.folder.join(SENDER).exists() && self.folder.join(PYTHON).exists() {
            writeln!(f, "  CELERY_BROKER_URL={broker} {PYTHON} {SENDER}")?;
        }
        writeln!(
            f,
            "  CELERY_BROKER_URL={broker} {program} call demo.add 2 3 --wait"
        )?;
        write!(f, "\n{FAINT}Ctrl-C ends it.{FAINT:#}")
    }
}

/// This program, as it was called.
fn program() -> String {
    env::args().next().unwrap_or_else(|| "lovage".to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use lovage_settings::Settings;

    use super::{Access, PYTHON, SENDER, Welcome};

    #[test]
    fn every_url_can_be_pasted_and_the_sender_is_named_where_it_is() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let (settings, _) = Settings::from_lookup([
            pair("CELERY_BROKER_URL", "redis://127.0.0.1:7001/0"),
            pair("CELERY_RESULT_BACKEND", "redis://127.0.0.1:7001/1"),
        ])
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let flower = Access {
            url: "http://127.0.0.1:5555".to_owned(),
            user: "lovage",
            password: "sesame".to_owned(),
        };
        let text = |folder| {
            let text = Welcome {
                settings: &settings,
                folder,
                own_redis: true,
                flower: Some(&flower),
                api: None,
            }
            .to_string();
            anstream::adapter::strip_str(&text).to_string()
        };
        let without = text(folder.path());
        assert!(
            without.contains("  export CELERY_BROKER_URL=redis://127.0.0.1:7001/0\n"),
            "{without}"
        );
        assert!(
            without.contains("  export CELERY_RESULT_BACKEND=redis://127.0.0.1:7001/1\n"),
            "{without}"
        );
        assert!(
            without.contains("  http://127.0.0.1:5555  user lovage, password sesame\n"),
            "{without}"
        );
        assert!(!without.contains(SENDER), "{without}");
        for path in [SENDER, PYTHON] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let with = text(folder.path());
        assert!(
            with.contains(&format!(
                "CELERY_BROKER_URL=redis://127.0.0.1:7001/0 {PYTHON} {SENDER}\n"
            )),
            "{with}"
        );
    }
}

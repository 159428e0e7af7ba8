//! `lovage up`: everything that is needed to try it, in one command.

use std::{
    env,
    fmt::{self, Display},
    path::{Path, PathBuf},
};

use clap::Args;
use lovage_settings::{BrokerUrl, Environment, Settings, start_tracing};
use lovage_worker::Module;

use crate::{
    command::worker::{Plan, RunArgs, in_runtime, listen, serve},
    failure::Failure,
    output::{self, FAINT, HEADING, NAME},
    redis_child::RedisChild,
};

/// The sender that comes with the sources.
const SENDER: &str = "examples/python/send.py";
const PYTHON: &str = ".venv/bin/python";

/// Try it: a Redis of its own and a worker with the demo tasks, in one process.
///
/// A redis-server is started on a free port of this machine, unless CELERY_BROKER_URL is set; its data stays under
/// data/redis for the next time. Ctrl-C ends both. For development only: the demo tasks can kill the worker.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lovage up
  CELERY_BROKER_URL=redis://localhost:6379/0 lovage up    on a Redis that runs already")]
pub(crate) struct UpArgs {
    /// Where the data is kept
    #[arg(long, value_name = "FOLDER", default_value = "data")]
    data: PathBuf,
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
    modules: Vec<Module>,
) -> Result<u8, Failure> {
    if settings.environment == Environment::Production {
        return Err(Failure::settings(
            "LOVAGE_ENV is production, and `lovage up` is for development; run `lovage worker`",
        ));
    }
    settings.worker.demo_tasks = true;
    // Whoever tries it wants to see it.
    settings.events.task_events = true;
    let plan = Plan::new(args.run, settings, modules)?;
    start_tracing(&plan.settings.telemetry);
    in_runtime(plan.concurrency(), run_all(args.data, plan))
}

async fn run_all(data: PathBuf, mut plan: Plan) -> Result<u8, Failure> {
    let signals = listen(&plan)?;
    signals
        .end_with_terminal()
        .map_err(|error| Failure::failed(format!("cannot listen to signals: {error}")))?;
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
    }
    // Written once everything is there to be used; a closed pipe is no reason to stop.
    let _ = output::line(Welcome {
        settings: &plan.settings,
        folder: Path::new(""),
        own_redis: child.is_some(),
    });
    let Some(mut redis) = child else {
        serve(plan, &signals).await?;
        return Ok(0);
    };
    let served = tokio::select! {
        served = serve(plan, &signals) => served,
        ended = redis.ended() => Err(Failure::failed(format!(
            "redis-server has ended ({}); its log is {}",
            ended.map_or_else(|error| error.to_string(), |status| status.to_string()),
            redis.log().display(),
        ))),
    };
    redis.stop().await;
    served.map(|()| 0)
}

/// The URLs in use, to be pasted, and something to try.
#[derive(Debug)]
struct Welcome<'a> {
    settings: &'a Settings,
    /// Where the sources would be.
    folder: &'a Path,
    /// The broker is this program's child.
    own_redis: bool,
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

    use super::{PYTHON, SENDER, Welcome};

    #[test]
    fn every_url_can_be_pasted_and_the_sender_is_named_where_it_is() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let (settings, _) = Settings::from_lookup([
            pair("CELERY_BROKER_URL", "redis://127.0.0.1:7001/0"),
            pair("CELERY_RESULT_BACKEND", "redis://127.0.0.1:7001/1"),
        ])
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let text = |folder| {
            let text = Welcome {
                settings: &settings,
                folder,
                own_redis: true,
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

//! `lovage beat`: sends periodic tasks until it is told to stop.

mod celery_args;
mod own;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use lovage_beat::{
    Beat, BeatOptions, DeclaredError, Defaults, Draft, Roster, agree, answer_pings, check_all,
    read_file,
    store::{Source, Store},
};
use lovage_client::{ClientOptions, Composer};
use lovage_database::Database;
use lovage_keeper::outbox;
use lovage_protocol::NodeName;
use lovage_registry::TaskSpec;
use lovage_settings::{Settings, parse_level};
use lovage_worker::{Catalogue, Module, reaping};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::{celery_args::CeleryArgs, own::OwnChores};
use crate::{
    command::schedule::{
        chores::{chores, of_the_database},
        kept::{self, Place},
        leader,
    },
    connect::{self, Connected},
    failure::{Failure, chain},
    monitor, nodename,
    pidfile::PidFile,
    signals::{Signals, Voice},
};

/// Read when no other is named.
const USUAL_FILE: &str = "schedule.toml";
/// The pause before what is declared is taken over once more.
const PAUSE: Duration = Duration::from_secs(1);

/// Send periodic tasks until told to stop.
///
/// Any number of beats may run: one leads, the others stand by and take over within seconds. Schedules come from
/// schedule.toml, from the program, and from `lovage schedule add` and `import`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lovage beat                                       with schedule.toml, if it is there
  lovage beat --schedule-file /etc/lovage/schedule.toml
  lovage beat --check --json                        does one lead, when did it send last, what is next?")]
pub(crate) struct BeatArgs {
    /// The file of declared schedules [default: LOVAGE_SCHEDULE_FILE, or schedule.toml]
    #[arg(long, value_name = "FILE")]
    schedule_file: Option<PathBuf>,
    /// DEBUG, INFO, WARNING, ERROR, CRITICAL, or a list such as info,lovage_beat=debug [default: INFO]
    #[arg(short, long, value_name = "LEVEL", value_parser = parse_level)]
    loglevel: Option<String>,
    /// One JSON object a line, as LOVAGE_LOG_FORMAT=json
    #[arg(long)]
    json_logs: bool,
    /// Write the process id to this file, and remove it at the end
    #[arg(long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
    /// Start nothing: say who leads, and fail when nobody does
    #[arg(long)]
    check: bool,
    /// With --check: print JSON
    #[arg(long, requires = "check")]
    json: bool,
    #[command(flatten)]
    celery: CeleryArgs,
}

/// Runs the command.
pub(crate) fn run(
    args: BeatArgs,
    mut settings: Settings,
    modules: Vec<Module>,
) -> Result<u8, Failure> {
    if args.check {
        return crate::cli::once(leader::check(&settings, args.json));
    }
    args.celery.hint();
    connect::broker_url(&settings)?;
    if let Some(level) = args.loglevel {
        settings.telemetry.level = level;
    }
    settings.telemetry.json |= args.json_logs;
    settings.beat.schedule_file = args.schedule_file.or(settings.beat.schedule_file);
    let plan = Plan::new(settings, modules)?;
    let held = args.pidfile.map(|path| PidFile::take(&path)).transpose()?;
    let _told = lovage_telemetry::start(&plan.settings.telemetry, "beat")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Writing what is due, and relaying what was written before.
        .worker_threads(2)
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the runtime: {error}")))?;
    let ended = runtime.block_on(async move {
        let voice = if plan.settings.telemetry.json {
            Voice::Log
        } else {
            Voice::Plain
        };
        let signals = Signals::listen(voice, plan.settings.worker.shutdown.clone())
            .map_err(|error| Failure::failed(format!("cannot listen to signals: {error}")))?;
        let stop = CancellationToken::new();
        let running = plan.run(stop.clone());
        tokio::pin!(running);
        tokio::select! {
            ended = &mut running => ended?,
            () = signals.asked() => {
                stop.cancel();
                running.await?;
            }
        }
        Ok(signals.exit_code())
    });
    runtime.shutdown_background();
    drop(held);
    ended
}

/// A beat that is decided on and not yet started. Nothing of it can be wrong any more.
#[derive(Debug)]
pub(crate) struct Plan {
    settings: Settings,
    specs: Vec<TaskSpec>,
    declared: Vec<(Source, Vec<Draft>)>,
}

impl Plan {
    /// Reads what is declared, and holds it to the tasks there are.
    pub(crate) fn new(settings: Settings, mut modules: Vec<Module>) -> Result<Self, Failure> {
        if settings.worker.demo_tasks {
            modules.push(lovage_tasks::demo());
        }
        let specs = Catalogue::specs(&modules)?;
        let in_code = in_code(&modules)?;
        Self::of(settings, specs, in_code)
    }

    /// The same, for who has looked at the modules already.
    pub(crate) fn of(
        settings: Settings,
        specs: Vec<TaskSpec>,
        in_code: Vec<Draft>,
    ) -> Result<Self, Failure> {
        let in_file = match &settings.beat.schedule_file {
            Some(path) => read_file(path),
            None if Path::new(USUAL_FILE).exists() => read_file(Path::new(USUAL_FILE)),
            None => Ok(Vec::new()),
        };
        let in_file = in_file.map_err(|error| refused(&error))?;
        let (roster, defaults) = (Roster::new(specs.iter().cloned()), defaults(&settings));
        let all: Vec<Draft> = in_code.iter().chain(&in_file).cloned().collect();
        check_all(&all, &roster, &defaults).map_err(|error| refused(&error))?;
        let chores = chores(&settings);
        Ok(Self {
            settings,
            specs,
            declared: vec![
                (Source::Code, in_code),
                (Source::File, in_file),
                (Source::Builtin, chores),
            ],
        })
    }

    /// Runs the beat until told to stop. What is away is waited for.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), Failure> {
        let watch = monitor::BeatProbe::default();
        let _served = monitor::serve(&self.settings, watch.clone()).await?;
        let connected = tokio::select! {
            connected = connect::patiently(&self.settings, &self.specs) => connected?,
            () = stop.cancelled() => return Ok(()),
        };
        while !stop.is_cancelled() {
            let Some(place) = stop
                .run_until_cancelled(kept::patiently(&self.settings))
                .await
            else {
                break;
            };
            // Ends early when the place turns out to be another.
            let turn = stop.child_token();
            match place {
                Place::Broker => {
                    let store = kept::at_broker(Arc::clone(&connected.broker));
                    let moved = kept::until_migrated(&self.settings);
                    let stop = turn.clone();
                    let beating = self.beat(store, None, &self.declared, &connected, &watch, stop);
                    tokio::pin!(beating);
                    tokio::select! {
                        ended = &mut beating => ended?,
                        () = moved => {
                            turn.cancel();
                            beating.await?;
                        }
                    }
                }
                Place::Database(database) => {
                    kept::remind(&connected.broker).await;
                    let store = kept::in_database(&self.settings, database.clone());
                    let parts = relay_parts(&self.settings, database, &connected);
                    let relaying = outbox::run(parts.clone(), turn.clone());
                    let declared = self.with_chores_of_the_database();
                    let swept = Some(outbox::Parts {
                        holder: uuid::Uuid::new_v4().simple().to_string(),
                        ..parts.clone()
                    });
                    let beating = self.beat(store, swept, &declared, &connected, &watch, turn);
                    let (ended, ()) = tokio::join!(beating, relaying);
                    // The last tick's message need not wait for another relay.
                    let last = tokio::time::timeout(PAUSE, outbox::relay_now(&parts));
                    if !matches!(last.await, Ok(Ok(_))) {
                        warn!(
                            "what the last ticks have in the outbox waits for another beat or a keeper"
                        );
                    }
                    ended?;
                }
            }
        }
        Ok(())
    }

    /// Sends what is due, from a place.
    async fn beat(
        &self,
        store: Arc<dyn Store>,
        outbox: Option<outbox::Parts>,
        declared: &[(Source, Vec<Draft>)],
        connected: &Connected,
        watch: &monitor::BeatProbe,
        stop: CancellationToken,
    ) -> Result<(), Failure> {
        tokio::select! {
            taken = self.take_over(&*store, declared) => if let Err(failure) = taken {
                stop.cancel();
                return Err(failure);
            },
            () = stop.cancelled() => return Ok(()),
        }
        let node = node()?;
        let options = BeatOptions {
            node: node.to_string(),
            lease: self.settings.beat.lease,
            defaults: defaults(&self.settings),
            roster: Roster::new(self.specs.iter().cloned()),
        };
        let beat = Beat::new(Arc::clone(&store), connected.client.clone(), options);
        watch.watch(
            &beat,
            Arc::clone(&connected.broker),
            self.settings.beat.lease,
        );
        info!("{node} ready.");
        let pings = async {
            if self.settings.beat.remote_control {
                let broker = Arc::clone(&connected.broker);
                answer_pings(broker, node.as_str(), stop.clone()).await;
            }
        };
        let chores = OwnChores {
            broker: Arc::clone(&connected.broker),
            reaping: reaping(node.clone(), &self.settings),
            outbox,
        };
        let chores = chores.run(&store, beat.status());
        tokio::select! {
            _ = async { tokio::join!(beat.run(stop.clone()), pings) } => {}
            () = chores => {}
        }
        Ok(())
    }

    /// What is declared, with what only the keeper of a database does.
    fn with_chores_of_the_database(&self) -> Vec<(Source, Vec<Draft>)> {
        let mut declared = self.declared.clone();
        for (source, drafts) in &mut declared {
            if *source == Source::Builtin {
                drafts.extend(of_the_database(&self.settings));
            }
        }
        declared
    }

    /// Makes what is kept agree with what is declared.
    async fn take_over(
        &self,
        store: &dyn Store,
        declared: &[(Source, Vec<Draft>)],
    ) -> Result<(), Failure> {
        let defaults = defaults(&self.settings);
        for (source, drafts) in declared {
            loop {
                let now = chrono::Utc::now();
                match agree(store, *source, drafts, &defaults, now).await {
                    Ok(agreed) => {
                        if agreed != lovage_beat::Agreed::default() {
                            let lovage_beat::Agreed {
                                added,
                                changed,
                                removed,
                            } = agreed;
                            info!(%source, added, changed, removed, "declared schedules taken over");
                        }
                        break;
                    }
                    Err(DeclaredError::Store(error)) => {
                        warn!(
                            error = &error as &dyn std::error::Error,
                            "declared schedules wait for the place where schedules are kept"
                        );
                        tokio::time::sleep(PAUSE).await;
                    }
                    // Somebody's own schedule of that name does what the platform's would.
                    Err(error) if *source == Source::Builtin => {
                        warn!("{error}");
                        break;
                    }
                    Err(error) => return Err(refused(&error)),
                }
            }
        }
        Ok(())
    }
}

/// What relays the outbox, where no keeper does: a tick is a row of it.
pub(crate) fn relay_parts(
    settings: &Settings,
    database: Database,
    connected: &Connected,
) -> outbox::Parts {
    let composer = Composer::new(ClientOptions::from(settings));
    let holder = uuid::Uuid::new_v4().simple().to_string();
    let broker = Arc::clone(&connected.broker);
    let mut parts = outbox::Parts::new(database, broker, composer, holder);
    // Whoever beats and relays both is followed in both as soon.
    parts.lease = settings.beat.lease;
    parts
}

/// What the modules declare.
pub(crate) fn in_code(modules: &[Module]) -> Result<Vec<Draft>, Failure> {
    let declared = modules.iter().flat_map(Module::schedules);
    declared
        .map(|schedule| Draft::declared(schedule).map_err(Failure::settings))
        .collect()
}

/// What holds for schedules that say nothing else.
pub(crate) fn defaults(settings: &Settings) -> Defaults {
    Defaults {
        zone: settings.timezone,
        cron_deadline: settings.beat.cron_starting_deadline,
    }
}

fn refused(error: &DeclaredError) -> Failure {
    Failure::settings(match error {
        // One line for each schedule.
        DeclaredError::Faults(_) => error.to_string(),
        other => chain(other),
    })
}

/// As Celery names its beat.
fn node() -> Result<NodeName, Failure> {
    let host = hostname::get().map(|name| name.to_string_lossy().into_owned());
    let host = host.unwrap_or_else(|_| "localhost".to_owned());
    nodename::node_name(Some("celerybeat@%h"), &host)
        .or_else(|_| nodename::node_name(Some("celerybeat@%h"), "localhost"))
        .map_err(Failure::settings)
}

//! `lovage api`: the HTTP API.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use clap::Args;
use lovage_api::{
    App, AppParts, Listening, Server,
    auth::{FirstAdmin, Post, Secrets, Users},
};
use lovage_beat::store::Store;
use lovage_client::Client;
use lovage_database::Database;
use lovage_registry::TaskSpec;
use lovage_settings::{Settings, parse_level};
use lovage_worker::{Catalogue, Module};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    command::schedule::kept,
    connect,
    failure::{Failure, chain},
    output,
    signals::{Signals, Voice},
};

/// Serve the HTTP API: send, watch and repair tasks from any language.
///
/// TERM or Ctrl-C stops it: no new connection is taken, requests are answered, streams end; what has not ended after
/// LOVAGE_API_DRAIN_TIMEOUT is cut off. Tasks and their parameters are those compiled into this program.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lovage api                          at LOVAGE_API_BIND, 127.0.0.1:5000
  lovage api --bind 0.0.0.0:8080      behind a proxy that ends TLS")]
pub(crate) struct ApiArgs {
    /// Where to listen, instead of LOVAGE_API_BIND
    #[arg(long, value_name = "ADDRESS:PORT")]
    bind: Option<SocketAddr>,
    /// DEBUG, INFO, WARNING, ERROR, or a list such as info,lovage_api=debug [default: INFO]
    #[arg(short, long, value_name = "LEVEL", value_parser = parse_level)]
    loglevel: Option<String>,
    /// One JSON object a line, as LOVAGE_LOG_FORMAT=json
    #[arg(long)]
    json_logs: bool,
}

/// How often the last use of API keys is written down.
const NOTE_EVERY: Duration = Duration::from_secs(10);

/// Runs the command.
pub(crate) fn run(
    args: ApiArgs,
    mut settings: Settings,
    mut modules: Vec<Module>,
) -> Result<u8, Failure> {
    if let Some(bind) = args.bind {
        settings.http.bind = bind;
    }
    if let Some(level) = args.loglevel {
        settings.telemetry.level = level;
    }
    settings.telemetry.json |= args.json_logs;
    connect::broker_url(&settings)?;
    if settings.worker.demo_tasks {
        modules.push(lovage_tasks::demo());
    }
    let specs = Catalogue::specs(&modules)?;
    let secrets =
        Secrets::from_settings(&settings).map_err(|error| Failure::settings(error.to_string()))?;
    if secrets.made_up {
        output::warning(
            "SECRET_KEY is not set: one is made up, and sessions and API keys are void after a restart",
        );
    }
    let _told = lovage_telemetry::start(&settings.telemetry, "api")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the runtime: {error}")))?;
    let served = runtime.block_on(Box::pin(serve_until_told(settings, specs, secrets)));
    runtime.shutdown_background();
    served
}

async fn serve_until_told(
    mut settings: Settings,
    specs: Vec<TaskSpec>,
    secrets: Secrets,
) -> Result<u8, Failure> {
    let voice = if settings.telemetry.json {
        Voice::Log
    } else {
        Voice::Plain
    };
    let signals = Signals::listen(voice, settings.worker.shutdown.clone())
        .map_err(|error| Failure::failed(format!("cannot listen to signals: {error}")))?;
    // The port is taken first: whoever is there already is told of at once.
    let listening = listen(settings.http.bind).await?;
    let connected = tokio::select! {
        connected = connect::patiently(&settings, &specs) => connected?,
        () = signals.asked() => return Ok(signals.exit_code()),
    };
    let database = Database::connect(&settings.database, "api").await?;
    first_admin(&database, &settings).await;
    let address = listening.address();
    // Links in mails lead to where it really listens.
    settings.http.bind = address;
    let schedules = kept::beside(&settings, &connected.broker, &database);
    let api = Api {
        listening,
        client: connected.client,
        database,
        schedules,
        secrets,
        specs,
        settings: Arc::new(settings),
    };
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    let asked = signals.clone();
    tokio::spawn(async move {
        asked.asked().await;
        stopper.cancel();
    });
    info!("the API is at http://{address}, its documentation at http://{address}/docs");
    api.serve(stop).await?;
    Ok(signals.exit_code())
}

/// Takes the address to serve at.
pub(crate) async fn listen(bind: SocketAddr) -> Result<Listening, Failure> {
    Listening::at(bind)
        .await
        .map_err(|error| Failure::failed(chain(&error)))
}

/// Makes the administrator that the settings name, if there is nobody yet. A database that has no tables yet is no reason not
/// to start: the API says that it is not ready.
async fn first_admin(database: &Database, settings: &Settings) {
    let users = Users::new(database.clone(), Post::new(settings));
    match users.first_admin(&settings.http, false).await {
        Ok(FirstAdmin::Made { email }) => info!("the first administrator is {email}"),
        Ok(_) => {}
        Err(problem) => warn!("the first administrator is not looked for: {problem}"),
    }
}

/// An API that is ready to be served.
pub(crate) struct Api {
    pub(crate) listening: Listening,
    pub(crate) client: Client,
    pub(crate) database: Database,
    pub(crate) schedules: Arc<dyn Store>,
    pub(crate) secrets: Secrets,
    pub(crate) specs: Vec<TaskSpec>,
    pub(crate) settings: Arc<Settings>,
}

impl Api {
    /// Serves until `stop` is cancelled and what was begun has ended.
    pub(crate) async fn serve(self, stop: CancellationToken) -> Result<(), Failure> {
        let app = App::new(AppParts {
            client: self.client,
            specs: self.specs,
            database: self.database,
            schedules: self.schedules,
            secrets: self.secrets,
            settings: self.settings,
        });
        let app = Arc::new(app.map_err(|error| Failure::settings(error.to_string()))?);
        let notes = tokio::spawn(Arc::clone(&app).keep_notes(NOTE_EVERY, stop.clone()));
        let served = Server::new(app).run(self.listening, stop.clone()).await;
        // However the server has ended, what it has seen is written down.
        stop.cancel();
        let _ = notes.await;
        served.map_err(|error| Failure::failed(chain(&error)))
    }
}

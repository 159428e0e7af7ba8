//! `lovage pool-child`: a child process of a worker with the prefork pool. Not for people: the worker starts it.

use std::{ffi::OsString, io, sync::Arc};

use clap::Args;
use lovage_settings::Settings;
use lovage_worker::{ChildCommand, ChildParts, Module, serve_child};

use crate::{
    cli::worker_flags,
    command::worker::Plan,
    connect,
    failure::{Failure, chain},
    platform,
};

/// The name of the command, as the parent writes it.
const NAME: &str = "pool-child";

/// Run the tasks of a worker's prefork pool; started by the worker.
#[derive(Debug, Args)]
pub(crate) struct PoolChildArgs {
    /// The command line of the worker
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// How this process starts children of its own: with its own flags and environment, so that settings come out the same, and
/// with the broker's URL where that is made up (`lovage up`).
pub(crate) fn command(made_up_broker: Option<String>) -> io::Result<ChildCommand> {
    let mut arguments = vec![OsString::from(NAME), OsString::from("--")];
    arguments.extend(std::env::args_os());
    let mut command = ChildCommand::this_program(arguments)?;
    let url = made_up_broker.map(|url| ("CELERY_BROKER_URL".to_owned(), url));
    command.variables.extend(url);
    Ok(command)
}

/// Runs the command.
pub(crate) fn run(args: PoolChildArgs, mut modules: Vec<Module>) -> Result<u8, Failure> {
    let Some((flags, up)) = worker_flags(args.words) else {
        return Err(Failure::usage(
            "pool-child is for the child processes of `lovage worker -P prefork`, which starts them itself",
        ));
    };
    // What there is to warn of, the parent has warned of.
    let (mut settings, _) = Settings::from_env()?;
    settings.worker.demo_tasks |= up;
    modules.extend(platform::printed_mail(&settings).filter(|_| up));
    let plan = Plan::new(flags, settings, modules)?;
    let _told = lovage_telemetry::start(&plan.settings.telemetry, "worker")?;
    // Tasks run on this thread, or on blocking ones; the one of the executor is for what they wait for.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(1)
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the runtime: {error}")))?;
    let served = runtime.block_on(serve(plan));
    runtime.shutdown_background();
    served.map(|()| 0)
}

async fn serve(plan: Plan) -> Result<(), Failure> {
    let (modules, settings, node) = plan.into_child();
    let (client, results) = connect::lazily(&settings, &modules)?;
    let parts = ChildParts {
        modules,
        settings: Arc::new(settings),
        node,
        client,
        results,
    };
    serve_child(parts)
        .await
        .map_err(|error| Failure::failed(chain(&error)))
}

//! The other side of the pipe: the process that runs the tasks. It holds no message and no lease; it takes one job after
//! the other, and ends when its parent does.

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    pin::pin,
    sync::Arc,
    thread,
};

use bytes::BytesMut;
use lovage_client::{Client, rusty};
use lovage_protocol::{DecodeOptions, Message, NodeName, QueueName};
use lovage_results::ResultStore;
use lovage_settings::Settings;
use lovage_telemetry::Trace;
use rustix::process::{Signal, getpgrp, getpid, kill_process, kill_process_group};
use tokio::sync::mpsc;
use tracing::{Instrument, error_span};

use super::wire::{Frame, Report};
use crate::{
    attempt::other_root,
    catalogue::Catalogue,
    context::{Context, Outlet, Told, in_chord},
    error::{ChildError, with_causes},
    handler::Call,
    intake::decode_options,
    module::Module,
    outcome::Outcome,
    panics, policy,
    pool::{
        in_process::Runner,
        limits::{Over, bounded},
        threads::Abandoned,
    },
};

/// What a child process is made of: the same as its parent, without a broker to take messages from.
#[derive(Debug)]
pub struct ChildParts {
    /// The tasks.
    pub modules: Vec<Module>,
    /// The environment and flags, as its parent has them.
    pub settings: Arc<Settings>,
    /// The name of the parent's node, which tasks see as theirs.
    pub node: NodeName,
    /// Sends what tasks send. It had better connect at its first use: most tasks send nothing.
    pub client: Client,
    /// Where tasks store states of their own.
    pub results: Arc<dyn ResultStore>,
}

/// Serves the worker that started this process until it says stop, or is gone. Standard input must be the pipe that
/// [`crate::ChildCommand`] gives it.
///
/// # Errors
/// When this process was not started by a worker, or its tasks cannot be prepared; the worker is told why.
pub async fn serve_child(parts: ChildParts) -> Result<(), ChildError> {
    panics::install_hook();
    let mut pipe = take_pipe()?;
    let frames = listen(pipe.try_clone()?)?;
    let worker = match Worker::prepare(parts).await {
        Ok(worker) => worker,
        Err(refused) => {
            tell(&mut pipe, &Frame::Refused(with_causes(&refused)))?;
            return Err(refused);
        }
    };
    tell(&mut pipe, &Frame::Ready)?;
    worker.serve(pipe, frames).await
}

/// The pipe arrives as standard input. It is moved to where no program that a task starts can inherit it: an end that is
/// open somewhere else would hide this process's death.
fn take_pipe() -> Result<UnixStream, ChildError> {
    let pipe = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    pipe.peer_addr().map_err(|_| ChildError::NoParent)?;
    let nothing: OwnedFd = std::fs::File::open("/dev/null")?.into();
    rustix::stdio::dup2_stdin(&nothing).map_err(io::Error::from)?;
    Ok(pipe)
}

fn tell(pipe: &mut UnixStream, frame: &Frame) -> io::Result<()> {
    let mut bytes = BytesMut::new();
    frame.write(&mut bytes);
    pipe.write_all(&bytes)
}

/// Reads on a thread of its own, so that the parent's death is noticed whatever the tasks do.
fn listen(mut pipe: UnixStream) -> io::Result<mpsc::UnboundedReceiver<Frame>> {
    let (sender, frames) = mpsc::unbounded_channel();
    thread::Builder::new()
        .name("parent".to_owned())
        .spawn(move || {
            let mut bytes = BytesMut::new();
            let mut chunk = vec![0; 64 << 10];
            loop {
                match Frame::read(&mut bytes) {
                    Ok(Some(frame)) => {
                        let stop = matches!(frame, Frame::Stop);
                        // Nobody hears it when the process is about to end.
                        let _ = sender.send(frame);
                        if stop {
                            return;
                        }
                        continue;
                    }
                    Ok(None) => {}
                    Err(_) => end_at_once(),
                }
                match pipe.read(&mut chunk) {
                    Ok(0) => end_at_once(),
                    Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => end_at_once(),
                }
            }
        })?;
    Ok(frames)
}

/// The parent is gone. Its messages are run by somebody else soon, so whatever runs here must stop, and what it started too.
fn end_at_once() -> ! {
    if getpgrp() == getpid() {
        let _ = kill_process_group(getpid(), Signal::KILL);
    }
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort()
}

struct Worker {
    catalogue: Catalogue,
    runner: Runner,
    abandoned: Arc<Abandoned>,
    decode: DecodeOptions,
    node: Arc<str>,
    client: Client,
    results: Arc<dyn ResultStore>,
}

impl Worker {
    async fn prepare(parts: ChildParts) -> Result<Self, ChildError> {
        let ChildParts {
            modules,
            settings,
            node,
            mut client,
            results,
        } = parts;
        for layer in modules.iter().flat_map(|module| &module.publish_layers) {
            client = client.layer(Arc::clone(layer));
        }
        let (catalogue, states) = Catalogue::build(modules, &settings).await?;
        let app = rusty::brokerless_app(client.clone())
            .await
            .map_err(|error| crate::BuildError::Runtime(error.into()))?;
        let abandoned = Abandoned::new(usize::MAX);
        let runner = Runner {
            states,
            app,
            all_on_threads: false,
            inherit_priority: settings.tasks.inherit_parent_priority,
            abandoned: Arc::clone(&abandoned),
        };
        Ok(Self {
            catalogue,
            runner,
            abandoned,
            decode: decode_options(&settings),
            node: node.as_str().into(),
            client,
            results,
        })
    }

    async fn serve(
        self,
        mut pipe: UnixStream,
        mut frames: mpsc::UnboundedReceiver<Frame>,
    ) -> Result<(), ChildError> {
        while let Some(frame) = frames.recv().await {
            match frame {
                Frame::Run {
                    job,
                    queue,
                    trace,
                    raw,
                } => {
                    let trace = Trace::remote(&trace);
                    let (outlet, mut told) = mpsc::unbounded_channel();
                    let report = {
                        let running = self.run(job, &queue, &raw, outlet, &mut frames);
                        let mut running = pin!(trace.within(running));
                        loop {
                            tokio::select! {
                                biased;
                                Some(told) = told.recv() => tell(&mut pipe, &Frame::Told { job, told })?,
                                report = &mut running => break report,
                            }
                        }
                    };
                    while let Ok(told) = told.try_recv() {
                        tell(&mut pipe, &Frame::Told { job, told })?;
                    }
                    // The parent may read nothing for a moment, but always does in the end, or is gone.
                    tell(&mut pipe, &Frame::Done(report))?;
                }
                Frame::Stop => break,
                // The soft limit of a job that has just ended.
                _ => {}
            }
        }
        Ok(())
    }

    async fn run(
        &self,
        job: u64,
        queue: &str,
        raw: &[u8],
        outlet: mpsc::UnboundedSender<Told>,
        frames: &mut mpsc::UnboundedReceiver<Frame>,
    ) -> Report {
        let mut report = Report {
            job,
            outcome: Outcome::Ignore,
            children: Vec::new(),
            added: Vec::new(),
            spent: false,
        };
        // The parent has read it already, with the same settings.
        let Ok(message) = Message::parse_with(raw, &self.decode) else {
            report.outcome = Outcome::unreadable("the message cannot be read by the child process");
            return report;
        };
        let (Ok(body), Some(task), Ok(from)) = (
            message.decode_body(&self.decode),
            self.catalogue.get(message.headers.task.as_str()),
            QueueName::parse(queue),
        ) else {
            report.outcome =
                Outcome::unreadable("the child process has other tasks than its parent");
            return report;
        };
        let span = error_span!(
            "task",
            task.id = %message.headers.id,
            task.name = %message.headers.task,
            task.retries = message.headers.retries,
            task.root_id = other_root(&message.headers),
            queue,
        );
        let message = Arc::new(message);
        let context = Context::new(
            Arc::clone(&message),
            from,
            Arc::clone(&self.node),
            Arc::clone(&self.results),
            self.client.clone(),
            in_chord(&body.embed),
            Outlet::Parent(outlet),
        );
        let call = Call {
            message,
            args: body.args,
            kwargs: body.kwargs,
            context: context.clone(),
            app: Arc::clone(&self.runner.app),
        };
        let soft = async {
            while let Some(frame) = frames.recv().await {
                if matches!(frame, Frame::Soft { job: over } if over == job) {
                    return;
                }
            }
            std::future::pending().await
        };
        // The hard limit is the parent's: it kills.
        let running = self.runner.start(task, Box::new(call));
        let running = bounded(running, &context, soft, std::future::pending());
        report.outcome = match running.instrument(span).await {
            Ok(outcome) => outcome,
            Err(Over::Soft | Over::Hard) => policy::timed_out(Over::Soft, None),
        };
        context.end();
        report.children = context.children();
        report.added = context.take_added();
        report.spent = self.abandoned.count() > 0;
        report
    }
}

//! One place in the pool: starts a child, lends it out, and replaces it when it dies or is worn out.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::Instant};
use tracing::{debug, error, info, warn};

use super::{
    parent::{Assignment, JobEnd, Offer, Shared},
    process::{Child, Death},
    wire::{Frame, Report},
};
use crate::pool::limits::{self, Over, after};

/// The pause after a child that could not start doubles from the first to the last of these.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A child that dies idle and younger than this counts as one that could not start.
const INFANCY: Duration = Duration::from_secs(2);

/// Why a child is not used any more.
enum End {
    /// The pool has become smaller, or closes.
    Retired,
    /// It has done enough.
    Worn,
    /// A job killed it, or was killed with it. It is dead and buried.
    Gone,
    /// It died without a job.
    DiedIdle(Death),
}

/// Keeps one place until the pool closes or becomes smaller.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut pause = PAUSES.0;
    loop {
        let started = tokio::select! {
            biased;
            () = shared.closing.cancelled() => return,
            started = Child::start(&shared.command) => started,
        };
        let trouble = match started {
            Ok(child) => {
                shared.tell_first(Ok(()));
                let born = Instant::now();
                match live(&shared, child).await {
                    End::Retired => return,
                    End::DiedIdle(death) if born.elapsed() < INFANCY => {
                        format!("it died before it had anything to do, {death}")
                    }
                    End::DiedIdle(_) | End::Worn | End::Gone => {
                        pause = PAUSES.0;
                        continue;
                    }
                }
            }
            Err(refused) => {
                let why = refused.to_string();
                shared.tell_first(Err(why.clone()));
                why
            }
        };
        error!(
            "a child process is missing: {trouble}. Trying again in {} s",
            pause.as_secs()
        );
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.closing.cancelled() => return,
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Lends one child out until its end.
async fn live(shared: &Shared, mut child: Child) -> End {
    let pid = child.pid();
    shared.processes().insert(pid, 0);
    let end = lend(shared, &mut child).await;
    match &end {
        End::Retired => child.stop().await,
        End::Worn => {
            // Its successor does not wait for its end.
            tokio::spawn(child.stop());
        }
        End::Gone => {}
        End::DiedIdle(death) => warn!(pid, "a child process died without a task, {death}"),
    }
    shared.processes().remove(&pid);
    end
}

async fn lend(shared: &Shared, child: &mut Child) -> End {
    let mut tasks = 0_u32;
    let mut generation = shared.generation.subscribe();
    loop {
        if generation.has_changed().unwrap_or(false) {
            return End::Worn;
        }
        let (take, mut taken) = oneshot::channel();
        let offer = Offer {
            pid: child.pid(),
            take,
        };
        // The receiver is the pool, which lives as long as its keepers.
        let _ = shared.offers.send(offer);
        let assignment = tokio::select! {
            biased;
            () = shared.closing.cancelled() => return End::Retired,
            assignment = &mut taken => match assignment {
                Ok(assignment) => assignment,
                // Whoever took it had no use for it after all.
                Err(_) => continue,
            },
            Ok(permit) = shared.retired.acquire() => {
                permit.forget();
                taken.close();
                // Somebody may have been quicker.
                match taken.try_recv() {
                    Ok(assignment) => {
                        shared.retired.add_permits(1);
                        assignment
                    }
                    Err(_) => return End::Retired,
                }
            }
            Ok(()) = generation.changed() => {
                taken.close();
                match taken.try_recv() {
                    Ok(assignment) => {
                        // After this one.
                        generation.mark_changed();
                        assignment
                    }
                    Err(_) => return End::Worn,
                }
            }
            frame = child.connection.next() => {
                taken.close();
                if let Ok(Some(frame)) = frame {
                    error!(pid = child.pid(), ?frame, "a child process speaks out of turn, it is killed");
                }
                let death = child.end().await;
                match taken.try_recv() {
                    Ok(assignment) => {
                        // It was dead when it got the job; nobody can tell how far it came, so it counts as begun.
                        let _ = assignment.reply.send(JobEnd::Died(death));
                        return End::Gone;
                    }
                    Err(_) => return End::DiedIdle(death),
                }
            }
        };
        if let Some(jobs) = shared.processes().get_mut(&child.pid()) {
            *jobs += 1;
        }
        if !work(child, assignment).await {
            return End::Gone;
        }
        tasks = tasks.saturating_add(1);
        if is_worn(shared, child, tasks) {
            return End::Worn;
        }
    }
}

fn is_worn(shared: &Shared, child: &Child, tasks: u32) -> bool {
    let wear = shared.wear;
    if wear.max_tasks.is_some_and(|most| tasks >= most) {
        debug!(
            pid = child.pid(),
            tasks, "a child process has done enough tasks"
        );
        return true;
    }
    let Some(most) = wear.max_memory else {
        return false;
    };
    let used = child.peak_memory().unwrap_or_default();
    if used > most {
        info!(
            pid = child.pid(),
            used_kib = used,
            max_kib = most,
            "a child process has used too much memory, it is replaced"
        );
    }
    used > most
}

/// Has one job done. False: the child is gone.
async fn work(child: &mut Child, assignment: Box<Assignment>) -> bool {
    let Assignment {
        job,
        raw,
        queue,
        trace,
        limits,
        context,
        mut reply,
        mut signals,
    } = *assignment;
    child.connection.send(&Frame::Run {
        job,
        queue,
        trace,
        raw,
    });
    let (mut soft, mut hard) = (pin!(after(limits.soft)), pin!(after(limits.hard)));
    let mut told = false;
    loop {
        tokio::select! {
            biased;
            frame = child.connection.next() => match frame {
                Ok(Some(Frame::Done(report))) if report.job == job => {
                    let Report { outcome, children, added, spent, .. } = report;
                    if spent {
                        child.end().await;
                    }
                    let _ = reply.send(JobEnd::Reported(outcome, children, added));
                    return !spent;
                }
                Ok(Some(Frame::Told { job: of, told })) if of == job => context.tell(told),
                Ok(None) => {
                    let death = child.end().await;
                    warn!(pid = child.pid(), "a child process died with its task, {death}");
                    let _ = reply.send(JobEnd::Died(death));
                    return false;
                }
                Ok(Some(_)) | Err(_) => {
                    error!(pid = child.pid(), "a child process does not speak our language, it is killed");
                    let _ = reply.send(JobEnd::Died(child.end().await));
                    return false;
                }
            },
            () = &mut hard => {
                child.end().await;
                let _ = reply.send(JobEnd::Over(Over::Hard));
                return false;
            }
            () = &mut soft, if !told => {
                told = true;
                limits::report(Over::Soft, limits, &context);
                child.connection.send(&Frame::Soft { job });
            }
            Some(signal) = signals.recv() => child.signal(signal),
            () = reply.closed() => {
                // Nobody waits for it any more: it is to end now.
                child.end().await;
                return false;
            }
        }
    }
}

//! A worker's health: it consumes, and has heard of the broker within its lease.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use lovage_monitor::{Condition, Part, Probe, Readiness};
use lovage_worker::{Shutdown, TaskMetrics, WorkerHandle, layer::WorkerMetrics};

use super::{page, registry};

/// Looks at a worker, once there is one. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(crate) struct WorkerProbe(Arc<OnceLock<(WorkerHandle, Shutdown)>>);

impl WorkerProbe {
    /// Looks at this worker from now on.
    pub(crate) fn watch(&self, handle: WorkerHandle, shutdown: Shutdown) {
        // A process has one worker.
        let _ = self.0.set((handle, shutdown));
    }

    fn part(&self) -> Part {
        let waits = "it waits for the broker";
        let Some((handle, shutdown)) = self.0.get() else {
            return Part::bad("worker", Condition::Failing, waits);
        };
        if shutdown.is_asked() {
            return Part::bad("worker", Condition::Failing, "it stops: running tasks end");
        }
        match (handle.is_connected(), handle.lease_age()) {
            (Some(true), _) => {
                let state = handle.state();
                let load = format!("{} of {} slots in use", state.running, state.slots);
                Part::good("worker").telling(load)
            }
            (Some(false), Some(age)) => {
                let why = format!("the broker was not heard of for {} s", age.as_secs());
                Part::bad("worker", Condition::Failing, why)
            }
            _ => Part::bad("worker", Condition::Failing, waits),
        }
    }
}

#[async_trait]
impl Probe for WorkerProbe {
    async fn readiness(&self) -> Readiness {
        Readiness::of(vec![self.part()])
    }

    async fn metrics(&self) -> String {
        let mut registry = registry();
        if let Some((handle, _)) = self.0.get() {
            registry.register_collector(Box::new(WorkerMetrics::new(handle.clone())));
            registry.register_collector(Box::new(TaskMetrics::new(handle.clone())));
        }
        page(&registry)
    }
}

//! Failures of tasks, told to Sentry: the wiring of `lovage-telemetry`.

use std::collections::HashMap;

use lovage_protocol::NodeName;
use lovage_registry::TaskSpec;
use lovage_settings::Settings;
use lovage_telemetry::FailedTask;
use lovage_worker::{
    Module,
    layer::{End, Ended, Layer},
};

/// A module that has nothing but the layer, when somebody is to be told.
pub(crate) fn module(settings: &Settings, node: &NodeName, specs: &[TaskSpec]) -> Option<Module> {
    let sentry = settings.telemetry.sentry.as_ref()?;
    let mut parameters = HashMap::new();
    // The names are only asked for with the arguments.
    if sentry.send_arguments {
        for spec in specs {
            let names = spec.params.iter().map(|param| param.name.clone());
            parameters.insert(spec.name.as_str().to_owned(), names.collect());
        }
    }
    let layer = Failures {
        node: node.as_str().to_owned(),
        parameters,
    };
    Some(Module::new("sentry").layer_all(layer))
}

/// Tells of each failure for good. Retries, what is ignored, rejected or revoked is no failure.
struct Failures {
    node: String,
    parameters: HashMap<String, Vec<String>>,
}

impl Layer for Failures {
    fn ended(&self, ended: &Ended<'_>) {
        let End::Failure(exception) = &ended.end else {
            return;
        };
        let parameters = self.parameters.get(ended.message.headers.task.as_str());
        lovage_telemetry::tell_failure(&FailedTask {
            message: ended.message,
            queue: ended.queue.as_str(),
            worker: &self.node,
            exception,
            parameters: parameters.map(Vec::as_slice).unwrap_or_default(),
        });
    }
}

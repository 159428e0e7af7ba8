//! Where spans go: a tracer for the whole process, and behind it a thread that posts what it gathers.

use std::{collections::HashMap, sync::OnceLock};

use lovage_settings::{Sampler as Kept, TraceSettings};
use opentelemetry::{
    KeyValue, global, propagation::TextMapCompositePropagator, trace::TracerProvider,
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::{BaggagePropagator, TraceContextPropagator},
    trace::{Sampler, SdkTracer, SdkTracerProvider},
};

use crate::{post::Post, start::StartError};

/// Who has made the spans.
pub(crate) const SCOPE: &str = "lovage";

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// The tracer, if spans go anywhere.
pub(crate) fn tracer() -> Option<&'static SdkTracer> {
    TRACER.get()
}

/// Starts sending spans. The first call of a process counts.
pub(crate) fn start(settings: &TraceSettings, role: &str) -> Result<SdkTracerProvider, StartError> {
    let headers: HashMap<String, String> = settings
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.expose().to_owned()))
        .collect();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Post::new())
        .with_endpoint(&settings.url)
        .with_headers(headers)
        .build()
        .map_err(|error| StartError::Traces(error.to_string()))?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource(settings, role))
        .with_sampler(sampler(settings.sampler))
        .build();
    // What a task's own code asks OpenTelemetry for is this, too.
    global::set_tracer_provider(provider.clone());
    global::set_text_map_propagator(TextMapCompositePropagator::new(vec![
        Box::new(TraceContextPropagator::new()),
        Box::new(BaggagePropagator::new()),
    ]));
    // Started twice, the first stays.
    let _ = TRACER.set(provider.tracer(SCOPE));
    Ok(provider)
}

fn resource(settings: &TraceSettings, role: &str) -> Resource {
    let service = settings.service_name.clone();
    let service = service.unwrap_or_else(|| format!("lovage-{role}"));
    let pid = i64::from(std::process::id());
    Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("process.pid", pid))
        .build()
}

fn sampler(kept: Kept) -> Sampler {
    let root = match kept.ratio {
        1.0 => Sampler::AlwaysOn,
        0.0 => Sampler::AlwaysOff,
        ratio => Sampler::TraceIdRatioBased(ratio),
    };
    match kept.parent_based {
        true => Sampler::ParentBased(Box::new(root)),
        false => root,
    }
}

"""The application as OpenTelemetry's own instrumentation traces it, in a producer and in a worker that runs one task at a time."""
import sys

from app import app, collector
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

role = "worker" if "worker" in sys.argv else "producer"
provider = TracerProvider(resource=Resource.create({"service.name": f"python-{role}"}))
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=f"{collector}/v1/traces")))
trace.set_tracer_provider(provider)
CeleryInstrumentor().instrument()
tracer = trace.get_tracer("test")


# Tasks that Rust runs. The instrumentation never ends the span of a task that its application does not know.
def elsewhere(name):
    def runs_in_rust(*args, **kwargs):
        raise NotImplementedError(name)

    return app.task(name=name)(runs_in_rust)


add = elsewhere("demo.add")
echo = elsewhere("demo.echo")
fail = elsewhere("demo.fail")
retry_then_succeed = elsewhere("demo.retry_then_succeed")
parent = elsewhere("test.parent")

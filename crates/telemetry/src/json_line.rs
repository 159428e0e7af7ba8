//! Log lines as JSON objects, with the ids by which a line is found: those of the task and of the trace it belongs to.

use std::fmt;

use serde_json::Value;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::{Format, Json, Writer},
    },
    registry::LookupSpan,
};

use crate::trace::Trace;

/// The span of a task that runs, as the worker names it, and its fields.
const SPAN: &str = "task";
const ID: &str = "task.id";
const ROOT: &str = "task.root_id";

/// The usual object of tracing, with `task_id`, `root_id` and `trace_id` before all else where there are any.
pub(crate) struct JsonLine(Format<Json>);

impl Default for JsonLine {
    fn default() -> Self {
        Self(Format::default().json())
    }
}

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let ids = ids(context);
        if ids.is_empty() {
            return self.0.format_event(context, writer, event);
        }
        let mut line = String::with_capacity(512);
        self.0
            .format_event(context, Writer::new(&mut line), event)?;
        writer.write_char('{')?;
        for (name, id) in ids {
            // As a value of its own it is quoted, whatever is in it: a producer may choose an id.
            write!(writer, "\"{name}\":{},", Value::String(id))?;
        }
        writer.write_str(line.strip_prefix('{').unwrap_or(&line))
    }
}

/// What is known of where this line was written. The task's fields were written as JSON when its span began; they are only read
/// when there is a line.
fn ids<S, N>(context: &FmtContext<'_, S, N>) -> Vec<(&'static str, String)>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    let mut ids = Vec::with_capacity(3);
    let task = context
        .event_scope()
        .and_then(|mut scope| scope.find(|span| span.name() == SPAN));
    if let Some(task) = task
        && let Some(fields) = task.extensions().get::<FormattedFields<N>>()
        && let Ok(Value::Object(fields)) = serde_json::from_str(&fields.fields)
        && let Some(id) = fields.get(ID).and_then(Value::as_str)
    {
        // A task that begins its workflow is its root.
        let root = fields.get(ROOT).and_then(Value::as_str).unwrap_or(id);
        ids.push(("task_id", id.to_owned()));
        ids.push(("root_id", root.to_owned()));
    }
    if let Some(trace) = Trace::current().id() {
        ids.push(("trace_id", trace));
    }
    ids
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use serde_json::Value;
    use tracing::{error_span, info};
    use tracing_subscriber::fmt::{MakeWriter, format::JsonFields};

    use super::JsonLine;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn written(write: impl FnOnce()) -> Vec<Value> {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(JsonFields::new())
            .event_format(JsonLine::default())
            .with_writer(lines.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, write);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn a_line_inside_a_task_has_its_ids() {
        let lines = written(|| {
            info!("outside");
            let task = error_span!("task", task.id = "a\"b", task.root_id = "root");
            task.in_scope(|| error_span!("inner", x = 1).in_scope(|| info!(n = 2, "inside")));
            error_span!("task", task.id = "alone").in_scope(|| info!("alone"));
        });
        assert_eq!(lines[0].get("task_id"), None);
        assert_eq!(lines[1]["task_id"], "a\"b");
        assert_eq!(lines[1]["root_id"], "root");
        assert_eq!(lines[1]["fields"]["n"], 2, "the rest is as it was");
        assert_eq!(lines[1]["span"]["name"], "inner");
        assert_eq!(lines[2]["root_id"], "alone");
        assert_eq!(lines[2].get("trace_id"), None, "nothing is traced");
    }
}

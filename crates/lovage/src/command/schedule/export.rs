//! `lovage schedule export`: all of them but the platform's own, as a file that can be read again.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use lovage_beat::{
    Draft,
    store::{self, Source},
};
use lovage_settings::Settings;
use serde_json::Value;

use crate::{command::schedule::store, failure::Failure, output};

/// The form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Toml,
    Json,
}

/// How they are written down.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// toml is what schedule.toml has
    #[arg(long, value_enum, default_value_t = Form::Toml)]
    format: Form,
}

/// Runs the command.
pub(crate) async fn run(args: &ExportArgs, settings: &Settings) -> Result<u8, Failure> {
    // The platform's own are wherever it is.
    let kept = store(settings).await?;
    let all = store::some(&*kept, |stored| stored.definition.source != Source::Builtin);
    let all = all.await?;
    let drafts: Vec<Draft> = all
        .into_iter()
        .map(|stored| {
            let definition = stored.definition;
            let enabled = definition.runs();
            Draft {
                enabled,
                ..definition.draft
            }
        })
        .collect();
    match args.format {
        Form::Json => {
            let written = serde_json::to_value(&drafts);
            output::json(&written.map_err(|error| Failure::failed(error.to_string()))?)?;
        }
        Form::Toml => output::data(toml(&drafts)?.trim_end())?,
    }
    Ok(0)
}

/// As `schedule.toml` has them.
fn toml(drafts: &[Draft]) -> Result<String, Failure> {
    let mut text = String::new();
    for draft in drafts {
        let written = serde_json::to_value(draft);
        let written = written.map_err(|error| Failure::failed(error.to_string()))?;
        text.push_str("[[schedule]]\n");
        for (name, value) in written.as_object().into_iter().flatten() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name} = {}", inline(&draft.name, value)?);
        }
        text.push('\n');
    }
    Ok(text)
}

/// A JSON value in TOML, in one line. TOML has no null.
fn inline(schedule: &str, value: &Value) -> Result<String, Failure> {
    Ok(match value {
        Value::Null => {
            return Err(Failure::failed(format!(
                "the schedule {schedule:?} has a null in its arguments, which TOML cannot say; use --format json"
            )));
        }
        // TOML's basic strings have JSON's escapes, and may not hold a delete as it is.
        Value::String(_) => value.to_string().replace('\u{7f}', "\\u007f"),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => {
            let items: Result<Vec<String>, Failure> =
                items.iter().map(|item| inline(schedule, item)).collect();
            format!("[{}]", items?.join(", "))
        }
        Value::Object(map) => {
            let fields: Result<Vec<String>, Failure> = map
                .iter()
                .map(|(name, item)| {
                    let name = Value::String(name.clone());
                    Ok(format!("{name} = {}", inline(schedule, item)?))
                })
                .collect();
            format!("{{ {} }}", fields?.join(", "))
        }
    })
}

#[cfg(test)]
mod tests {
    use lovage_beat::{Draft, parse_file};
    use serde_json::json;

    use super::toml;

    #[test]
    fn what_is_written_down_can_be_read_again() {
        let mut draft = Draft::new("nightly \"x\"\né", "reports.build");
        draft.crontab = Some("30 2 * * mon-fri".to_owned());
        draft.args = vec![
            json!(1),
            json!(2.5),
            json!("a\u{7f}b"),
            json!([true, {"k y": "v"}]),
        ];
        draft
            .kwargs
            .insert("kind".to_owned(), json!({"deep": {"er": []}}));
        draft.max_runs = Some(3);
        draft.enabled = false;
        let mut other = Draft::new("often", "t.add");
        other.every = Some(lovage_beat::WithUnit(std::time::Duration::from_secs(90)));
        let drafts = vec![draft, other];
        assert_eq!(parse_file(&toml(&drafts).unwrap()).unwrap(), drafts);
    }

    #[test]
    fn a_null_is_told() {
        let mut draft = Draft::new("x", "t");
        draft.args = vec![json!(null)];
        assert!(toml(&[draft]).is_err());
    }
}

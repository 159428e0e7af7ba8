//! `lovage schedule import`: schedules that another scheduler had.

use std::{io::Read as _, path::PathBuf};

use chrono::Utc;
use clap::Args;
use lovage_beat::{
    Draft, added, changed, check_all, parse_file,
    store::{Source, Store},
};
use lovage_settings::Settings;
use lovage_worker::Module;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    command::{
        beat::defaults,
        schedule::{roster, store},
    },
    failure::Failure,
    output,
};

/// What is taken over.
#[derive(Debug, Args)]
#[command(after_help = "\
scripts/celery-schedules writes such a file from what you have, with your app's own Python:
  python scripts/celery-schedules app yourapp.celery:app      its beat_schedule
  python scripts/celery-schedules django                      django-celery-beat's tables (DJANGO_SETTINGS_MODULE)
  python scripts/celery-schedules redbeat yourapp.celery:app  RedBeat's keys
Then:
  lovage schedule import schedules.json --force               --force: the tasks are Python's")]
pub(crate) struct ImportArgs {
    /// JSON as scripts/celery-schedules and `export --format json` write it, or a .toml; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Tasks that this program does not know are Python workers': do not check them
    #[arg(long)]
    force: bool,
    /// Overwrite schedules of the same name
    #[arg(long)]
    update: bool,
    /// Change nothing, say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What the script writes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dump {
    schedules: Vec<Draft>,
    #[serde(default)]
    left_out: Vec<LeftOut>,
}

/// One that could not be written down.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeftOut {
    name: String,
    why: String,
}

/// Runs the command.
pub(crate) async fn run(
    args: ImportArgs,
    settings: &Settings,
    modules: Vec<Module>,
) -> Result<u8, Failure> {
    let text = read(&args.file)?;
    let is_toml = args
        .file
        .extension()
        .is_some_and(|extension| extension == "toml");
    let Dump {
        mut schedules,
        left_out,
    } = parse(&text, is_toml)
        .map_err(|problem| Failure::usage(format!("{}: {problem}", args.file.display())))?;
    let (roster, defaults) = (roster(settings, modules)?, defaults(settings));
    if args.force {
        for draft in &mut schedules {
            draft.unchecked |= !roster.knows(&draft.task);
        }
    }
    // All of them are looked at before the first is taken over.
    check_all(&schedules, &roster, &defaults)?;
    let store = store(settings).await?;
    let mut done = Done::default();
    for draft in schedules {
        take_over(&*store, draft, &args, &defaults, &mut done).await?;
    }
    done.tell(&left_out, &args)
}

fn read(file: &PathBuf) -> Result<String, Failure> {
    let read = if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    read.map_err(|error| Failure::usage(format!("{} cannot be read: {error}", file.display())))
}

fn parse(text: &str, is_toml: bool) -> Result<Dump, String> {
    if is_toml {
        let schedules = parse_file(text)?;
        return Ok(Dump {
            schedules,
            left_out: Vec::new(),
        });
    }
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
    if value.is_array() {
        let schedules = serde_json::from_value(value).map_err(|error| error.to_string())?;
        return Ok(Dump {
            schedules,
            left_out: Vec::new(),
        });
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

#[derive(Debug, Default)]
struct Done {
    added: Vec<String>,
    changed: Vec<String>,
    kept: Vec<LeftOut>,
}

async fn take_over(
    store: &dyn Store,
    draft: Draft,
    args: &ImportArgs,
    defaults: &lovage_beat::Defaults,
    done: &mut Done,
) -> Result<(), Failure> {
    let name = draft.name.clone();
    let mut keep = |why: &str| {
        done.kept.push(LeftOut {
            name: name.clone(),
            why: why.to_owned(),
        });
    };
    let (save, is_new) = match store.stored(&name).await? {
        None => (added(Source::Import, draft, defaults, Utc::now())?, true),
        Some(before) if before.definition.draft == draft => {
            keep("it is here already");
            return Ok(());
        }
        Some(before) if before.definition.source.is_declared() => {
            keep("one of this name is declared in the schedule file or the program");
            return Ok(());
        }
        Some(_) if !args.update => {
            keep("there is another of this name; --update overwrites it");
            return Ok(());
        }
        Some(before) => (changed(&before, draft, defaults, Utc::now())?, false),
    };
    if !args.dry_run && store.save(&save).await?.is_none() {
        keep("somebody else changed it meanwhile");
        return Ok(());
    }
    if is_new {
        &mut done.added
    } else {
        &mut done.changed
    }
    .push(name);
    Ok(())
}

impl Done {
    fn tell(&self, left_out: &[LeftOut], args: &ImportArgs) -> Result<u8, Failure> {
        let reasons = |kept: &[LeftOut]| -> Vec<Value> {
            let rows = kept.iter();
            rows.map(|one| json!({"name": one.name, "why": one.why}))
                .collect()
        };
        if args.json {
            output::json(&json!({
                "added": self.added,
                "changed": self.changed,
                "kept": reasons(&self.kept),
                "left_out": reasons(left_out),
                "dry_run": args.dry_run,
            }))?;
            return Ok(0);
        }
        let would = if args.dry_run { "would be " } else { "" };
        let verbs = [("added", &self.added), ("changed", &self.changed)];
        for (verb, names) in verbs {
            for name in names {
                output::line(format_args!("{would}{verb}: {}", output::one_line(name)))?;
            }
        }
        for one in self.kept.iter().chain(left_out) {
            let (name, why) = (output::one_line(&one.name), output::one_line(&one.why));
            output::warning(format_args!("not taken over: {name}: {why}"));
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn every_form_is_read() {
        let json = r#"[{"name": "a", "task": "t", "every": "5m"}]"#;
        assert_eq!(parse(json, false).unwrap().schedules.len(), 1);
        let dump =
            format!(r#"{{"schedules": {json}, "left_out": [{{"name": "b", "why": "eta"}}]}}"#);
        let dump = parse(&dump, false).unwrap();
        assert_eq!((dump.schedules.len(), dump.left_out.len()), (1, 1));
        let toml = "[[schedule]]\nname = \"a\"\ntask = \"t\"\nevery = \"5m\"\n";
        assert_eq!(parse(toml, true).unwrap().schedules.len(), 1);
        let wrong = parse(&json.replace("\"5m\"", "300"), false).unwrap_err();
        assert!(wrong.contains("unit"), "{wrong}");
    }
}

//! What `status`, `inspect` and `control` share: whom they ask, how long they wait, and how replies are shown.

use std::{collections::BTreeSet, fmt, time::Duration};

use clap::{Args, Subcommand};
use lovage_flower_compat::{Control, Question};
use lovage_protocol::{
    Map, Value,
    control::{Matching, Reply},
};
use lovage_settings::Settings;

use crate::{
    command::seconds,
    connect,
    failure::Failure,
    output::{self, BAD, FAINT, GOOD, HEADING, NAME},
};

/// Celery's default.
const WAIT: Duration = Duration::from_secs(1);

/// Whom a command asks, and in which form it tells what they said.
#[derive(Debug, Args)]
pub(crate) struct Whom {
    /// How many seconds to wait for replies; less when all nodes have replied [default: 1]
    #[arg(short, long, global = true, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Only these nodes, with commas between them
    #[arg(
        short,
        long,
        global = true,
        value_name = "NODES",
        value_delimiter = ','
    )]
    destination: Vec<String>,
    /// Only nodes whose names match
    #[arg(
        long,
        global = true,
        value_name = "PATTERN",
        conflicts_with = "destination"
    )]
    pattern: Option<String>,
    /// How the pattern is meant: glob (w*@host) or pcre (a regular expression) [default: glob]
    #[arg(long, global = true, value_name = "MATCHER", value_parser = ["glob", "pcre"], requires = "pattern")]
    matcher: Option<String>,
    /// Print JSON
    #[arg(short, long, global = true)]
    json: bool,
}

/// A command for nodes with its arguments.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) method: &'static str,
    pub(crate) arguments: Map,
    /// How long replies usually take.
    wait: Duration,
}

impl Call {
    pub(crate) fn new(method: &'static str) -> Self {
        Self {
            method,
            arguments: Map::new(),
            wait: WAIT,
        }
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.arguments.insert(name.to_owned(), value.into());
        self
    }

    /// Adds an argument that may have been left out; the node then has its own default.
    #[must_use]
    pub(crate) fn with_some(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    #[must_use]
    pub(crate) fn waiting(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

/// Texts as a list of values.
pub(crate) fn texts(texts: &[String]) -> Value {
    Value::List(texts.iter().map(|text| text.as_str().into()).collect())
}

impl Whom {
    pub(crate) fn wants_json(&self) -> bool {
        self.json
    }

    /// Whether every node is meant.
    pub(crate) fn is_everybody(&self) -> bool {
        self.nodes().is_empty() && self.pattern.is_none()
    }

    /// The nodes that were named, each once.
    fn nodes(&self) -> BTreeSet<&str> {
        let names = self.destination.iter().map(|name| name.trim());
        names.filter(|name| !name.is_empty()).collect()
    }

    fn question(&self, control: &Control, call: &Call) -> Question {
        let mut question = control
            .ask(call.method)
            .wait(self.timeout.unwrap_or(call.wait));
        for (name, value) in &call.arguments {
            question = question.argument(name, value.clone());
        }
        let nodes = self.nodes();
        if !nodes.is_empty() {
            return question.to(nodes.into_iter().map(str::to_owned).collect());
        }
        match &self.pattern {
            None => question,
            Some(pattern) => question.matching(Matching {
                pattern: pattern.clone(),
                matcher: self.matcher.clone().unwrap_or_else(|| "glob".to_owned()),
            }),
        }
    }

    /// Asks, and gives the replies by the nodes' names. Nodes that were named and are silent are told of.
    ///
    /// # Errors
    /// When the broker does not answer, or no node does.
    pub(crate) async fn ask(&self, control: &Control, call: &Call) -> Result<Vec<Reply>, Failure> {
        let mut replies = self.question(control, call).send().await?;
        replies.sort_by(|one, other| one.node.cmp(&other.node));
        if replies.is_empty() {
            return Err(Failure::nobody());
        }
        for name in self.nodes() {
            if !replies.iter().any(|reply| reply.node == name) {
                output::warning(format_args!("no reply from {}", output::one_line(name)));
            }
        }
        Ok(replies)
    }

    /// Sends the request without waiting for anybody.
    pub(crate) async fn tell(&self, control: &Control, call: &Call) -> Result<(), Failure> {
        Ok(self.question(control, call).tell().await?)
    }
}

/// A way to all nodes on the broker of the settings.
pub(crate) async fn control(settings: &Settings) -> Result<Control, Failure> {
    Ok(Control::new(connect::broker(settings).await?))
}

/// What went wrong at a node, if something did.
pub(crate) fn fault(value: &Value) -> Option<&Value> {
    match value.get("ok") {
        Some(_) => None,
        None => value.get("error"),
    }
}

/// 1 when something went wrong at any node.
pub(crate) fn exit_code(replies: &[Reply]) -> u8 {
    u8::from(replies.iter().any(|reply| fault(&reply.value).is_some()))
}

/// Replies as `celery inspect --json` has them: an object by node.
pub(crate) fn by_node(replies: &[Reply]) -> Value {
    let nodes = replies.iter();
    Value::Map(
        nodes
            .map(|reply| (reply.node.clone(), reply.value.clone()))
            .collect(),
    )
}

/// Replies as `celery control --json` has them: a list of objects with one node each.
pub(crate) fn one_by_one(replies: &[Reply]) -> Value {
    let nodes = replies
        .iter()
        .map(|reply| Value::Map(Map::from_iter([(reply.node.clone(), reply.value.clone())])));
    Value::List(nodes.collect())
}

/// JSON as kombu writes it; indented for a terminal. Python also writes `Infinity` and `NaN` there, with which no other
/// reader of JSON can do anything: they become null.
pub(crate) fn print_json(value: &Value) -> Result<(), Failure> {
    let text = finite(value.clone()).to_json();
    match serde_json::from_str(&text) {
        Ok(value) if output::is_terminal() => output::json(&value)?,
        _ => output::data(text)?,
    }
    Ok(())
}

/// A value without numbers that JSON has no word for.
pub(crate) fn finite(value: Value) -> Value {
    match value {
        Value::Float(number) if !number.is_finite() => Value::Null,
        Value::List(items) => Value::List(items.into_iter().map(finite).collect()),
        Value::Map(map) => Value::Map(
            map.into_iter()
                .map(|(name, value)| (name, finite(value)))
                .collect(),
        ),
        other => other,
    }
}

/// A node's part of the answer: `->  w1@host: OK`, and below what it said.
pub(crate) struct Said<'a> {
    pub(crate) node: &'a str,
    pub(crate) fine: bool,
    /// Empty: nothing more.
    pub(crate) body: String,
}

/// Without a line break at its end.
impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = output::one_line(self.node);
        write!(f, "{FAINT}->{FAINT:#}  {NAME}{node}:{NAME:#} ")?;
        match self.fine {
            true => write!(f, "{GOOD}OK{GOOD:#}")?,
            false => write!(f, "{BAD}ERROR{BAD:#}")?,
        }
        for line in self.body.lines() {
            match line.is_empty() {
                true => writeln!(f)?,
                false => write!(f, "\n    {line}")?,
            }
        }
        Ok(())
    }
}

/// What went wrong, for people.
pub(crate) fn fault_text(fault: &Value) -> String {
    match fault {
        Value::Str(text) => output::printable(text).into_owned(),
        other => output::printable(&other.to_json()).into_owned(),
    }
}

/// The commands of a kind, each with its meaning.
pub(crate) fn print_commands<C: Subcommand>(heading: &str) -> Result<u8, Failure> {
    let all = C::augment_subcommands(clap::Command::new(""));
    let shown: Vec<_> = all
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .collect();
    let width = shown.iter().map(|command| command.get_name().len()).max();
    let width = width.unwrap_or(0);
    output::line(format_args!("{HEADING}{heading}:{HEADING:#}"))?;
    for command in shown {
        let meaning = command.get_about().map(ToString::to_string);
        output::line(format_args!(
            "  {NAME}{:width$}{NAME:#}  {}",
            command.get_name(),
            meaning.unwrap_or_default()
        ))?;
    }
    Ok(0)
}

/// How many nodes replied, behind an empty line.
pub(crate) fn print_count(replies: &[Reply]) -> Result<(), Failure> {
    let nodes = output::count(u64::try_from(replies.len()).unwrap_or(u64::MAX), "node");
    output::line(format_args!("\n{nodes} online."))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use lovage_protocol::Value;

    use super::*;

    fn reply(node: &str, json: &str) -> Reply {
        Reply {
            node: node.to_owned(),
            value: Value::from_json(json.as_bytes()).unwrap(),
            ticket: None,
            clock: None,
        }
    }

    #[test]
    fn json_has_the_shapes_of_celery() {
        let replies = [
            reply("a@h", r#"{"ok": "pong"}"#),
            reply("b@h", r#"{"error": "KeyError('x')"}"#),
        ];
        assert_eq!(
            by_node(&replies).to_json(),
            r#"{"a@h": {"ok": "pong"}, "b@h": {"error": "KeyError('x')"}}"#
        );
        assert_eq!(
            one_by_one(&replies).to_json(),
            r#"[{"a@h": {"ok": "pong"}}, {"b@h": {"error": "KeyError('x')"}}]"#
        );
        assert_eq!((exit_code(&replies), exit_code(&replies[..1])), (1, 0));
    }

    #[test]
    fn json_can_be_read_by_everybody() {
        let reply = reply(
            "a@h",
            r#"{"b": [Infinity, {"c": NaN, "d": -Infinity}], "e": 1.5}"#,
        );
        assert_eq!(
            finite(reply.value).to_json(),
            r#"{"b": [null, {"c": null, "d": null}], "e": 1.5}"#
        );
    }

    #[test]
    fn a_node_is_shown_as_celery_shows_it() {
        let said = |fine, body: &str| {
            let said = Said {
                node: "w\u{1b}@h",
                fine,
                body: body.to_owned(),
            };
            anstream::adapter::strip_str(&said.to_string()).to_string()
        };
        assert_eq!(said(true, ""), "->  w\\u{1b}@h: OK");
        assert_eq!(
            said(false, "one\n\ntwo"),
            "->  w\\u{1b}@h: ERROR\n    one\n\n    two"
        );
    }

    #[test]
    fn a_reply_that_holds_both_is_fine() {
        assert!(fault(&reply("a", r#"{"ok": 1, "error": 2}"#).value).is_none());
        assert!(fault(&reply("a", "[]").value).is_none());
    }
}

//! Which queue a task takes: `CELERY_TASK_ROUTES`.

use regex::Regex;
use serde_json::Value;

use crate::{known::nearest, lookup::Lookup, ordered::Ordered, variable::TASK_ROUTES};

/// One rule: tasks whose name matches go there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The names it is for.
    pub pattern: RoutePattern,
    /// The queue; None: the default one.
    pub queue: Option<String>,
    /// The exchange, where it is not the queue's own; has no effect without a routing key.
    pub exchange: Option<String>,
    /// The routing key, where it is not the queue's own.
    pub routing_key: Option<String>,
    /// The priority, unless the sender gives one.
    pub priority: Option<i64>,
}

/// Which task names a route is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoutePattern {
    /// This name.
    Exact(String),
    /// A name with `*` in it, where `?` and `[abc]` work too, for the whole task name, as Python's `fnmatch` has it.
    /// Without a `*` Celery takes the other two as plain letters, and so does Lovage.
    Glob(String),
    /// A regular expression that must match at the beginning of the task name, as Python's `re.match` does.
    /// In JSON it is written `re:` and the expression.
    Regex(String),
}

impl RoutePattern {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(expression) = text.strip_prefix("re:") {
            return match Regex::new(expression) {
                Ok(_) => Ok(Self::Regex(expression.to_owned())),
                Err(_) => Err(format!(
                    "has the pattern {text}, which is not a regular expression known here"
                )),
            };
        }
        if text.is_empty() {
            return Err("has an empty pattern".to_owned());
        }
        Ok(if text.contains('*') {
            Self::Glob(text.to_owned())
        } else {
            Self::Exact(text.to_owned())
        })
    }
}

/// Reads routes. The forms are Celery's (celery/app/routes.py): an object of pattern to route, a list of pairs, or a
/// list of such objects and lists. In each of them exact names come before patterns, wherever they stand; the order of
/// the result is the order of trying.
pub(crate) fn read(lookup: &mut Lookup, text: &str) -> Vec<Route> {
    let expected = r#"{"name or pattern": "queue" or {"queue": .., "priority": .., "routing_key": ..}}, a list of pairs or a list of such objects"#;
    let groups = match serde_json::from_str::<Ordered>(text) {
        Ok(Ordered::Map(pairs)) => vec![pairs],
        Ok(Ordered::List(items)) => match groups_of(items) {
            Some(groups) => groups,
            None => {
                lookup.push_fault(
                    TASK_ROUTES.name,
                    shorten(text),
                    "holds something that is not a route",
                    expected,
                );
                return Vec::new();
            }
        },
        Ok(Ordered::Other(value)) => {
            lookup.fault(
                &TASK_ROUTES,
                &value,
                "is neither an object nor a list",
                expected,
            );
            return Vec::new();
        }
        Err(error) => {
            let problem = format!(
                "is not JSON (line {}, column {})",
                error.line(),
                error.column()
            );
            lookup.push_fault(TASK_ROUTES.name, shorten(text), &problem, expected);
            return Vec::new();
        }
    };
    groups
        .into_iter()
        .flat_map(|pairs| read_group(lookup, pairs))
        .collect()
}

type Pairs = Vec<(String, Ordered)>;

fn groups_of(items: Vec<Ordered>) -> Option<Vec<Pairs>> {
    if let Some(pairs) = pairs_of(&items) {
        return Some(vec![pairs]);
    }
    items
        .into_iter()
        .map(|item| match item {
            Ordered::Map(pairs) => Some(pairs),
            Ordered::List(items) => pairs_of(&items),
            Ordered::Other(_) => None,
        })
        .collect()
}

/// `[["name", route], …]`, if that is what it is.
fn pairs_of(items: &[Ordered]) -> Option<Pairs> {
    items
        .iter()
        .map(|item| match item {
            Ordered::List(pair) => match pair.as_slice() {
                [Ordered::Other(Value::String(name)), route] => Some((name.clone(), route.clone())),
                _ => None,
            },
            _ => None,
        })
        .collect()
}

fn read_group(lookup: &mut Lookup, pairs: Pairs) -> Vec<Route> {
    let mut exact: Vec<Route> = Vec::new();
    let mut patterns: Vec<Route> = Vec::new();
    for (name, target) in pairs {
        let pattern = match RoutePattern::parse(&name) {
            Ok(pattern) => pattern,
            Err(problem) => {
                lookup.push_fault(
                    TASK_ROUTES.name,
                    name,
                    &problem,
                    "a task name, a pattern with *, or re:expression",
                );
                continue;
            }
        };
        let Some(route) = read_target(lookup, &name, pattern, target) else {
            continue;
        };
        let group = if matches!(route.pattern, RoutePattern::Exact(_)) {
            &mut exact
        } else {
            &mut patterns
        };
        // As in a Python dict: the later one counts, in the place of the earlier one.
        match group
            .iter_mut()
            .find(|earlier| earlier.pattern == route.pattern)
        {
            Some(earlier) => *earlier = route,
            None => group.push(route),
        }
    }
    exact.append(&mut patterns);
    exact
}

fn read_target(
    lookup: &mut Lookup,
    name: &str,
    pattern: RoutePattern,
    target: Ordered,
) -> Option<Route> {
    let variable = &TASK_ROUTES;
    let mut route = Route {
        pattern,
        queue: None,
        exchange: None,
        routing_key: None,
        priority: None,
    };
    let fields = match target {
        Ordered::Other(Value::String(queue)) if !queue.is_empty() => {
            route.queue = Some(queue);
            return Some(route);
        }
        Ordered::Map(fields) => fields,
        other => {
            let problem = format!("sends {name} to something that is not a queue");
            lookup.fault(
                variable,
                &other.into_value(),
                &problem,
                "a queue's name or an object",
            );
            return None;
        }
    };
    for (field, value) in fields {
        let value = value.into_value();
        match (field.as_str(), &value) {
            ("queue", Value::String(queue)) if !queue.is_empty() => {
                route.queue = Some(queue.clone())
            }
            ("routing_key", Value::String(key)) => route.routing_key = Some(key.clone()),
            ("exchange", Value::String(name)) => route.exchange = Some(name.clone()),
            // The queue's own, or found by asking who is bound.
            ("exchange_type", _) => {}
            ("priority", Value::Null) => {}
            ("priority", Value::Number(number))
                if number.as_i64().is_some_and(|n| (0..=255).contains(&n)) =>
            {
                route.priority = number.as_i64();
            }
            ("queue" | "exchange" | "routing_key", _) => {
                lookup.fault(
                    variable,
                    &value,
                    &format!("has a {field} for {name} that is not a name"),
                    "a text",
                );
            }
            ("priority", _) => {
                let problem = format!("has a priority for {name} that is not one");
                lookup.fault(variable, &value, &problem, "a whole number from 0 to 255");
            }
            (other, _) => {
                let known = ["queue", "exchange", "routing_key", "priority"];
                let message = format!(
                    "has {other} in the route of {name}, which has no effect here{}",
                    nearest(other, known)
                );
                lookup.warn(variable, message);
            }
        }
    }
    Some(route)
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests;

//! Which queue a task goes to when its sender does not say (celery/app/routes.py).

use lovage_protocol::{NameError, QueueName};
use lovage_settings::{RoutePattern, TaskSettings};
use regex::Regex;

/// The routes of the settings, ready to be asked.
#[derive(Debug, Clone)]
pub struct Router {
    rules: Vec<Rule>,
    default_queue: Result<QueueName, BadRoute>,
}

/// Where the routes send a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The queue.
    pub queue: QueueName,
    /// The priority, unless the sender gives one.
    pub priority: Option<i64>,
}

/// A route of the settings that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadRoute {
    /// It names a queue that cannot exist.
    #[error("the route {pattern:?} leads to the queue {queue:?}")]
    Queue {
        /// The route's pattern, or `default`.
        pattern: String,
        /// The name.
        queue: String,
        /// What is wrong with it.
        #[source]
        source: NameError,
    },
    /// Its pattern is no regular expression.
    #[error("the route {pattern:?} is no regular expression: {problem}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        problem: String,
    },
}

#[derive(Debug, Clone)]
struct Rule {
    names: Names,
    /// `None`: the default queue, with the priority of this rule.
    queue: Option<Result<QueueName, BadRoute>>,
    priority: Option<i64>,
}

#[derive(Debug, Clone)]
enum Names {
    Exact(String),
    Matching(Regex),
    Broken(BadRoute),
}

impl Router {
    /// Reads the routes. What cannot be followed is told when a task comes that way, so that one bad route does not stop
    /// the rest.
    pub fn new(settings: &TaskSettings) -> Self {
        let rules = settings
            .routes
            .iter()
            .map(|route| Rule {
                names: Names::of(&route.pattern),
                queue: route
                    .queue
                    .as_deref()
                    .map(|queue| queue_of(text_of(&route.pattern), queue)),
                priority: route.priority,
            })
            .collect();
        Self {
            rules,
            default_queue: queue_of("default", &settings.default_queue),
        }
    }

    /// Where a task goes: the first route that matches its name, else the default queue.
    ///
    /// # Errors
    /// When that route cannot be followed.
    pub fn route(&self, task: &str) -> Result<Target, BadRoute> {
        for rule in &self.rules {
            let matches = match &rule.names {
                Names::Exact(name) => name == task,
                Names::Matching(pattern) => pattern.is_match(task),
                Names::Broken(fault) => return Err(fault.clone()),
            };
            if matches {
                let queue = rule.queue.as_ref().unwrap_or(&self.default_queue).clone()?;
                return Ok(Target {
                    queue,
                    priority: rule.priority,
                });
            }
        }
        Ok(Target {
            queue: self.default_queue.clone()?,
            priority: None,
        })
    }
}

impl Names {
    fn of(pattern: &RoutePattern) -> Self {
        let expression = match pattern {
            RoutePattern::Exact(name) => return Self::Exact(name.clone()),
            RoutePattern::Glob(glob) => glob_expression(glob),
            // `re.match` looks at the beginning only.
            RoutePattern::Regex(expression) => format!("^(?:{expression})"),
        };
        match Regex::new(&expression) {
            Ok(regex) => Self::Matching(regex),
            Err(error) => Self::Broken(BadRoute::Pattern {
                pattern: text_of(pattern).to_owned(),
                problem: error.to_string(),
            }),
        }
    }
}

fn text_of(pattern: &RoutePattern) -> &str {
    match pattern {
        RoutePattern::Exact(text) | RoutePattern::Glob(text) | RoutePattern::Regex(text) => text,
    }
}

fn queue_of(pattern: &str, queue: &str) -> Result<QueueName, BadRoute> {
    QueueName::parse(queue).map_err(|source| BadRoute::Queue {
        pattern: pattern.to_owned(),
        queue: queue.to_owned(),
        source,
    })
}

/// Python's `fnmatch.translate`: `*`, `?` and `[…]`, anchored at both ends; a bracket that is not closed is a letter.
fn glob_expression(glob: &str) -> String {
    let mut expression = String::from("^(?s:");
    let mut rest = glob.chars();
    while let Some(letter) = rest.next() {
        match letter {
            '*' => expression.push_str(".*"),
            '?' => expression.push('.'),
            '[' => match bracket_expression(rest.as_str()) {
                Some((class, after)) => {
                    expression.push_str(&class);
                    rest = after.chars();
                }
                None => expression.push_str(r"\["),
            },
            other => expression.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    expression.push_str(")$");
    expression
}

/// The class behind a `[`, and what follows its `]`.
fn bracket_expression(text: &str) -> Option<(String, &str)> {
    let (negated, members) = match text.strip_prefix('!') {
        Some(members) => (true, members),
        None => (false, text),
    };
    // A `]` in the first place is a member.
    let first = members.chars().next()?.len_utf8();
    let end = first + members[first..].find(']')?;
    let mut class = String::from(if negated { "[^" } else { "[" });
    for member in members[..end].chars() {
        match member {
            '-' => class.push('-'),
            other => class.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    class.push(']');
    Some((class, &members[end + 1..]))
}

#[cfg(test)]
mod tests {
    use lovage_settings::{Route, RoutePattern, TaskSettings};

    use super::{BadRoute, Router};

    fn route(pattern: RoutePattern, queue: Option<&str>) -> Route {
        Route {
            pattern,
            queue: queue.map(str::to_owned),
            routing_key: None,
            priority: None,
        }
    }

    fn check(pattern: &RoutePattern, cases: &[(&str, bool)]) {
        let routes = vec![route(pattern.clone(), Some("there"))];
        let router = Router::new(&TaskSettings {
            routes,
            ..TaskSettings::default()
        });
        for (task, matches) in cases {
            let expected = if *matches { "there" } else { "celery" };
            assert_eq!(
                router.route(task).unwrap().queue,
                expected,
                "{pattern:?} on {task:?}"
            );
        }
    }

    #[test]
    fn matches_names_as_celery_does() {
        let exact = |text: &str| RoutePattern::Exact(text.to_owned());
        let glob = |text: &str| RoutePattern::Glob(text.to_owned());
        let regex = |text: &str| RoutePattern::Regex(text.to_owned());
        check(
            &exact("mail.send"),
            &[("mail.send", true), ("mail.send2", false)],
        );
        check(
            &glob("mail.*"),
            &[("mail.send", true), ("mail.", true), ("email.send", false)],
        );
        check(
            &glob("*.se?d"),
            &[("mail.send", true), ("mail.seend", false)],
        );
        check(&glob("*[ab]"), &[("ta", true), ("tc", false)]);
        check(&glob("*[!ab]"), &[("ta", false), ("tc", true)]);
        check(&glob("*[a-c]"), &[("tb", true), ("td", false)]);
        check(&glob("*[]x]"), &[("t]", true), ("ty", false)]);
        check(&glob("a*[b"), &[("aa[b", true), ("aab", false)]);
        check(&glob("*{a,b}"), &[("t{a,b}", true), ("ta", false)]);
        check(
            &regex("(video|image)\\."),
            &[("image.crop", true), ("my.image.crop", false)],
        );
        check(&regex("a|b"), &[("bc", true), ("cb", false)]);
    }

    #[test]
    fn the_first_match_wins_and_may_leave_the_queue_open() {
        let mut urgent = route(RoutePattern::Exact("mail.send".to_owned()), None);
        urgent.priority = Some(9);
        let routes = vec![
            urgent,
            route(RoutePattern::Glob("mail.*".to_owned()), Some("mail")),
        ];
        let router = Router::new(&TaskSettings {
            routes,
            ..TaskSettings::default()
        });
        let target = router.route("mail.send").unwrap();
        assert_eq!(
            (target.queue.as_str(), target.priority),
            ("celery", Some(9))
        );
        assert_eq!(router.route("mail.fetch").unwrap().queue, "mail");
    }

    #[test]
    fn a_bad_route_is_an_error_where_it_is_taken() {
        let routes = vec![route(
            RoutePattern::Exact("a".to_owned()),
            Some("bad\nqueue"),
        )];
        let router = Router::new(&TaskSettings {
            routes,
            ..TaskSettings::default()
        });
        assert!(matches!(router.route("a"), Err(BadRoute::Queue { .. })));
        assert_eq!(router.route("b").unwrap().queue, "celery");
    }
}

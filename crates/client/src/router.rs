//! Which queue a task goes to when its sender does not say (celery/app/routes.py).

use lovage_broker::{BadQueue, Destination, Place, Topology};
use lovage_protocol::{NameError, QueueName};
use lovage_settings::{ExchangeType, RoutePattern, TaskSettings};
use regex::Regex;

/// The routes of the settings, ready to be asked.
#[derive(Debug, Clone)]
pub struct Router {
    rules: Vec<Rule>,
    default_queue: Result<QueueName, BadRoute>,
    topology: Result<Topology, BadRoute>,
}

/// Where the routes send a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The queue, or the name of a broadcast.
    pub queue: QueueName,
    /// The exchange in place of the queue's own; needs `routing_key`.
    pub exchange: Option<String>,
    /// The routing key in place of the queue's own.
    pub routing_key: Option<String>,
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
    /// Its queue is not among those of the settings, which do not let it be made either.
    #[error("the queue {queue:?} is missing from CELERY_TASK_QUEUES")]
    Missing {
        /// The name.
        queue: String,
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
    exchange: Option<String>,
    routing_key: Option<String>,
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
                exchange: route.exchange.clone(),
                routing_key: route.routing_key.clone(),
                priority: route.priority,
            })
            .collect();
        Self {
            rules,
            default_queue: queue_of("default", &settings.default_queue),
            topology: Topology::new(settings).map_err(|BadQueue { name, source }| {
                BadRoute::Queue {
                    pattern: "CELERY_TASK_QUEUES".to_owned(),
                    queue: name,
                    source,
                }
            }),
        }
    }

    /// The queues of the settings; none when one of them cannot be, which is told where a task is routed.
    pub fn topology(&self) -> Option<&Topology> {
        self.topology.as_ref().ok()
    }

    /// Where a message for a queue is published (celery/app/amqp.py, `send_task_message`): a queue of a direct exchange
    /// is reached by its name alone, one of a topic exchange through the exchange, a broadcast by all who listen.
    ///
    /// # Errors
    /// When there is no such queue, and it may not be made.
    pub fn destination(&self, target: &Target) -> Result<Destination, BadRoute> {
        let topology = self.topology.as_ref().map_err(Clone::clone)?;
        let name = target.queue.as_str();
        if target.exchange.is_none() && topology.is_direct(&target.queue) {
            return Ok(Destination::Queue(target.queue.clone()));
        }
        let place = topology
            .find(name)
            .map_err(|BadQueue { name, source }| BadRoute::Queue {
                pattern: name.clone(),
                queue: name,
                source,
            })?;
        let missing = || BadRoute::Missing {
            queue: name.to_owned(),
        };
        let key = |own: String| target.routing_key.clone().unwrap_or(own);
        if let (Some(exchange), Some(routing_key)) = (&target.exchange, &target.routing_key) {
            return Ok(self.exchange(exchange.clone(), routing_key.clone()));
        }
        Ok(match place.ok_or_else(missing)? {
            Place::Broadcast {
                exchange,
                routing_key,
            } => Destination::Fanout {
                exchange,
                routing_key: key(routing_key),
            },
            Place::Shared(binding) if binding.kind == ExchangeType::Topic => {
                Destination::Exchange {
                    exchange: binding.exchange,
                    routing_key: key(binding.routing_key),
                }
            }
            Place::Shared(binding) => Destination::Queue(binding.queue),
            _ => return Err(missing()),
        })
    }

    /// Where a message for an exchange is published: to who is bound, or to all when the settings say so.
    pub fn exchange(&self, exchange: String, routing_key: String) -> Destination {
        let fanout = self
            .topology()
            .is_some_and(|topology| topology.is_fanout(&exchange));
        if fanout {
            Destination::Fanout {
                exchange,
                routing_key,
            }
        } else {
            Destination::Exchange {
                exchange,
                routing_key,
            }
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
                    exchange: rule.exchange.clone(),
                    routing_key: rule.routing_key.clone(),
                    priority: rule.priority,
                });
            }
        }
        Ok(Target {
            queue: self.default_queue.clone()?,
            exchange: None,
            routing_key: None,
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
    use lovage_broker::Destination;
    use lovage_protocol::QueueName;
    use lovage_settings::{Route, RoutePattern, Settings, TaskSettings};

    use super::{BadRoute, Router};

    fn route(pattern: RoutePattern, queue: Option<&str>) -> Route {
        Route {
            pattern,
            queue: queue.map(str::to_owned),
            exchange: None,
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
    fn a_queue_is_published_to_as_its_exchange_wants_it() {
        let variables = [
            (
                "CELERY_TASK_QUEUES",
                r#"["plain", {"name": "films", "alias": "video", "exchange": "media", "exchange_type": "topic",
                   "routing_key": "media.film.#"}, {"name": "bcast", "broadcast": true}]"#,
            ),
            (
                "CELERY_TASK_ROUTES",
                r#"{"cut": {"queue": "video", "routing_key": "media.film.cut"}, "plain": {"queue": "plain", "routing_key": "x"},
                    "show": "films", "all": "bcast", "named": {"exchange": "media", "routing_key": "media.still"},
                    "gone": "nowhere"}"#,
            ),
            ("CELERY_TASK_CREATE_MISSING_QUEUES", "false"),
        ];
        let pairs = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let (settings, warnings) = Settings::from_lookup(pairs).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        let router = Router::new(&settings.tasks);
        let destination = |task: &str| router.destination(&router.route(task).unwrap());
        let exchange = |key: &str| Destination::Exchange {
            exchange: "media".to_owned(),
            routing_key: key.to_owned(),
        };
        assert_eq!(destination("cut"), Ok(exchange("media.film.cut")));
        assert_eq!(destination("show"), Ok(exchange("media.film.#")));
        assert_eq!(destination("named"), Ok(exchange("media.still")));
        let plain = QueueName::parse("plain").unwrap();
        assert_eq!(destination("plain"), Ok(Destination::Queue(plain)));
        let all = Destination::Fanout {
            exchange: "bcast".to_owned(),
            routing_key: "celery".to_owned(),
        };
        assert_eq!(destination("all"), Ok(all.clone()));
        assert_eq!(
            router.exchange("bcast".to_owned(), "celery".to_owned()),
            all
        );
        assert!(matches!(destination("gone"), Err(BadRoute::Missing { .. })));
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

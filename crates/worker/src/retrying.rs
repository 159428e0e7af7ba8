//! Pure decisions about retries: which failures are retried, and after how long (`celery/app/autoretry.py`,
//! `celery/utils/time.py`).

use std::time::Duration;

use lovage_protocol::{Body, ExceptionInfo, Map, Value};
use lovage_registry::{RetryPolicy, TaskSpec};

use crate::{
    outcome::{Failure, RetryChanges},
    rules::Rules,
};

/// Celery's `default_retry_delay`.
const DEFAULT_DELAY: Duration = Duration::from_secs(180);

/// Python's classes that have others beneath them, as far as tasks raise them.
const FAMILIES: &[(&str, &[&str])] = &[
    (
        "OSError",
        &[
            "BlockingIOError",
            "BrokenPipeError",
            "ChildProcessError",
            "ConnectionAbortedError",
            "ConnectionError",
            "ConnectionRefusedError",
            "ConnectionResetError",
            "FileExistsError",
            "FileNotFoundError",
            "IOError",
            "InterruptedError",
            "IsADirectoryError",
            "NotADirectoryError",
            "PermissionError",
            "ProcessLookupError",
            "TimeoutError",
        ],
    ),
    (
        "ConnectionError",
        &[
            "BrokenPipeError",
            "ConnectionAbortedError",
            "ConnectionRefusedError",
            "ConnectionResetError",
        ],
    ),
    ("LookupError", &["IndexError", "KeyError"]),
    (
        "ArithmeticError",
        &["FloatingPointError", "OverflowError", "ZeroDivisionError"],
    ),
    (
        "ValueError",
        &["UnicodeDecodeError", "UnicodeEncodeError", "UnicodeError"],
    ),
    ("RuntimeError", &["NotImplementedError", "RecursionError"]),
];

/// Whether this failure is one to retry. What the task did not raise never is, a hard time limit for one: nothing of the task
/// is left that could ask for it.
pub(crate) fn is_retried(failure: &Failure, policy: &RetryPolicy) -> bool {
    let exception = &failure.exception;
    !failure.timed_out
        && !failure.from_outside
        && (failure.transient || is_one_of(exception, policy.retry_for))
        && !is_one_of(exception, policy.dont_retry_for)
}

/// Whether the exception is of one of these classes, named with or without its module.
fn is_one_of(exception: &ExceptionInfo, classes: &[&str]) -> bool {
    let (module, class) = (exception.exc_module.as_deref(), exception.exc_type.as_str());
    classes.iter().any(|wanted| {
        let (wanted_module, wanted) = match wanted.rsplit_once('.') {
            Some((module, class)) => (Some(module), class),
            None => (None, *wanted),
        };
        if wanted_module.is_some_and(|wanted| module != Some(wanted)) {
            return false;
        }
        wanted == class
            || matches!(wanted, "Exception" | "BaseException")
            || matches!(module, None | Some("builtins"))
                && FAMILIES
                    .iter()
                    .any(|(parent, children)| *parent == wanted && children.contains(&class))
    })
}

/// How long until the next attempt. With back-off, Celery's: a whole number of seconds between 0 and
/// min(maximum, factor × 2^retries), or exactly that without jitter; never under the task's own minimum. `random` is a number
/// in `0.0..1.0`.
pub(crate) fn pause(retries: u32, rules: &Rules, random: f64) -> Duration {
    let policy = &rules.retry;
    let factor = match (policy.backoff, policy.default_delay) {
        (Some(0), delay) => return delay.unwrap_or(DEFAULT_DELAY),
        (None, Some(delay)) => return delay,
        (factor, _) => u64::from(factor.unwrap_or(1)),
    };
    let longest = 2_u64
        .checked_pow(retries)
        .and_then(|power| power.checked_mul(factor))
        .unwrap_or(u64::MAX)
        .min(rules.max_retry_delay.as_secs());
    let seconds = if policy.jitter.unwrap_or(true) {
        let drawn = Duration::from_secs(longest.saturating_add(1));
        drawn.mul_f64(random.clamp(0.0, 0.999_999)).as_secs()
    } else {
        longest
    };
    Duration::from_secs(seconds).max(rules.min_retry_delay)
}

/// The arguments of a next attempt that changes some: a positional one goes before a keyword for the same parameter, and a new
/// keyword before a positional one that stays (`celery/app/task.py`, `retry`). Of a task that takes its arguments as they come
/// nobody knows which are the same.
pub(crate) fn arguments(
    spec: &TaskSpec,
    body: &Body,
    changes: &RetryChanges,
) -> (Option<Vec<Value>>, Option<Map>) {
    let names = || spec.params.iter().map(|param| param.name.as_str());
    let (mut args, mut kwargs) = (changes.args.clone(), changes.kwargs.clone());
    match (&args, &mut kwargs) {
        (Some(args), None) => {
            let mut kept = body.kwargs.clone();
            for name in names().take(args.len()) {
                kept.shift_remove(name);
            }
            return (Some(args.clone()), Some(kept));
        }
        (None, Some(kwargs)) => {
            let Value::List(before) = &body.args else {
                return (None, Some(kwargs.clone()));
            };
            let mut before = before.clone();
            for (place, name) in before.iter_mut().zip(names()) {
                if let Some(value) = kwargs.shift_remove(name) {
                    *place = value;
                }
            }
            args = Some(before);
        }
        // What was said in full is not touched.
        _ => {}
    }
    (args, kwargs)
}

#[cfg(test)]
mod tests {
    use lovage_registry::Param;

    use super::*;

    fn failure(module: &str, class: &str) -> Failure {
        Failure {
            exception: ExceptionInfo::new(module, class, vec![]),
            traceback: None,
            timed_out: false,
            transient: false,
            from_outside: false,
        }
    }

    fn policy(
        retry_for: &'static [&'static str],
        dont_retry_for: &'static [&'static str],
    ) -> RetryPolicy {
        RetryPolicy {
            retry_for,
            dont_retry_for,
            ..RetryPolicy::default()
        }
    }

    #[test]
    fn classes_are_known_by_name_module_and_family() {
        let check = |wanted: &'static [&'static str], module, class, expected: bool| {
            let retried = is_retried(&failure(module, class), &policy(wanted, &[]));
            assert_eq!(retried, expected, "{wanted:?} {module}.{class}");
        };
        check(&[], "builtins", "ValueError", false);
        check(&["ValueError"], "builtins", "ValueError", true);
        check(&["KeyError", "ValueError"], "app", "ValueError", true);
        check(&["app.Busy"], "app", "Busy", true);
        check(&["app.Busy"], "other", "Busy", false);
        check(&["OSError"], "builtins", "ConnectionResetError", true);
        check(&["OSError"], "app", "ConnectionResetError", false);
        check(&["LookupError"], "builtins", "KeyError", true);
        check(&["Exception"], "app", "Anything", true);
        check(&["builtins.OSError"], "builtins", "TimeoutError", true);
    }

    fn object(json: &str) -> Map {
        match Value::from_json(json.as_bytes()) {
            Ok(Value::Map(map)) => map,
            other => panic!("{other:?} is no object"),
        }
    }

    /// The arguments of `task(a, b, c)` as JSON, called with `args` and `kwargs` and retried with the others.
    fn merged(
        args: &str,
        kwargs: &str,
        new_args: Option<&str>,
        new_kwargs: Option<&str>,
    ) -> String {
        let list = |json: &str| match Value::from_json(json.as_bytes()) {
            Ok(Value::List(items)) => items,
            other => panic!("{other:?} is no list"),
        };
        let mut spec = TaskSpec::variadic("t");
        spec.params = ["a", "b", "c"]
            .map(|name| Param::new(name, true.into()))
            .into();
        let changes = RetryChanges {
            args: new_args.map(list),
            kwargs: new_kwargs.map(object),
            ..RetryChanges::default()
        };
        let body = Body::new(list(args), object(kwargs));
        let (args, kwargs) = arguments(&spec, &body, &changes);
        let args = args.map(Value::List).map(|args| args.to_json());
        let kwargs = kwargs.map(Value::Map).map(|kwargs| kwargs.to_json());
        format!(
            "{} {}",
            args.as_deref().unwrap_or("-"),
            kwargs.as_deref().unwrap_or("-")
        )
    }

    #[test]
    fn new_arguments_take_the_place_of_those_of_the_same_name() {
        let changed = r#"[10] {"b": 2}"#;
        assert_eq!(
            merged("[]", r#"{"a": 1, "b": 2}"#, Some("[10]"), None),
            changed
        );
        let named = merged("[1, 2]", "{}", None, Some(r#"{"b": 20, "c": 30}"#));
        assert_eq!(named, r#"[1, 20] {"c": 30}"#);
        let other = merged("[1]", r#"{"b": 2}"#, None, Some(r#"{"c": 30}"#));
        assert_eq!(other, r#"[1] {"c": 30}"#);
        let both = merged("[1]", r#"{"b": 2}"#, Some("[5]"), Some(r#"{"a": 6}"#));
        assert_eq!(both, r#"[5] {"a": 6}"#, "what was said in full stays so");
        assert_eq!(merged("[1]", r#"{"b": 2}"#, None, None), "- -");
    }

    #[test]
    fn what_is_not_to_be_retried_wins() {
        let policy = policy(&["OSError"], &["FileNotFoundError", "ExpectedError"]);
        assert!(is_retried(&failure("builtins", "PermissionError"), &policy));
        assert!(!is_retried(
            &failure("builtins", "FileNotFoundError"),
            &policy
        ));
        let mut transient = failure("celery.exceptions", "ExpectedError");
        transient.transient = true;
        assert!(!is_retried(&transient, &policy));
        assert!(is_retried(&transient, &RetryPolicy::default()));
        transient.timed_out = true;
        assert!(!is_retried(&transient, &RetryPolicy::default()));
        let mut outside = failure("billiard.exceptions", "WorkerLostError");
        outside.from_outside = true;
        assert!(!is_retried(&outside, &policy), "the task did not raise it");
    }

    #[test]
    fn back_off_doubles_up_to_the_maximum_and_not_under_the_minimum() {
        let rules = Rules::for_tests();
        let seconds = |retries, random| pause(retries, &rules, random).as_secs();
        assert_eq!((seconds(0, 0.0), seconds(0, 0.99)), (0, 1));
        assert_eq!((seconds(3, 0.0), seconds(3, 0.99)), (0, 8));
        assert_eq!(seconds(40, 0.999_999), 600);
        assert_eq!(seconds(4_000_000_000, 0.999_999), 600);
        let patient = Rules {
            min_retry_delay: Duration::from_secs(30),
            ..Rules::for_tests()
        };
        assert_eq!(pause(0, &patient, 0.0), Duration::from_secs(30));
    }

    #[test]
    fn a_factor_a_fixed_pause_and_no_jitter() {
        let check = |backoff, jitter, delay, retries, expected: u64| {
            let retry = RetryPolicy {
                backoff,
                jitter,
                default_delay: delay,
                ..RetryPolicy::default()
            };
            let rules = Rules {
                retry,
                ..Rules::for_tests()
            };
            assert_eq!(pause(retries, &rules, 0.5).as_secs(), expected, "{retry:?}");
        };
        let nine = Some(Duration::from_secs(9));
        check(Some(3), Some(false), None, 0, 3);
        check(Some(3), Some(false), nine, 2, 12);
        check(Some(3), Some(true), None, 2, 6);
        check(Some(300), Some(false), None, 9, 600);
        check(None, Some(false), nine, 5, 9);
        check(Some(0), None, None, 5, 180);
        check(None, Some(false), None, 5, 32);
    }
}

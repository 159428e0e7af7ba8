//! The `#[lovage::task]` attribute: a function becomes a Celery task that can describe itself.
//!
//! rusty-celery's own `#[celery::task]` does the defining; this macro wraps it, because that one throws away parameter
//! types, defaults, documentation and whether the function is async. The function itself stays an ordinary function, so
//! that a test may call it directly.
//!
//! It holds no run-time code: everything the expansion names lives in `lovage_registry::__macro`.
//!
//! | module | knows |
//! |---|---|
//! | `options` | what may stand inside `#[lovage::task(...)]` |
//! | `admission` | the options about when a task may run |
//! | `rate` | the form of a rate limit |
//! | `schedule`, `crontab` | the option about when beat sends a task |
//! | `function` | what a task function may look like, and its parameters |
//! | `rescope` | how a path changes when its tokens move into a nested module |
//! | `expand` | the code that is generated |
//! | `calls` | the part of it that makes a task part of canvases |

mod admission;
mod calls;
mod crontab;
mod expand;
mod function;
mod options;
mod rate;
mod rescope;
mod schedule;

use proc_macro::TokenStream;

/// Turns a function into a Celery task with a description.
///
/// ```text
/// /// Adds two numbers.
/// #[lovage::task(name = "demo.add", rate_limit = "10/s", max_retries = 3)]
/// fn add(x: i64, #[default = 5] y: i64) -> TaskResult<i64> {
///     Ok(x + y)
/// }
/// ```
///
/// The function stays as it was written and can still be called: `add(2, 3)`. Beside it appears a *type* of the same
/// name, which is what modules register (`.task::<add>()`) and clients send (`add::new(2, 3)`). The crate that uses the
/// attribute needs direct dependencies on `celery` (default features off, feature `codegen`) and `serde`, because
/// rusty-celery's own macro names them. It works at module level, not inside a function body.
///
/// For canvases the type has Celery's functions, with the parameters of the function: `add::s(2, 3)`, `add::si(2, 3)`,
/// `add::partial(3)` (the first argument is the result of what it follows), `add::map`, `add::starmap`, `add::chunks`.
///
/// # The function
///
/// * `async fn` or `fn`; a plain `fn` is run where it may block.
/// * It returns nothing or a `Result<T, E>`. `E` is `celery::error::TaskError`, something that converts into it, or
///   anything that can be displayed (`anyhow::Error` too), which becomes `TaskError::UnexpectedError`.
/// * Parameters are owned values, serialised by serde. `Option<T>` may be left out by the caller.
/// * `#[default = expr]` or `#[default(expr)]` on a parameter gives the value of a missing argument.
/// * A doc comment on the function or on a parameter becomes part of the task's description.
/// * A parameter of type `State<T>` is not an argument: the worker supplies it, and refuses to start when no module
///   provides a `T`. A direct call passes `State::new(value)`.
/// * With `bind = true` the first parameter is `task: &Self`, the running task.
///
/// # Options
///
/// From rusty-celery: `name` (default: the function's name), `bind`, `time_limit`, `hard_time_limit`, `max_retries`,
/// `min_retry_delay`, `max_retry_delay` (whole seconds), `retry_for_unexpected`, `acks_late`, `content_type`,
/// `on_failure`, `on_success`, `wrapper`, `params_type`. Lovage's own: `queue`, `priority` (0 to 255), `rate_limit`
/// (`"10/s"`, `"100/m"`, `"5/h"`), `expires` (seconds), `ignore_result`, `track_started`,
/// `retry_for` and `dont_retry_for` (`["OSError", "app.Busy"]`, exception classes), `retry_backoff` (seconds of the first pause, or a
/// switch), `retry_backoff_max`, `retry_jitter`, `default_retry_delay` (seconds). A switch may stand alone: `bind` is
/// `bind = true`.
///
/// When it may run, over all workers: `unique` (by all arguments) or `unique = "account, day"` (by these parameters), with
/// `unique_until = "start"`, `unique_for` (seconds) or `join`; `debounce` (seconds) with `debounce_by = "account"`; `limit`
/// (`"5"` at once, `"100/m"`, `"5 per queue"`, `"5 per account"`, several with `;` between them).
///
/// When beat sends it: `schedule(...)`, any number of them, with the fields of `schedule.toml`. One of `crontab = "30 2 * * mon-fri"`,
/// `every = "5m"`, `solar("sunset", 46.2, 6.14)` and `at = "2026-11-26T18:30:00Z"` says when; arguments are `args(1, "x")` and
/// `kwargs(kind = "daily")`, of the parameters' types; then `timezone`, `queue`, `priority`, `exchange`, `expires`, `start`, `end`,
/// `enabled`, `max_runs`, `jitter`, `missed`, `max_missed`, `deadline`, `relative`, `description`. Its `name` is by default the task's.
#[proc_macro_attribute]
pub fn task(options: TokenStream, function: TokenStream) -> TokenStream {
    expand::task(options.into(), function.into())
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

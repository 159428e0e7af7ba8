//! What a task function may return: a `Result` whose error becomes a `TaskError`.

use std::fmt::Display;

use celery::error::TaskError;

/// The return types of task functions.
#[diagnostic::on_unimplemented(
    message = "a task returns a `Result`, not `{Self}`",
    label = "write `TaskResult<{Self}>` and return `Ok(..)`",
    note = "a task that returns nothing may leave the return type out"
)]
pub trait TaskReturn {
    /// What a successful run gives.
    type Value;
    /// What a failed run gives.
    type Error;

    /// The return value as a plain result.
    ///
    /// # Errors
    ///
    /// The task failed.
    fn into_result(self) -> Result<Self::Value, Self::Error>;
}

impl<T, E> TaskReturn for Result<T, E> {
    type Value = T;
    type Error = E;

    fn into_result(self) -> Self {
        self
    }
}

/// Marks errors that convert into `TaskError`, which says whether to retry.
#[derive(Debug, Clone, Copy)]
pub struct Converted;

impl Converted {
    /// The conversion.
    pub fn task_error<E: Into<TaskError>>(self, error: E) -> TaskError {
        error.into()
    }
}

/// Offers `Converted` for errors that convert; found before [`DisplayedError`].
pub trait ConvertedError {
    /// How this error becomes a `TaskError`.
    fn lovage_error_kind(&self) -> Converted {
        Converted
    }
}

impl<E: Into<TaskError>> ConvertedError for E {}

/// Marks errors of which only the text is known, such as `anyhow::Error`.
#[derive(Debug, Clone, Copy)]
pub struct Displayed;

impl Displayed {
    /// The text as an unexpected error; `{:#}` makes anyhow write the causes too.
    pub fn task_error<E: Display>(self, error: E) -> TaskError {
        TaskError::UnexpectedError(format!("{error:#}"))
    }
}

/// Offers `Displayed` for errors that can be written.
pub trait DisplayedError {
    /// How this error becomes a `TaskError`.
    fn lovage_error_kind(&self) -> Displayed {
        Displayed
    }
}

impl<E: Display> DisplayedError for &E {}

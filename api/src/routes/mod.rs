//! The operations, one file per resource.

mod auth;
mod dead_letters;
mod etag;
mod health;
mod history;
mod letter_operations;
mod mail;
mod operations;
pub(crate) mod pages;
mod queues;
mod repeating;
mod runs;
mod schedule_runs;
mod schedules;
mod tasks;
mod users;
mod workers;

pub(crate) use dead_letters::letter_within_reach;
pub(crate) use history::within_reach;
use poem_openapi::{OpenApiService, Tags};

/// Parts of the API.
#[derive(Debug, Tags)]
enum Part {
    /// Tasks: what there is, and sending it.
    #[oai(rename = "tasks")]
    Tasks,
    /// Runs of tasks: results, what happens, ending them.
    #[oai(rename = "task-runs")]
    Runs,
    /// What waits.
    #[oai(rename = "queues")]
    Queues,
    /// Who works.
    #[oai(rename = "workers")]
    Workers,
    /// Messages that could not be run.
    #[oai(rename = "dead-letters")]
    DeadLetters,
    /// Periodic tasks: when they run, and what they have sent.
    #[oai(rename = "schedules")]
    Schedules,
    /// Mails, and what became of them.
    #[oai(rename = "mail")]
    Mail,
    /// Coming in, staying in, going out.
    #[oai(rename = "auth")]
    Auth,
    /// Users, their API keys, and who changed what.
    #[oai(rename = "users")]
    Users,
    /// Whether all is well.
    #[oai(rename = "health")]
    Health,
}

type Apis = (
    health::HealthApi,
    auth::AuthApi,
    tasks::TasksApi,
    runs::RunsApi,
    history::HistoryApi,
    repeating::RepeatingApi,
    operations::OperationsApi,
    schedules::SchedulesApi,
    schedule_runs::ScheduleRunsApi,
    queues::QueuesApi,
    workers::WorkersApi,
    dead_letters::DeadLettersApi,
    letter_operations::LetterOperationsApi,
    mail::MailApi,
    users::UsersApi,
);

/// All of them. They share nothing but what comes with the request.
pub(crate) fn service() -> OpenApiService<Apis, ()> {
    OpenApiService::new(
        (
            health::HealthApi,
            auth::AuthApi,
            tasks::TasksApi,
            runs::RunsApi,
            history::HistoryApi,
            repeating::RepeatingApi,
            operations::OperationsApi,
            schedules::SchedulesApi,
            schedule_runs::ScheduleRunsApi,
            queues::QueuesApi,
            workers::WorkersApi,
            dead_letters::DeadLettersApi,
            letter_operations::LetterOperationsApi,
            mail::MailApi,
            users::UsersApi,
        ),
        "Lovage",
        env!("CARGO_PKG_VERSION"),
    )
    .description(
        "Send tasks to Celery-compatible workers, wait for their results, watch and repair what runs. \
         Errors are `application/problem+json` with a `code` that does not change.",
    )
}

/// How many a page has, when nobody says.
fn usual_page() -> u64 {
    50
}

/// Cuts what was found, which may be one more than the page, and gives the `offset` of the next page when there is one.
fn cut<T>(found: &mut Vec<T>, offset: u64, limit: u64) -> Option<u64> {
    let page = usize::try_from(limit).unwrap_or(usize::MAX);
    let next = (found.len() > page).then(|| offset + limit);
    found.truncate(page);
    next
}

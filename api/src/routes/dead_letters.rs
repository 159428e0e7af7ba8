//! Messages that could not be run.
//!
//! A keeper moves them from the broker into the database within a second; what it has not moved yet is at the broker. Both are
//! shown as one list: those of the database have numbers as ids.

use std::{str::FromStr, sync::Arc};

use lovage_database::store::dead_letter::{self, Act, Fate, Filter};
use poem::web::Data;
use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Header, Path, Query},
    payload::Json,
};
use serde_json::json;

use crate::{
    app::App,
    audit::Target,
    auth::{Caller, Identity, Origin, away, permission::needs},
    document::body::Body,
    problem::{Code, Problem},
    routes::{Part, etag, usual_page},
    schema::dead_letter::{Letter, LetterEdit, LetterFilter, LetterPage, LetterState, LetterWhole},
    sending::{reach, sender},
};

#[derive(Debug)]
pub(crate) struct DeadLettersApi;

#[derive(Debug, ApiResponse)]
enum PageResponse {
    /// A page of them.
    #[oai(status = 200)]
    Ok(Json<LetterPage>),
}

#[derive(Debug, ApiResponse)]
enum ShowResponse {
    /// The message, and why it is here.
    #[oai(status = 200)]
    Ok(
        Json<LetterWhole>,
        /// Its version, for If-Match.
        #[oai(header = "ETag")]
        String,
    ),
}

#[derive(Debug, ApiResponse)]
enum DoneResponse {
    /// Done.
    #[oai(status = 204)]
    Done,
}

/// So many at the broker are looked at.
const AT_BROKER: usize = 200;

/// A letter, where it is.
enum Found {
    InDatabase(Box<dead_letter::DeadLetter>),
    AtBroker(Box<lovage_broker::DeadLetter>),
}

#[OpenApi(prefix_path = "/api/v1/dead-letters", tag = "Part::DeadLetters")]
impl DeadLettersApi {
    /// List messages that could not be run
    #[oai(path = "/", method = "get", operation_id = "list_dead_letters")]
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a parameter of the operation, where the document has its text"
    )]
    async fn list(
        &self,
        caller: Caller<needs::DeadLettersRead>,
        app: Data<&Arc<App>>,
        /// Only those of which this became; by default those that wait.
        state: Query<Option<LetterState>>,
        /// Only for one of these reasons, such as `unknown-task`.
        #[oai(validator(max_items = 20))]
        reason: Query<Vec<String>>,
        /// Only of these tasks.
        #[oai(validator(max_items = 100))]
        task: Query<Vec<String>>,
        /// Only from these queues.
        #[oai(validator(max_items = 100))]
        queue: Query<Vec<String>>,
        /// A part of task, task id, detail or traceback.
        #[oai(validator(min_length = 1, max_length = 200))]
        text: Query<Option<String>>,
        /// What the page before gave as `next`.
        before: Query<Option<i64>>,
        /// So many at most.
        #[oai(
            default = "usual_page",
            validator(minimum(value = "1"), maximum(value = "500"))
        )]
        limit: Query<u64>,
    ) -> Result<PageResponse, Problem> {
        let state = state.0.unwrap_or(LetterState::Waiting);
        let filter = LetterFilter {
            reasons: Some(reason.0),
            tasks: Some(task.0),
            queues: Some(queue.0),
            text: text.0,
        };
        let mut letters = Vec::new();
        if before.0.is_none() && state == LetterState::Waiting {
            let at_broker = app.broker().dead_letters().list(0, AT_BROKER).await;
            for letter in at_broker.map_err(broker)? {
                if filter.takes(&letter) && at_broker_within(&caller, &letter).is_ok() {
                    letters.push(Letter::at_broker(&letter));
                }
            }
        }
        let mut wanted = Filter::from(filter);
        wanted.fates = vec![state.fate()];
        let reader = app.database().reader();
        let found = dead_letter::page(reader, &wanted, before.0, limit.0).await;
        let found = found.map_err(away)?;
        let is_full = u64::try_from(found.len()).unwrap_or(u64::MAX) >= limit.0;
        let next = found.last().map(|letter| letter.id).filter(|_| is_full);
        // What a key is not for is left out, which makes a page shorter.
        let within = found
            .iter()
            .filter(|letter| letter_within_reach(&caller, letter).is_ok());
        letters.extend(within.map(Letter::in_database));
        Ok(PageResponse::Ok(Json(LetterPage { letters, next })))
    }

    /// Show one of them
    #[oai(path = "/:id", method = "get", operation_id = "show_dead_letter")]
    async fn show(
        &self,
        caller: Caller<needs::DeadLettersRead>,
        app: Data<&Arc<App>>,
        /// Its id among the dead letters.
        #[oai(validator(max_length = 255))]
        id: Path<String>,
    ) -> Result<ShowResponse, Problem> {
        Ok(match find(app.0, &caller, &id.0).await? {
            Found::InDatabase(letter) => {
                let tag = etag::of(letter.version);
                let raw = letter.message();
                let whole = LetterWhole::of(Letter::in_database(&letter), raw);
                ShowResponse::Ok(Json(whole), tag)
            }
            Found::AtBroker(letter) => {
                let whole = LetterWhole::of(Letter::at_broker(&letter), &letter.raw);
                ShowResponse::Ok(Json(whole), etag::of(0))
            }
        })
    }

    /// Change what is sent when one of them is sent again
    ///
    /// The message itself stays. Only of those that a keeper has moved into the database.
    #[oai(
        path = "/:id/message",
        method = "put",
        operation_id = "edit_dead_letter"
    )]
    async fn edit(
        &self,
        caller: Caller<needs::DeadLettersControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        /// Its id among the dead letters.
        #[oai(validator(max_length = 255))]
        id: Path<String>,
        /// The version that is changed.
        #[oai(name = "If-Match")]
        if_match: Header<String>,
        edit: Body<LetterEdit>,
    ) -> Result<DoneResponse, Problem> {
        let version = etag::read(&if_match.0)?;
        let Found::InDatabase(letter) = find(app.0, &caller, &id.0).await? else {
            return Err(Problem::new(
                Code::Conflict,
                "no keeper has moved it into the database yet, where it can be changed",
            ));
        };
        let raw = edit.0.message.into_bytes();
        lovage_protocol::Message::parse(&raw)
            .map_err(|error| Problem::invalid(format!("the message cannot be run: {error}")))?;
        reach::require_message(&caller, &letter.died.queue, &raw)?;
        let writer = app.database().writer();
        let edited = dead_letter::edit(writer, letter.id, version, raw).await;
        if !edited.map_err(away)? {
            return Err(Problem::new(
                Code::Changed,
                "it was changed meanwhile, or waits no longer; look again",
            ));
        }
        note(app.0, &caller, &origin, "dead-letter.edit", &id.0).await?;
        Ok(DoneResponse::Done)
    }

    /// Send one of them again
    ///
    /// To the end of the queue that it came from, byte for byte unless it was changed.
    #[oai(
        path = "/:id/replay",
        method = "post",
        operation_id = "replay_dead_letter"
    )]
    async fn replay(
        &self,
        caller: Caller<needs::DeadLettersControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        /// Its id among the dead letters.
        #[oai(validator(max_length = 255))]
        id: Path<String>,
    ) -> Result<DoneResponse, Problem> {
        let done = match find(app.0, &caller, &id.0).await? {
            Found::AtBroker(letter) => {
                let replayed = app.broker().dead_letters().replay(&letter.id).await;
                replayed.map_err(broker)?
            }
            Found::InDatabase(letter) => {
                let transaction = app.database().begin().await.map_err(away)?;
                // As it was looked at: what somebody makes of it meanwhile may be out of reach.
                let done = Act::Replay
                    .on(&transaction, &letter, &caller.subject())
                    .await;
                let done = done.map_err(away)?;
                lovage_database::commit(transaction).await.map_err(away)?;
                done
            }
        };
        finished(done, &id.0)?;
        note(app.0, &caller, &origin, "dead-letter.replay", &id.0).await?;
        Ok(DoneResponse::Done)
    }

    /// Drop one of them
    #[oai(path = "/:id", method = "delete", operation_id = "discard_dead_letter")]
    async fn discard(
        &self,
        caller: Caller<needs::DeadLettersControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        /// Its id among the dead letters.
        #[oai(validator(max_length = 255))]
        id: Path<String>,
    ) -> Result<DoneResponse, Problem> {
        let done = match find(app.0, &caller, &id.0).await? {
            Found::AtBroker(letter) => {
                let discarded = app.broker().dead_letters().discard(&letter.id).await;
                discarded.map_err(broker)?
            }
            Found::InDatabase(letter) => {
                let writer = app.database().writer();
                let done = dead_letter::discard(writer, letter.id, &caller.subject()).await;
                done.map_err(away)?
            }
        };
        finished(done, &id.0)?;
        note(app.0, &caller, &origin, "dead-letter.discard", &id.0).await?;
        Ok(DoneResponse::Done)
    }
}

async fn find(app: &App, caller: &Identity, id: &str) -> Result<Found, Problem> {
    if let Ok(number) = i64::from_str(id) {
        let found = dead_letter::find(app.database().reader(), number).await;
        if let Some(letter) = found.map_err(away)? {
            letter_within_reach(caller, &letter)?;
            return Ok(Found::InDatabase(Box::new(letter)));
        }
    }
    let found = app.broker().dead_letters().show(id).await.map_err(broker)?;
    let letter = found.ok_or_else(|| missing(id))?;
    at_broker_within(caller, &letter)?;
    Ok(Found::AtBroker(Box::new(letter)))
}

fn at_broker_within(caller: &Identity, letter: &lovage_broker::DeadLetter) -> Result<(), Problem> {
    reach::require_message(caller, &letter.queue, &letter.raw)
}

/// Refuses a letter that the caller's key is not for.
pub(crate) fn letter_within_reach(
    caller: &Identity,
    letter: &dead_letter::DeadLetter,
) -> Result<(), Problem> {
    reach::require_message(caller, &letter.died.queue, letter.message())
}

/// Of two who do something with it at once one was first.
fn finished(done: bool, id: &str) -> Result<(), Problem> {
    if done { Ok(()) } else { Err(missing(id)) }
}

fn missing(id: &str) -> Problem {
    Problem::not_found(format!("there is no dead letter {id} that waits"))
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn broker(error: lovage_broker::Error) -> Problem {
    sender::broker_problem(&error)
}

async fn note(
    app: &App,
    caller: &Identity,
    origin: &Origin,
    action: &str,
    id: &str,
) -> Result<(), Problem> {
    let target = Target {
        kind: "dead-letter",
        id,
    };
    app.audit()
        .note(caller, origin, action, target, Some(json!({})))
        .await
}

impl LetterState {
    fn fate(self) -> Fate {
        match self {
            Self::Waiting => Fate::Waiting,
            Self::Replayed => Fate::Replayed,
            Self::Discarded => Fate::Discarded,
        }
    }
}

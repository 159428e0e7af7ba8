//! `mail_message`: mails, each of which is handed to a server once.
//!
//! Whoever is about to send one claims its row. What died after that left a row that says `sending`: nobody knows whether the
//! mail was taken, so it becomes `uncertain`, and is sent again only by somebody who decides so.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, EntityTrait, Order, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
    sea_query::{Expr, ExprTrait},
};
use uuid::Uuid;

use crate::{
    entity::mail_message::{ActiveModel, Column, Entity, Model},
    error::{Error, while_doing},
};

/// So many mails of a page at most.
const MOST: u64 = 1_000;

/// What is known of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailState {
    /// It waits for its task, for the first time or once more.
    Queued,
    /// It is being said to a server.
    Sending,
    /// The server has taken it.
    Sent,
    /// It will not be sent: the server refused it, or was away for too long.
    Failed,
    /// Whoever sent it died meanwhile, or the connection did.
    Uncertain,
}

impl MailState {
    const ALL: [Self; 5] = [
        Self::Queued,
        Self::Sending,
        Self::Sent,
        Self::Failed,
        Self::Uncertain,
    ];

    /// As the column has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Uncertain => "uncertain",
        }
    }
}

impl fmt::Display for MailState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MailState {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| Error::Corrupt {
            what: "the state of a mail",
            value: text.to_owned(),
            expected: "queued, sending, sent, failed or uncertain",
        })
    }
}

/// A mail that is written, before there is a row of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMail {
    /// Its id for ever.
    pub id: Uuid,
    /// The task that will send it.
    pub task_id: String,
    /// The name of its template.
    pub template: String,
    /// The code of its language.
    pub language: String,
    /// Who gets it.
    pub recipient: String,
    /// One line.
    pub subject: String,
    /// For whoever reads plain text.
    pub text: String,
    /// For everybody else.
    pub html: Option<String>,
}

/// A mail as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredMail {
    /// What it says.
    pub mail: NewMail,
    /// What is known of it.
    pub state: MailState,
    /// How often it was begun to be sent.
    pub attempts: i32,
    /// What the server said last, or why nobody was asked.
    pub answer: Option<String>,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When it was last begun to be sent.
    pub sending_since: Option<DateTime<Utc>>,
    /// When it was sent, or given up.
    pub finished_at: Option<DateTime<Utc>>,
    /// How often it was changed.
    pub version: i64,
}

impl TryFrom<Model> for StoredMail {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self, Error> {
        Ok(Self {
            state: row.state.parse()?,
            mail: NewMail {
                id: row.id,
                task_id: row.task_id.unwrap_or_default(),
                template: row.template,
                language: row.language,
                recipient: row.recipient,
                subject: row.subject,
                text: row.text_body,
                html: row.html_body,
            },
            attempts: row.attempts,
            answer: row.answer,
            created_at: row.created_at,
            sending_since: row.sending_since,
            finished_at: row.finished_at,
            version: row.version,
        })
    }
}

/// Whether a mail may be sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claim {
    /// It may, by whoever has this.
    Yes(Box<NewMail>),
    /// There is no such mail: its transaction was rolled back, or it was pruned.
    Missing,
    /// It is past that, or somebody died while sending it. With that row it becomes [`MailState::Uncertain`].
    No(MailState),
}

/// Writes a mail in the caller's transaction; its task is to be written to the outbox in the same.
///
/// # Errors
/// [`Error::Query`].
pub async fn write(transaction: &impl ConnectionTrait, mail: NewMail) -> Result<(), Error> {
    let row = ActiveModel {
        id: Set(mail.id),
        task_id: Set(Some(mail.task_id)),
        template: Set(mail.template),
        language: Set(mail.language),
        recipient: Set(mail.recipient),
        subject: Set(mail.subject),
        text_body: Set(mail.text),
        html_body: Set(mail.html),
        state: Set(MailState::Queued.as_str().to_owned()),
        attempts: Set(0),
        answer: Set(None),
        created_at: Set(Utc::now()),
        sending_since: Set(None),
        finished_at: Set(None),
        version: Set(1),
    };
    Entity::insert(row)
        .exec_without_returning(transaction)
        .await
        .map(drop)
        .map_err(while_doing("writing a mail"))
}

/// Begins to send a mail, if nobody has.
///
/// # Errors
/// [`Error::Query`].
pub async fn claim(database: &impl ConnectionTrait, id: Uuid) -> Result<Claim, Error> {
    let claimed = change(id, MailState::Sending)
        .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1))
        .col_expr(Column::SendingSince, Expr::value(Utc::now()))
        .col_expr(
            Column::FinishedAt,
            Expr::value(Option::<DateTime<Utc>>::None),
        )
        .filter(Column::State.eq(MailState::Queued.as_str()))
        .exec(database)
        .await
        .map_err(while_doing("claiming a mail"))?;
    let Some(stored) = find(database, id).await? else {
        return Ok(Claim::Missing);
    };
    if claimed.rows_affected > 0 {
        return Ok(Claim::Yes(Box::new(stored.mail)));
    }
    if stored.state != MailState::Sending {
        return Ok(Claim::No(stored.state));
    }
    let why = "whoever sent it died meanwhile: it may have arrived";
    end(
        database,
        id,
        MailState::Uncertain,
        why,
        &[MailState::Sending],
    )
    .await?;
    Ok(Claim::No(MailState::Uncertain))
}

/// The server has taken it.
///
/// # Errors
/// [`Error::Query`].
pub async fn sent(database: &impl ConnectionTrait, id: Uuid, answer: &str) -> Result<(), Error> {
    // Who says so knows it, also of one that another has given up meanwhile.
    let from = [MailState::Sending, MailState::Uncertain];
    end(database, id, MailState::Sent, answer, &from).await
}

/// It will not be sent.
///
/// # Errors
/// [`Error::Query`].
pub async fn failed(database: &impl ConnectionTrait, id: Uuid, answer: &str) -> Result<(), Error> {
    end(
        database,
        id,
        MailState::Failed,
        answer,
        &[MailState::Sending],
    )
    .await
}

/// Nobody knows whether it was sent.
///
/// # Errors
/// [`Error::Query`].
pub async fn uncertain(
    database: &impl ConnectionTrait,
    id: Uuid,
    answer: &str,
) -> Result<(), Error> {
    end(
        database,
        id,
        MailState::Uncertain,
        answer,
        &[MailState::Sending],
    )
    .await
}

/// It was not sent, and is tried again.
///
/// # Errors
/// [`Error::Query`].
pub async fn later(database: &impl ConnectionTrait, id: Uuid, answer: &str) -> Result<(), Error> {
    change(id, MailState::Queued)
        .col_expr(Column::Answer, Expr::value(clean(answer)))
        .filter(Column::State.eq(MailState::Sending.as_str()))
        .exec(database)
        .await
        .map(drop)
        .map_err(while_doing("putting a mail back"))
}

/// Somebody decides that a mail which is uncertain, or has failed, is sent again, by a task of this id; that task is to be
/// written to the outbox in the same transaction. False: there is none in such a state.
///
/// # Errors
/// [`Error::Query`].
pub async fn again(
    transaction: &impl ConnectionTrait,
    id: Uuid,
    task_id: &str,
) -> Result<bool, Error> {
    let states = [MailState::Uncertain, MailState::Failed].map(MailState::as_str);
    let changed = change(id, MailState::Queued)
        .col_expr(Column::TaskId, Expr::value(task_id))
        .col_expr(
            Column::FinishedAt,
            Expr::value(Option::<DateTime<Utc>>::None),
        )
        .filter(Column::State.is_in(states))
        .exec(transaction)
        .await
        .map_err(while_doing("sending a mail again"))?;
    Ok(changed.rows_affected > 0)
}

/// One mail.
///
/// # Errors
/// [`Error::Query`], [`Error::Corrupt`].
pub async fn find(database: &impl ConnectionTrait, id: Uuid) -> Result<Option<StoredMail>, Error> {
    let row = Entity::find_by_id(id)
        .one(database)
        .await
        .map_err(while_doing("reading a mail"))?;
    row.map(StoredMail::try_from).transpose()
}

/// The newest mails from `offset` on, of these states or of all, up to a thousand.
///
/// # Errors
/// [`Error::Query`], [`Error::Corrupt`].
pub async fn list(
    database: &impl ConnectionTrait,
    states: &[MailState],
    offset: u64,
    most: u64,
) -> Result<Vec<StoredMail>, Error> {
    let mut wanted = Entity::find();
    if !states.is_empty() {
        let states = states.iter().map(|state| state.as_str());
        wanted = wanted.filter(Column::State.is_in(states));
    }
    let rows = wanted
        .order_by(Column::CreatedAt, Order::Desc)
        .order_by(Column::Id, Order::Desc)
        .offset(offset)
        .limit(Ord::min(most, MOST))
        .all(database)
        .await
        .map_err(while_doing("reading mails"))?;
    rows.into_iter().map(StoredMail::try_from).collect()
}

/// How many mails are in this state.
///
/// # Errors
/// [`Error::Query`].
pub async fn count(database: &impl ConnectionTrait, state: MailState) -> Result<u64, Error> {
    Entity::find()
        .filter(Column::State.eq(state.as_str()))
        .count(database)
        .await
        .map_err(while_doing("counting mails"))
}

/// When the last mail of a template was written.
///
/// # Errors
/// [`Error::Query`].
pub async fn last_of(
    database: &impl ConnectionTrait,
    template: &str,
) -> Result<Option<DateTime<Utc>>, Error> {
    let last: Option<Option<DateTime<Utc>>> = Entity::find()
        .select_only()
        .column_as(Column::CreatedAt.max(), "last")
        .filter(Column::Template.eq(template))
        .into_tuple()
        .one(database)
        .await
        .map_err(while_doing("looking for the last mail of a kind"))?;
    Ok(last.flatten())
}

fn change(id: Uuid, state: MailState) -> sea_orm::UpdateMany<Entity> {
    Entity::update_many()
        .col_expr(Column::State, Expr::value(state.as_str()))
        .col_expr(Column::Version, Expr::col(Column::Version).add(1))
        .filter(Column::Id.eq(id))
}

async fn end(
    database: &impl ConnectionTrait,
    id: Uuid,
    state: MailState,
    answer: &str,
    from: &[MailState],
) -> Result<(), Error> {
    let from = from.iter().map(|state| state.as_str());
    change(id, state)
        .col_expr(Column::Answer, Expr::value(clean(answer)))
        .col_expr(Column::FinishedAt, Expr::value(Utc::now()))
        .filter(Column::State.is_in(from))
        .exec(database)
        .await
        .map(drop)
        .map_err(while_doing("recording the end of a mail"))
}

/// What a server says may hold anything, and PostgreSQL's texts no NUL.
fn clean(answer: &str) -> String {
    answer.replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{
        Claim, MailState, NewMail, again, claim, count, failed, find, last_of, later, list, sent,
        uncertain, write,
    };
    use crate::{Database, testing::on_both};

    async fn new(database: &Database) -> NewMail {
        let mail = NewMail {
            id: Uuid::new_v4(),
            task_id: "t".to_owned(),
            template: "reset".to_owned(),
            language: "fr".to_owned(),
            recipient: "ada@example.org".to_owned(),
            subject: "Été".to_owned(),
            text: "bonjour".to_owned(),
            html: Some("<p>bonjour</p>".to_owned()),
        };
        write(database.writer(), mail.clone()).await.unwrap();
        mail
    }

    async fn state(database: &Database, id: Uuid) -> MailState {
        find(database.reader(), id).await.unwrap().unwrap().state
    }

    on_both! {
        async fn a_mail_is_claimed_once(database: Database) {
            let mail = new(&database).await;
            let writer = database.writer();
            let (one, other) = tokio::join!(claim(writer, mail.id), claim(writer, mail.id));
            let claims = [one.unwrap(), other.unwrap()];
            let yes = claims.iter().filter(|claim| matches!(claim, Claim::Yes(_))).count();
            assert_eq!(yes, 1, "{claims:?}");
            assert!(claims.contains(&Claim::Yes(Box::new(mail.clone()))));
            // The second has seen one that was being sent: for all it knows whoever did died.
            assert_eq!(state(&database, mail.id).await, MailState::Uncertain);
            // Who has sent it knows better.
            sent(writer, mail.id, "250 ok").await.unwrap();
            let stored = find(database.reader(), mail.id).await.unwrap().unwrap();
            assert_eq!((stored.state, stored.attempts), (MailState::Sent, 1));
            assert_eq!(stored.answer.as_deref(), Some("250 ok"));
            assert!(stored.finished_at.is_some());
            assert_eq!(claim(writer, mail.id).await.unwrap(), Claim::No(MailState::Sent));
            assert_eq!(claim(writer, Uuid::new_v4()).await.unwrap(), Claim::Missing);
        }

        async fn what_may_be_sent_again_is_sent_again_by_hand_alone(database: Database) {
            let writer = database.writer();
            let mail = new(&database).await;
            assert!(!again(writer, mail.id, "t2").await.unwrap(), "it waits");
            claim(writer, mail.id).await.unwrap();
            later(writer, mail.id, "451 later\0").await.unwrap();
            assert_eq!(state(&database, mail.id).await, MailState::Queued);
            claim(writer, mail.id).await.unwrap();
            uncertain(writer, mail.id, "the line went dead").await.unwrap();
            assert_eq!(claim(writer, mail.id).await.unwrap(), Claim::No(MailState::Uncertain));
            assert!(again(writer, mail.id, "t2").await.unwrap());
            assert!(matches!(claim(writer, mail.id).await.unwrap(), Claim::Yes(_)));
            failed(writer, mail.id, "550 no").await.unwrap();
            assert!(again(writer, mail.id, "t3").await.unwrap());
            let stored = find(database.reader(), mail.id).await.unwrap().unwrap();
            assert_eq!((stored.attempts, stored.mail.task_id.as_str()), (3, "t3"));
            claim(writer, mail.id).await.unwrap();
            sent(writer, mail.id, "250 ok").await.unwrap();
            assert!(!again(writer, mail.id, "t4").await.unwrap(), "it has arrived");
        }

        async fn mails_are_listed_by_state(database: Database) {
            assert_eq!(last_of(database.reader(), "reset").await.unwrap(), None);
            let (one, two) = (new(&database).await, new(&database).await);
            claim(database.writer(), one.id).await.unwrap();
            failed(database.writer(), one.id, "550 no").await.unwrap();
            let all = list(database.reader(), &[], 0, 10).await.unwrap();
            assert_eq!(all.len(), 2);
            let waiting = list(database.reader(), &[MailState::Queued], 0, 10).await.unwrap();
            assert_eq!(waiting.len(), 1);
            assert_eq!(waiting[0].mail, two);
            assert_eq!(count(database.reader(), MailState::Failed).await.unwrap(), 1);
            assert!(last_of(database.reader(), "reset").await.unwrap().is_some());
            assert_eq!(last_of(database.reader(), "welcome").await.unwrap(), None);
        }
    }
}

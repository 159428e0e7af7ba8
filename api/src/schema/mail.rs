//! Mails.

use chrono::{DateTime, Utc};
use lovage_database::store::mail::{MailState, StoredMail};
use poem_openapi::{Enum, Object};
use uuid::Uuid;

/// What is known of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(crate) enum MailFate {
    /// It waits for its task, for the first time or once more.
    Queued,
    /// It is being said to a server.
    Sending,
    /// The server has taken it.
    Sent,
    /// It will not be sent: the server refused it, or was away for too long.
    Failed,
    /// Whoever sent it died meanwhile, or the connection did: it may have arrived.
    Uncertain,
}

impl From<MailFate> for MailState {
    fn from(fate: MailFate) -> Self {
        match fate {
            MailFate::Queued => Self::Queued,
            MailFate::Sending => Self::Sending,
            MailFate::Sent => Self::Sent,
            MailFate::Failed => Self::Failed,
            MailFate::Uncertain => Self::Uncertain,
        }
    }
}

impl From<MailState> for MailFate {
    fn from(state: MailState) -> Self {
        match state {
            MailState::Queued => Self::Queued,
            MailState::Sending => Self::Sending,
            MailState::Sent => Self::Sent,
            MailState::Failed => Self::Failed,
            MailState::Uncertain => Self::Uncertain,
        }
    }
}

/// A mail.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
#[oai(rename = "Mail")]
pub(crate) struct MailShown {
    /// Its id; its `Message-ID` is made of it.
    pub(crate) id: Uuid,
    /// What is known of it.
    pub(crate) state: MailFate,
    /// Its template: `welcome`, `reset`, `password_changed`, `tasks_failed`.
    pub(crate) template: String,
    /// `en` or `fr`.
    pub(crate) language: String,
    /// Who gets it.
    pub(crate) recipient: String,
    /// Its subject.
    pub(crate) subject: String,
    /// The Celery id of the task that sends it.
    pub(crate) task_id: String,
    /// How often it was begun to be sent.
    pub(crate) attempts: i32,
    /// What the server said last, or why none was asked.
    pub(crate) answer: Option<String>,
    /// When it was written.
    pub(crate) created_at: DateTime<Utc>,
    /// When it was last begun to be sent.
    pub(crate) sending_since: Option<DateTime<Utc>>,
    /// When it was sent, or given up.
    pub(crate) finished_at: Option<DateTime<Utc>>,
}

impl From<StoredMail> for MailShown {
    fn from(stored: StoredMail) -> Self {
        let mail = stored.mail;
        Self {
            id: mail.id,
            state: stored.state.into(),
            template: mail.template,
            language: mail.language,
            recipient: mail.recipient,
            subject: mail.subject,
            task_id: mail.task_id,
            attempts: stored.attempts,
            answer: stored.answer,
            created_at: stored.created_at,
            sending_since: stored.sending_since,
            finished_at: stored.finished_at,
        }
    }
}

/// Mails, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub(crate) struct MailPage {
    /// This page's.
    pub(crate) mails: Vec<MailShown>,
    /// The `offset` of the next page; null on the last.
    pub(crate) next: Option<u64>,
}

/// A mail with what it says.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub(crate) struct MailWhole {
    /// The mail.
    pub(crate) mail: MailShown,
    /// Its text; null where it holds a link by which whoever reads it sets somebody's password.
    pub(crate) text: Option<String>,
}

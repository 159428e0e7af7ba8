//! `mail.send`: hands one mail to the server, at most once.
//!
//! The mail's row in the database is claimed first. A worker that dies after that leaves a row that nobody claims again: the mail
//! is `uncertain` then, and only a person has it sent once more.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use celery::error::TaskError;
use celery::task::TaskResult;
use lovage::State;
use lovage_database::{
    Database,
    store::mail::{self, Claim, MailState},
};
use lovage_mail::{Mail, Mailer, Verdict};
use lovage_protocol::{ExceptionInfo, Value};
use lovage_settings::{DatabaseSettings, Settings};
use lovage_worker::{Module, TaskOptions, context, signal};
use tokio::sync::OnceCell;
use uuid::Uuid;

/// A mail that a server would not take yet is tried so often again, within about a day.
const MAX_RETRIES: u32 = 28;
/// The longest pause in between.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
/// How often the end of a mail is tried to be recorded: what is not makes a mail that was sent uncertain.
const RECORD_TRIES: u32 = 8;

/// The module of mails. The database is opened with the first of them.
#[must_use]
pub fn mail() -> Module {
    let options = TaskOptions::new()
        .max_retries(Some(MAX_RETRIES))
        .retry_backoff(5)
        .retry_backoff_max(LONGEST_PAUSE);
    Module::new("mail")
        .task_with::<send>(options)
        .state_with(|settings: Arc<Settings>| async move { PostOffice::new(&settings) })
}

/// What sends mails.
struct PostOffice {
    mailer: Mailer,
    settings: DatabaseSettings,
    database: OnceCell<Database>,
}

impl PostOffice {
    fn new(settings: &Settings) -> anyhow::Result<Self> {
        let mailer = Mailer::new(&settings.mail, settings.environment);
        Ok(Self {
            mailer: mailer.context("mails cannot be sent with these settings")?,
            settings: settings.database.clone(),
            database: OnceCell::new(),
        })
    }

    async fn database(&self) -> Result<&Database, lovage_database::Error> {
        let open = || Database::connect(&self.settings, "mail");
        self.database.get_or_try_init(open).await
    }
}

/// Hands a mail to the mail server, at most once.
#[lovage::task(name = "mail.send")]
async fn send(
    /// The mail's id.
    id: Uuid,
    office: State<PostOffice>,
) -> TaskResult<String> {
    let database = office.database().await.map_err(away)?;
    let writer = database.writer();
    let claim = mail::claim(writer, id).await.map_err(away)?;
    let new = match claim {
        Claim::Yes(new) => new,
        Claim::No(MailState::Sent) => return Ok("sent before".to_owned()),
        Claim::No(MailState::Uncertain) => {
            let text =
                format!("the mail {id} may have arrived: only a person can have it sent again");
            return Err(signal::reject(text, false));
        }
        Claim::No(MailState::Failed) => {
            let text = format!("the mail {id} was given up: only a person can have it sent again");
            return Err(signal::reject(text, false));
        }
        // Somebody puts it back at this moment.
        Claim::No(_) => return Err(signal::retry(None)),
        _ => return Err(signal::reject(format!("there is no mail {id}"), false)),
    };
    let letter = Mail {
        id,
        recipient: new.recipient,
        subject: new.subject,
        text: new.text,
        html: new.html,
    };
    let verdict = match office.mailer.send(&letter).await {
        Ok(verdict) => verdict,
        Err(unwritable) => Verdict::Refused(unwritable.to_string()),
    };
    let last_try = context::current().is_some_and(|running| running.retries() >= MAX_RETRIES);
    match verdict {
        Verdict::Sent(answer) => {
            record(database, id, MailState::Sent, &answer).await?;
            Ok(answer)
        }
        Verdict::Later(why) if !last_try => {
            record(database, id, MailState::Queued, &why).await?;
            let cause = ExceptionInfo::new("smtplib", "SMTPException", vec![Value::Str(why)]);
            Err(signal::retry_because(cause, None))
        }
        Verdict::Later(why) | Verdict::Refused(why) => {
            record(database, id, MailState::Failed, &why).await?;
            let text = format!("the mail {id} is not sent: {why}");
            Err(signal::reject(text, false))
        }
        Verdict::Uncertain(why) => {
            record(database, id, MailState::Uncertain, &why).await?;
            let text = format!(
                "the mail {id} may have arrived ({why}): only a person can have it sent again"
            );
            Err(signal::reject(text, false))
        }
    }
}

/// Nothing was done yet: it is tried again.
fn away(error: lovage_database::Error) -> TaskError {
    let transient = error.is_transient();
    let text = format!("{:#}", anyhow::Error::from(error));
    if transient {
        let cause = ExceptionInfo::new("builtins", "ConnectionError", vec![Value::Str(text)]);
        return signal::retry_because(cause, None);
    }
    signal::raise("RuntimeError", text)
}

/// Records what became of a mail, for as long as it makes sense.
async fn record(
    database: &Database,
    id: Uuid,
    state: MailState,
    answer: &str,
) -> Result<(), TaskError> {
    let writer = database.writer();
    let mut pause = Duration::from_millis(100);
    let mut tries = 1;
    loop {
        let recorded = match state {
            MailState::Sent => mail::sent(writer, id, answer).await,
            MailState::Failed => mail::failed(writer, id, answer).await,
            MailState::Uncertain => mail::uncertain(writer, id, answer).await,
            MailState::Queued | MailState::Sending => mail::later(writer, id, answer).await,
        };
        match recorded {
            Ok(()) => return Ok(()),
            Err(error) if error.is_transient() && tries < RECORD_TRIES => {
                tokio::time::sleep(pause).await;
                pause *= 2;
                tries += 1;
            }
            Err(error) => return Err(away(error)),
        }
    }
}

//! Putting a mail into the post: its row and the task that sends it, in the caller's own transaction.

use lovage_database::{
    ConnectionTrait,
    store::{
        mail::{self, NewMail},
        outbox::{self, Outgoing},
    },
};
use lovage_protocol::TaskId;
use uuid::Uuid;

use crate::{Error, Language, Template, envelope::mailbox, render};

/// The task that hands a mail to the server; its argument is the mail's id.
pub const TASK: &str = "mail.send";

/// Writes a mail to somebody: it is sent once the transaction is committed, and never when it is rolled back.
///
/// # Errors
/// When the recipient is no address, or the database refuses.
pub async fn post(
    transaction: &impl ConnectionTrait,
    template: &Template,
    language: Language,
    recipient: &str,
) -> Result<Uuid, Error> {
    // Now, while somebody is there to hear of it.
    mailbox(recipient)?;
    let written = render(template, language)?;
    let id = Uuid::new_v4();
    let task = task(id);
    let new = NewMail {
        id,
        task_id: task.task_id.as_str().to_owned(),
        template: written.template.to_owned(),
        language: language.code().to_owned(),
        recipient: recipient.to_owned(),
        subject: written.subject,
        text: written.text,
        html: Some(written.html),
    };
    mail::write(transaction, new).await?;
    outbox::enqueue(transaction, task).await?;
    Ok(id)
}

/// Sends a mail again that is uncertain or has failed, because somebody says so. False: it is in no such state.
///
/// # Errors
/// When the database refuses.
pub async fn post_again(transaction: &impl ConnectionTrait, id: Uuid) -> Result<bool, Error> {
    let task = task(id);
    let again = mail::again(transaction, id, task.task_id.as_str()).await?;
    if again {
        outbox::enqueue(transaction, task).await?;
    }
    Ok(again)
}

fn task(mail: Uuid) -> Outgoing {
    let mut task = Outgoing::call(TaskId::new(), TASK.into());
    task.kwargs = format!("{{\"id\": \"{mail}\"}}");
    task
}

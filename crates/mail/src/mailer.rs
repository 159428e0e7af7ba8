//! The mail server, or the log in place of one.

use std::{fmt, time::SystemTime};

use lettre::message::Mailbox;
use lovage_settings::{Environment, MailSettings};
use tracing::info;

use crate::{Error, Mail, Verdict, connection::Server, envelope::mailbox};

/// Whom mails are from that are only printed.
const NOBODY: &str = "Lovage <lovage@localhost>";

/// Hands mails to a server. Cloning shares its connections.
#[derive(Clone)]
pub struct Mailer {
    sender: Mailbox,
    to: To,
}

#[derive(Clone)]
enum To {
    Server(Box<Server>),
    Log,
    Nobody,
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = match &self.to {
            To::Server(_) => "server",
            To::Log => "log",
            To::Nobody => "nobody",
        };
        f.debug_struct("Mailer")
            .field("sender", &self.sender)
            .field("to", &to)
            .finish()
    }
}

impl Mailer {
    /// Nothing is connected to before the first mail. Without a server mails are printed to the log, for development; in
    /// production they are refused, for they hold links that let one in.
    ///
    /// # Errors
    /// When the sender is no address, or the authorities to trust cannot be read.
    pub fn new(settings: &MailSettings, environment: Environment) -> Result<Self, Error> {
        let sender = mailbox(settings.sender.as_deref().unwrap_or(NOBODY))?;
        let to = match (&settings.server, environment) {
            (Some(host), _) => To::Server(Box::new(Server::new(settings, host)?)),
            (None, Environment::Development) => To::Log,
            (None, Environment::Production) => To::Nobody,
        };
        Ok(Self { sender, to })
    }

    /// Hands a mail over, once.
    ///
    /// # Errors
    /// When it cannot be put together: its recipient is no address, say. Nobody was asked then.
    ///
    /// # Cancel safety
    /// Not safe: whoever drops it does not know whether the mail was sent.
    pub async fn send(&self, mail: &Mail) -> Result<Verdict, Error> {
        let message = mail.message(&self.sender, SystemTime::now())?;
        Ok(match &self.to {
            To::Server(server) => server.send(&message).await,
            To::Log => {
                let (to, subject, text) = (&mail.recipient, &mail.subject, &mail.text);
                info!(
                    "a mail, printed because MAIL_SERVER is not set\nTo: {to}\nSubject: {subject}\n\n{text}"
                );
                Verdict::Sent("printed to the log".to_owned())
            }
            To::Nobody => Verdict::Refused(
                "MAIL_SERVER is not set, and in production mails are not printed".to_owned(),
            ),
        })
    }
}

//! Mails that tell of what happens to an account, written in the transaction in which it happens.

use chrono::{DateTime, Utc};
use lovage_database::{ConnectionTrait, store::account::Account};
use lovage_mail::{Error, Language, PasswordChanged, Reset, Template, Welcome};
use lovage_settings::Settings;

use super::{accounts::away, login::RESET_LIFE};
use crate::problem::Problem;

/// Writes mails to users.
#[derive(Debug, Clone)]
pub struct Post {
    language: Language,
    url: String,
}

impl Post {
    /// As the settings say: `LOVAGE_MAIL_LANGUAGE`, and links to `LOVAGE_API_URL`.
    pub fn new(settings: &Settings) -> Self {
        Self {
            // The settings know no other language than the mails.
            language: settings.mail.language.parse().unwrap_or_default(),
            url: settings.http.url(),
        }
    }

    pub(super) async fn welcome(
        &self,
        transaction: &impl ConnectionTrait,
        account: &Account,
    ) -> Result<(), Problem> {
        let welcome = Template::Welcome(Welcome {
            name: account.email.clone(),
            url: format!("{}/docs", self.url),
            email: account.email.clone(),
        });
        self.send(transaction, account, &welcome).await
    }

    pub(super) async fn reset(
        &self,
        transaction: &impl ConnectionTrait,
        account: &Account,
        token: &str,
    ) -> Result<(), Problem> {
        let reset = Template::Reset(Reset {
            name: account.email.clone(),
            // Behind the `#`, which no browser sends to a server, so that it is in nobody's log.
            url: format!("{}/password#{token}", self.url),
            minutes: u32::try_from(RESET_LIFE.as_secs() / 60).unwrap_or_default(),
        });
        self.send(transaction, account, &reset).await
    }

    pub(super) async fn password_changed(
        &self,
        transaction: &impl ConnectionTrait,
        account: &Account,
        at: DateTime<Utc>,
    ) -> Result<(), Problem> {
        let changed = Template::PasswordChanged(PasswordChanged {
            name: account.email.clone(),
            at,
            url: format!("{}/password", self.url),
        });
        self.send(transaction, account, &changed).await
    }

    async fn send(
        &self,
        transaction: &impl ConnectionTrait,
        account: &Account,
        template: &Template,
    ) -> Result<(), Problem> {
        let to = &account.email;
        match lovage_mail::post(transaction, template, self.language, to).await {
            Ok(_) => Ok(()),
            // What happens to the account does not depend on whether a mail can be written to it.
            Err(error @ Error::Address { .. }) => {
                tracing::warn!(
                    user = to,
                    error = &error as &dyn std::error::Error,
                    "no mail can be written to this user"
                );
                Ok(())
            }
            Err(error) => Err(unposted(error)),
        }
    }
}

/// A mail that could not be posted, as a client is told.
pub(crate) fn unposted(error: Error) -> Problem {
    match error {
        Error::Database(error) => away(error),
        other => Problem::internal(&other),
    }
}

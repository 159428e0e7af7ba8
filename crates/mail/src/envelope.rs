//! A mail as the lines that go over the wire.

use std::time::SystemTime;

use lettre::{
    Message,
    message::{Mailbox, MultiPart, header},
};
use uuid::Uuid;

use crate::Error;

/// A mail with somebody to go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Names it for ever: its `Message-ID` is made of it, by which a server or a reader tells that two are the same.
    pub id: Uuid,
    /// Who gets it.
    pub recipient: String,
    /// One line.
    pub subject: String,
    /// For whoever reads plain text.
    pub text: String,
    /// For everybody else.
    pub html: Option<String>,
}

impl Mail {
    /// Puts it together as a message from `sender`, written at this moment.
    pub(crate) fn message(&self, sender: &Mailbox, at: SystemTime) -> Result<Message, Error> {
        let recipient = mailbox(&self.recipient)?;
        let id = format!("<{}@{}>", self.id, sender.email.domain());
        let message = Message::builder()
            .message_id(Some(id))
            .date(at)
            .from(sender.clone())
            .to(recipient)
            .subject(self.subject.clone())
            // So that nobody's holiday answers it (RFC 3834).
            .header(AutoSubmitted);
        let message = match &self.html {
            Some(html) => message.multipart(MultiPart::alternative_plain_html(
                self.text.clone(),
                html.clone(),
            )),
            None => message
                .header(header::ContentType::TEXT_PLAIN)
                .body(self.text.clone()),
        };
        message.map_err(Error::Envelope)
    }
}

/// Reads `name@host`, or `A Name <name@host>`.
pub(crate) fn mailbox(text: &str) -> Result<Mailbox, Error> {
    text.parse().map_err(|source| Error::Address {
        address: text.to_owned(),
        source,
    })
}

#[derive(Debug, Clone)]
struct AutoSubmitted;

impl header::Header for AutoSubmitted {
    fn name() -> header::HeaderName {
        header::HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> header::HeaderValue {
        header::HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use uuid::Uuid;

    use super::{Mail, mailbox};

    fn mail(recipient: &str, subject: &str) -> Mail {
        Mail {
            id: Uuid::from_u128(7),
            recipient: recipient.to_owned(),
            subject: subject.to_owned(),
            text: "Bonjour é".to_owned(),
            html: Some("<p>Bonjour é</p>".to_owned()),
        }
    }

    #[test]
    fn the_same_mail_has_the_same_name_for_ever() {
        let sender = mailbox("Lovage <lovage@example.org>").unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let message = mail("ada@example.org", "Été").message(&sender, at).unwrap();
        let lines = String::from_utf8(message.formatted()).unwrap();
        for expected in [
            "Message-ID: <00000000-0000-0000-0000-000000000007@example.org>\r\n",
            "From: Lovage <lovage@example.org>\r\n",
            "To: ada@example.org\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "Content-Type: multipart/alternative;",
            "text/plain",
            "text/html",
        ] {
            assert!(lines.contains(expected), "{expected:?} in\n{lines}");
        }
    }

    #[test]
    fn a_subject_cannot_smuggle_a_header_in() {
        let sender = mailbox("a@example.org").unwrap();
        let message = mail("b@example.org", "x\r\nBcc: c@example.org")
            .message(&sender, SystemTime::now())
            .unwrap();
        let lines = String::from_utf8(message.formatted()).unwrap();
        assert!(!lines.contains("\r\nBcc:"), "{lines}");
    }

    #[test]
    fn an_address_that_is_none_is_named() {
        let sender = mailbox("a@example.org").unwrap();
        let wrong = mail("nobody", "x").message(&sender, SystemTime::now());
        assert!(wrong.unwrap_err().to_string().contains("\"nobody\""));
        assert!(mailbox("a b@example.org, c@example.org").is_err());
    }
}

//! Mails handed to a real mail server: what is said there, and what is known afterwards.

use std::time::Duration;

use lovage_integration_tests::{Authority, SmtpServer};
use lovage_mail::{Language, Mail, Mailer, Reset, Template, Verdict, render};
use lovage_settings::{Environment, MailEncryption, MailSettings, Secret};
use uuid::Uuid;

fn settings(server: &SmtpServer) -> MailSettings {
    MailSettings {
        server: Some("localhost".to_owned()),
        port: server.port(),
        sender: Some("Lovage <lovage@example.org>".to_owned()),
        timeout: Duration::from_secs(10),
        ..MailSettings::default()
    }
}

fn mailer(settings: &MailSettings) -> Mailer {
    Mailer::new(settings, Environment::Production).expect("the settings are good")
}

fn mail(recipient: &str) -> Mail {
    let reset = Template::Reset(Reset {
        name: "Ada".to_owned(),
        url: "https://lovage.example/reset?token=abc".to_owned(),
        minutes: 30,
    });
    let written = render(&reset, Language::French).expect("it can be written");
    Mail {
        id: Uuid::new_v4(),
        recipient: recipient.to_owned(),
        subject: written.subject,
        text: written.text,
        html: Some(written.html),
    }
}

async fn send(mailer: &Mailer, recipient: &str) -> Verdict {
    let sent = mailer.send(&mail(recipient)).await;
    sent.expect("it can be put together")
}

#[tokio::test]
async fn a_mail_arrives_as_it_was_written() {
    let server = SmtpServer::plain();
    let mailer = mailer(&settings(&server));
    let mail = mail("ada@example.org");
    let verdict = mailer.send(&mail).await.expect("it can be put together");
    assert_eq!(verdict, Verdict::Sent("250 taken as 42".to_owned()));
    let seen = server.next();
    assert_eq!(seen["from"], "lovage@example.org");
    assert_eq!(seen["to"][0], "ada@example.org");
    let data = seen["data"].as_str().expect("it has lines");
    let id = format!("Message-ID: <{}@example.org>", mail.id);
    for expected in [
        id.as_str(),
        "multipart/alternative",
        "Subject: Un nouveau mot de passe",
    ] {
        assert!(data.contains(expected), "{expected}\n{data}");
    }
    // The next goes over the same connection.
    send(&mailer, "bob@example.org").await;
    assert_eq!(server.next()["peer"], seen["peer"]);
}

#[tokio::test]
async fn the_answer_of_the_server_decides() {
    let server = SmtpServer::plain();
    let mailer = mailer(&settings(&server));
    let later = send(&mailer, "451@example.org").await;
    assert!(
        matches!(&later, Verdict::Later(text) if text.contains("451")),
        "{later:?}"
    );
    let refused = send(&mailer, "550@example.org").await;
    assert!(
        matches!(&refused, Verdict::Refused(text) if text.contains("550")),
        "{refused:?}"
    );
    let uncertain = send(&mailer, "gone@example.org").await;
    assert!(matches!(uncertain, Verdict::Uncertain(_)), "{uncertain:?}");
    // None of it is in the way of the next.
    let sent = send(&mailer, "ada@example.org").await;
    assert!(matches!(sent, Verdict::Sent(_)), "{sent:?}");
}

#[tokio::test]
async fn a_server_that_is_away_is_asked_again_later() {
    let server = SmtpServer::plain();
    let away = settings(&server);
    drop(server);
    let verdict = send(&mailer(&away), "ada@example.org").await;
    assert!(matches!(verdict, Verdict::Later(_)), "{verdict:?}");
}

#[tokio::test]
async fn connections_are_encrypted_and_the_account_is_known() {
    let authority = Authority::new();
    let (certificate, key) = (authority.path("server.pem"), authority.path("server.key"));
    for (how, encryption) in [
        ("starttls", MailEncryption::StartTls),
        ("tls", MailEncryption::Tls),
    ] {
        let server = SmtpServer::encrypted(how, &certificate, &key);
        let mut trusted = MailSettings {
            encryption,
            ca_file: Some(authority.path("authority.pem")),
            ..settings(&server)
        };
        if how == "starttls" {
            trusted.username = Some("app".to_owned());
            trusted.password = Some(Secret::new("sesame, open"));
        }
        let sent = send(&mailer(&trusted), "ada@example.org").await;
        assert!(matches!(sent, Verdict::Sent(_)), "{how}: {sent:?}");
        let seen = server.next();
        assert_eq!(seen["encrypted"], true, "{how}: {seen}");
        if how == "starttls" {
            assert_eq!(seen["user"], "app");
            // A wrong password is no fault of the mail.
            let wrong = MailSettings {
                password: Some(Secret::new("open, sesame")),
                ..trusted.clone()
            };
            let verdict = send(&mailer(&wrong), "ada@example.org").await;
            assert!(
                matches!(&verdict, Verdict::Later(text) if !text.contains("sesame")),
                "{verdict:?}"
            );
        }
        let stranger = MailSettings {
            ca_file: None,
            ..trusted
        };
        let verdict = send(&mailer(&stranger), "ada@example.org").await;
        assert!(matches!(verdict, Verdict::Later(_)), "{how}: {verdict:?}");
        assert_eq!(
            server.rest(),
            [] as [serde_json::Value; 0],
            "nothing went to a stranger"
        );
    }
}

#[tokio::test]
async fn a_server_without_encryption_is_not_spoken_to_when_it_is_asked_for() {
    let server = SmtpServer::plain();
    let asked = MailSettings {
        encryption: MailEncryption::StartTls,
        ..settings(&server)
    };
    let verdict = send(&mailer(&asked), "ada@example.org").await;
    assert!(matches!(verdict, Verdict::Later(_)), "{verdict:?}");
    assert!(server.rest().is_empty());
}

#[tokio::test]
async fn without_a_server_mails_are_printed_but_not_in_production() {
    let nowhere = MailSettings::default();
    let printed = Mailer::new(&nowhere, Environment::Development).expect("that is allowed");
    assert_eq!(
        send(&printed, "ada@example.org").await,
        Verdict::Sent("printed to the log".to_owned())
    );
    let refused = send(&mailer(&nowhere), "ada@example.org").await;
    assert!(matches!(refused, Verdict::Refused(_)), "{refused:?}");
}

//! Operators hear of tasks that failed for good now and then, and of each once.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use lovage_database::{
    Database,
    store::{
        lease::Lease,
        mail::{self, StoredMail},
        outbox,
        task_run::{Change, record},
    },
    testing::on_both,
};
use lovage_mail::{Error, tell_of_failures};
use lovage_protocol::{State, TaskId};
use lovage_settings::MailSettings;

fn operators() -> MailSettings {
    MailSettings {
        operators: vec!["a@example.org".to_owned(), "B <b@example.org>".to_owned()],
        language: "fr".to_owned(),
        ..MailSettings::default()
    }
}

async fn fail(database: &Database, id: &str, at: DateTime<Utc>) {
    let mut change = Change::new(TaskId::from(id), State::Failure, at);
    change.name = Some("app.t".to_owned());
    change.exception = Some("ValueError('boom')".to_owned());
    change.finished_at = Some(at);
    record(database, [change]).await.unwrap();
}

async fn tell(
    database: &Database,
    settings: &MailSettings,
    now: DateTime<Utc>,
) -> Result<u64, Error> {
    let lease = Lease::take(database, "digest", "me", Duration::from_secs(60))
        .await
        .unwrap();
    tell_of_failures(database, settings, &lease.unwrap(), now).await
}

async fn mails(database: &Database) -> Vec<StoredMail> {
    mail::list(database.reader(), &[], 0, 10).await.unwrap()
}

on_both! {
    async fn one_mail_tells_of_all_that_failed_since_the_last(database: Database) {
        let settings = operators();
        let now = Utc::now();
        assert_eq!(tell(&database, &settings, now).await.unwrap(), 0);
        assert!(mails(&database).await.is_empty(), "nothing failed");
        for number in 0..25 {
            fail(&database, &format!("t{number}"), now - TimeDelta::minutes(5)).await;
        }
        assert_eq!(tell(&database, &settings, now).await.unwrap(), 25);
        let posted = mails(&database).await;
        let mut recipients: Vec<&str> = posted.iter().map(|one| one.mail.recipient.as_str()).collect();
        recipients.sort_unstable();
        assert_eq!(recipients, ["B <b@example.org>", "a@example.org"]);
        let text = &posted[0].mail.text;
        assert!(text.contains("ValueError('boom')") && text.contains("5 autres"), "{text}");
        let tasks = outbox::next(database.reader(), 10).await.unwrap();
        assert_eq!(tasks.len(), 2);
        assert_eq!(tasks[0].outgoing.task.as_str(), "mail.send");

        // Not of each at once …
        fail(&database, "late", Utc::now() + TimeDelta::minutes(1)).await;
        let soon = Utc::now() + TimeDelta::minutes(30);
        assert_eq!(tell(&database, &settings, soon).await.unwrap(), 0);
        // … but of all in the end, and of nothing twice.
        let later = Utc::now() + TimeDelta::minutes(90);
        assert_eq!(tell(&database, &settings, later).await.unwrap(), 1);
        assert_eq!(mails(&database).await.len(), 4);
    }

    async fn without_operators_nobody_is_told(database: Database) {
        fail(&database, "t", Utc::now()).await;
        let nobody = MailSettings::default();
        let now = Utc::now() + TimeDelta::minutes(1);
        assert_eq!(tell(&database, &nobody, now).await.unwrap(), 0);
        assert!(mails(&database).await.is_empty());
    }

    async fn who_has_lost_the_lease_tells_nobody(database: Database) {
        let now = Utc::now();
        fail(&database, "t", now - TimeDelta::minutes(5)).await;
        let lease = Lease::take(&database, "digest", "stopped for long", Duration::ZERO).await.unwrap().unwrap();
        let taken = Lease::take(&database, "digest", "another", Duration::from_secs(60)).await.unwrap();
        assert!(taken.is_some());
        let told = tell_of_failures(&database, &operators(), &lease, now).await;
        assert!(matches!(told, Err(Error::Database(_))), "{told:?}");
        assert!(mails(&database).await.is_empty());
    }
}

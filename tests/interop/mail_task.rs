//! `mail.send`, from the transaction that posts a mail to the server that takes it: at most once.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]

use std::{sync::Arc, time::Duration};

use lovage_broker::RedisBroker;
use lovage_client::{ClientOptions, Composer};
use lovage_database::{
    store::{
        mail::{self, MailState, StoredMail},
        task_run,
    },
    testing::{TestDatabase, on_both},
};
use lovage_integration_tests::{
    DeadLetter, KeeperProcess, LovageWorker, LovageWorkerBuilder, RedisServer, SmtpServer,
    TaskMessage, client_at, dead_letters,
};
use lovage_keeper::outbox::{Parts, relay_now};
use lovage_mail::{Language, Reset, Template, post, post_again};
use lovage_protocol::{State, TaskId};
use lovage_settings::Settings;
use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);

struct Stage<'a> {
    test: &'a TestDatabase,
    redis: RedisServer,
    server: SmtpServer,
}

impl<'a> Stage<'a> {
    fn new(test: &'a TestDatabase) -> Self {
        Self {
            test,
            redis: RedisServer::start(),
            server: SmtpServer::plain(),
        }
    }

    fn worker(&self) -> LovageWorkerBuilder {
        LovageWorker::at(&self.redis.url(), &self.redis.url())
            .variable("DATABASE_URL", &self.test.url())
            .variable("MAIL_SERVER", "localhost")
            .variable("MAIL_PORT", &self.server.port().to_string())
            .variable("MAIL_DEFAULT_SENDER", "Lovage <lovage@example.org>")
            .variable("LOVAGE_LEASE", "1s")
    }

    /// Posts a mail and sends its task as a keeper does; gives the ids of both.
    async fn post(&self, recipient: &str) -> (Uuid, String) {
        let transaction = self.test.database.begin().await.unwrap();
        let reset = Template::Reset(Reset {
            name: "Ada".to_owned(),
            url: "https://lovage.example/reset".to_owned(),
            minutes: 30,
        });
        let id = post(&transaction, &reset, Language::English, recipient).await;
        transaction.commit().await.unwrap();
        let id = id.unwrap();
        assert_eq!(self.relay().await, 1);
        let task = self.stored(id).await.mail.task_id;
        (id, task)
    }

    async fn relay(&self) -> u64 {
        let pairs = [("CELERY_BROKER_URL".to_owned(), self.redis.url())];
        let (settings, _) = Settings::from_lookup(pairs).unwrap();
        let broker = RedisBroker::connect(&settings.broker).await.unwrap();
        let composer = Composer::new(ClientOptions::from(&settings));
        let database = self.test.database.clone();
        let parts = Parts::new(database, Arc::new(broker), composer, "test".to_owned());
        relay_now(&parts).await.unwrap().unwrap()
    }

    async fn stored(&self, id: Uuid) -> StoredMail {
        let stored = mail::find(self.test.database.reader(), id).await.unwrap();
        stored.unwrap()
    }

    /// Waits for the end of a task; gives its state.
    async fn end(&self, task: &str) -> String {
        let client = client_at(&self.redis.url(), &self.redis.url())
            .await
            .unwrap();
        let meta = client.handle::<String>(task).wait(PATIENCE).await.unwrap();
        meta.status.as_str().to_owned()
    }

    fn dead_letter(&self) -> DeadLetter {
        let mut letters = dead_letters(&self.redis);
        assert_eq!(letters.len(), 1);
        letters.remove(0)
    }
}

on_both! {
    async fn a_mail_that_was_committed_is_sent_once(test: TestDatabase) {
        let stage = Stage::new(test);
        let _worker = stage.worker().start();
        let transaction = test.database.begin().await.unwrap();
        let lost = Template::Reset(Reset { name: "x".to_owned(), url: "x".to_owned(), minutes: 1 });
        post(&transaction, &lost, Language::French, "lost@example.org").await.unwrap();
        transaction.rollback().await.unwrap();
        let (id, task) = stage.post("ada@example.org").await;
        assert_eq!(stage.server.next()["to"][0], "ada@example.org");
        assert_eq!(stage.end(&task).await, "SUCCESS");
        let stored = stage.stored(id).await;
        assert_eq!((stored.state, stored.attempts), (MailState::Sent, 1));
        assert_eq!(stored.answer.as_deref(), Some("250 taken as 42"));
        // The same task once more, as after a redelivery.
        let client = client_at(&stage.redis.url(), &stage.redis.url()).await.unwrap();
        let again = client.send_task("mail.send").args((id.to_string(),)).returning::<String>();
        let again = again.await.unwrap().get(PATIENCE).await.unwrap();
        assert_eq!(again, "sent before");
        assert!(stage.server.rest().is_empty());
    }

    async fn a_mail_that_is_refused_for_now_is_tried_again(test: TestDatabase) {
        let stage = Stage::new(test);
        let _worker = stage.worker().start();
        let (id, task) = stage.post("once-451@example.org").await;
        assert_eq!(stage.server.next()["refused"], "once-451@example.org");
        assert_eq!(stage.server.next()["to"][0], "once-451@example.org");
        assert_eq!(stage.end(&task).await, "SUCCESS");
        let stored = stage.stored(id).await;
        assert_eq!((stored.state, stored.attempts), (MailState::Sent, 2));
    }

    async fn a_mail_that_is_refused_for_good_is_a_dead_letter(test: TestDatabase) {
        let stage = Stage::new(test);
        let _worker = stage.worker().start();
        let (id, task) = stage.post("550@example.org").await;
        assert_eq!(stage.end(&task).await, "FAILURE");
        let stored = stage.stored(id).await;
        assert_eq!(stored.state, MailState::Failed);
        assert!(stored.answer.unwrap().contains("550"));
        let letter = stage.dead_letter();
        assert_eq!(letter.code, "rejected");
    }

    async fn a_mail_that_may_have_arrived_is_sent_again_by_hand_alone(test: TestDatabase) {
        let stage = Stage::new(test);
        let _worker = stage.worker().start();
        let (id, task) = stage.post("once-gone@example.org").await;
        assert_eq!(stage.end(&task).await, "FAILURE");
        assert_eq!(stage.server.next()["dropped"], "once-gone@example.org");
        assert_eq!(stage.stored(id).await.state, MailState::Uncertain);
        assert_eq!(stage.dead_letter().code, "rejected");
        let transaction = test.database.begin().await.unwrap();
        assert!(post_again(&transaction, id).await.unwrap());
        transaction.commit().await.unwrap();
        assert_eq!(stage.relay().await, 1);
        assert_eq!(stage.server.next()["to"][0], "once-gone@example.org");
        let stored = stage.stored(id).await;
        assert_eq!(stage.end(&stored.mail.task_id).await, "SUCCESS");
        assert_eq!(stage.stored(id).await.state, MailState::Sent);
    }

    async fn a_worker_that_dies_while_it_sends_leaves_an_uncertain_mail(test: TestDatabase) {
        let stage = Stage::new(test);
        let mut first = stage.worker().start();
        let (id, task) = stage.post("hang@example.org").await;
        assert_eq!(stage.server.next()["hangs"], "hang@example.org");
        assert_eq!(stage.stored(id).await.state, MailState::Sending);
        first.kill();
        let _second = stage.worker().hostname("second@%h").start();
        assert_eq!(stage.end(&task).await, "FAILURE");
        assert_eq!(stage.stored(id).await.state, MailState::Uncertain);
        assert!(stage.server.rest().is_empty(), "it was not said again");
    }

    async fn operators_are_told_of_what_failed_for_good(test: TestDatabase) {
        let stage = Stage::new(test);
        let (broker, database) = (stage.redis.url(), test.url());
        let _worker = stage.worker().start();
        let mut keeper = KeeperProcess::start(&broker, &database);
        let failed = TaskMessage::new("demo.fail", &json!(["no luck"]), &json!({}));
        stage.redis.publish("celery", &failed);
        let (reader, id) = (test.database.reader(), TaskId::from(failed.id.as_str()));
        let known = async {
            while task_run::find(reader, &id).await.unwrap().is_none_or(|run| run.state != State::Failure) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, known).await.expect("the failure is a row");
        // Nobody was to be told.
        keeper.stop();
        assert!(stage.server.rest().is_empty());
        let told = [("LOVAGE_MAIL_OPERATORS", "ada@example.org, Bob <bob@example.org>")];
        let mut keeper = KeeperProcess::with(&broker, &database, &told);
        let mails = [stage.server.next(), stage.server.next()];
        let mut recipients = mails.each_ref().map(|mail| mail["to"][0].as_str().unwrap().to_owned());
        recipients.sort();
        assert_eq!(recipients, ["ada@example.org", "bob@example.org"]);
        for mail in &mails {
            let data = mail["data"].as_str().unwrap();
            assert!(data.contains("demo.fail") && data.contains(&failed.id), "{data}");
        }
        keeper.stop();
        // Not again within the hour, whoever keeps.
        let mut keeper = KeeperProcess::with(&broker, &database, &told);
        keeper.process().wait_for("keeper:digest", PATIENCE);
        keeper.stop();
        assert!(stage.server.rest().is_empty());
    }
}

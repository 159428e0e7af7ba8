//! One suite for every place where schedules are kept: the broker in memory, Redis, SQLite and PostgreSQL.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails where what it stands on is not there"
)]

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use lovage_beat::{
    BrokerStore, DatabaseStore, Defaults, Draft, Kind, Progress, WithUnit, added, agree, changed,
    set_paused,
    store::{self, Cause, Save, Source, Store, Stored, Tick, TickRecord, Ticked, Wanted},
    task_id,
};
use lovage_broker::{
    Broker, MemoryBroker, RedisBroker, redis_server::RedisServer, timetable::Candidate,
};
use lovage_client::{Client, ClientOptions};
use lovage_database::{Kind as DatabaseKind, store::outbox, testing::TestDatabase};
use lovage_protocol::{Clock, QueueName};
use lovage_results::MemoryStore;
use lovage_settings::ResultSettings;
use uuid::Uuid;

const LONG: Duration = Duration::from_secs(60);

/// A place, and how many messages are on their way from it.
struct Form {
    store: Arc<dyn Store>,
    client: Client,
    place: Place,
}

enum Place {
    Broker(Arc<dyn Broker>, Option<RedisServer>),
    Database(Box<TestDatabase>),
}

fn client() -> Client {
    let broker = MemoryBroker::new();
    let results = MemoryStore::new(&ResultSettings::default(), &broker).unwrap();
    let options = ClientOptions {
        clock: Clock::read_by(|| at(1000)),
        ..ClientOptions::default()
    };
    Client::new(Arc::new(broker), Arc::new(results), options)
}

impl Form {
    fn memory() -> Self {
        let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new());
        Self {
            store: Arc::new(BrokerStore::new(Arc::clone(&broker))),
            client: client(),
            place: Place::Broker(broker, None),
        }
    }

    async fn redis() -> Self {
        let server = RedisServer::start().unwrap();
        let broker = RedisBroker::connect(&server.settings()).await.unwrap();
        let broker: Arc<dyn Broker> = Arc::new(broker);
        Self {
            store: Arc::new(BrokerStore::new(Arc::clone(&broker))),
            client: client(),
            place: Place::Broker(broker, Some(server)),
        }
    }

    async fn database(kind: DatabaseKind) -> Self {
        let test = TestDatabase::new(kind).await;
        Self {
            store: Arc::new(DatabaseStore::new(test.database.clone(), LONG)),
            client: client(),
            place: Place::Database(Box::new(test)),
        }
    }

    async fn sent(&self) -> u64 {
        match &self.place {
            Place::Broker(broker, _) => {
                let queue = QueueName::parse("ticks").unwrap();
                broker.depth(&[queue]).await.unwrap()[0]
            }
            Place::Database(test) => outbox::depth(test.database.reader()).await.unwrap().waiting,
        }
    }

    async fn end(self) {
        drop(self.store);
        match self.place {
            Place::Broker(broker, server) => drop((broker, server)),
            Place::Database(test) => test.end().await,
        }
    }

    async fn add(&self, name: &str) -> Stored {
        let save = added(Source::Database, draft(name), &Defaults::default(), at(0)).unwrap();
        self.store.save(&save).await.unwrap().unwrap();
        self.stored(name).await
    }

    async fn stored(&self, name: &str) -> Stored {
        self.store.stored(name).await.unwrap().unwrap()
    }

    async fn lead(&self, owner: &str, lease: Duration) -> Option<u64> {
        let candidate = Candidate {
            owner: owner.to_owned(),
            about: format!("{owner}@test"),
            lease,
        };
        self.store.lead(&candidate).await.unwrap().fence
    }

    /// The tick of the minute after where the schedule stands.
    fn tick(&self, stored: &Stored) -> Tick {
        let definition = &stored.definition;
        let due = stored.progress.decided + TimeDelta::minutes(1);
        let id = task_id(definition.id, due);
        let message = lovage_beat::prepare(&self.client, &definition.draft, id, due).unwrap();
        Tick {
            name: definition.draft.name.clone(),
            id: definition.id,
            task: definition.draft.task.clone(),
            version: stored.version,
            before: stored.progress,
            after: Progress {
                decided: due,
                last_run: Some(due),
                runs: stored.progress.runs + 1,
                gapless: stored.progress.gapless,
            },
            messages: vec![message],
            records: vec![record(due, id, Cause::Due)],
        }
    }

    async fn send(&self, owner: &str, fence: u64, ticks: &[Tick]) -> Option<Vec<Ticked>> {
        self.store.tick(owner, fence, ticks).await.unwrap()
    }
}

fn record(due: DateTime<Utc>, task_id: Uuid, cause: Cause) -> TickRecord {
    TickRecord {
        due,
        sent: due,
        task_id,
        cause,
        left_out: 0,
    }
}

fn at(minute: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000 + minute * 60, 123_456_000).unwrap()
}

fn draft(name: &str) -> Draft {
    let mut draft = Draft::new(name, "t.add");
    draft.every = Some(WithUnit(Duration::from_secs(60)));
    draft.queue = Some("ticks".to_owned());
    draft.args = vec![serde_json::json!("a\u{0}\u{e9}"), serde_json::json!(1.5)];
    draft.timezone = Some("Europe/Zurich".to_owned());
    draft.unchecked = true;
    draft
}

macro_rules! on_every_form {
    ($(async fn $name:ident($form:ident: Form) $body:block)+) => {$(
        async fn $name($form: &Form) $body

        mod $name {
            use super::{DatabaseKind, Form};

            async fn on(form: Form) {
                super::$name(&form).await;
                form.end().await;
            }

            #[tokio::test]
            async fn memory() {
                on(Form::memory()).await;
            }

            #[tokio::test]
            async fn redis() {
                on(Form::redis().await).await;
            }

            #[tokio::test]
            async fn sqlite() {
                on(Form::database(DatabaseKind::Sqlite).await).await;
            }

            #[tokio::test]
            async fn postgres() {
                on(Form::database(DatabaseKind::Postgres).await).await;
            }
        }
    )+};
}

mod past;

on_every_form! {
    async fn a_schedule_is_kept_as_it_was_written_down(form: Form) {
        let save = added(Source::Import, draft("x"), &Defaults::default(), at(0)).unwrap();
        let version = form.store.save(&save).await.unwrap().unwrap();
        let kept = form.stored("x").await;
        assert_eq!((&kept.definition, kept.version), (&save.definition, version));
        // Where each tick is a row, the schedule itself need not say since when there is one for each run.
        let told = Progress { gapless: save.progress.unwrap().gapless, ..kept.progress };
        assert_eq!(Some(told), save.progress);
        assert_eq!(form.store.save(&save).await.unwrap(), Some(version), "asked again after a lost answer");
        let mut other = save.clone();
        other.definition.id = Uuid::new_v4();
        assert_eq!(form.store.save(&other).await.unwrap(), None, "the name is taken");
        let mut late = save.clone();
        late.definition.paused = true;
        late.version = Some(version + 7);
        assert_eq!(form.store.save(&late).await.unwrap(), None, "somebody else changed it");
        assert_eq!(form.store.stored("y").await.unwrap(), None);
        let nobody = Save { version: Some(version), definition: { let mut it = save.definition.clone(); it.draft.name = "y".to_owned(); it }, progress: None };
        assert_eq!(form.store.save(&nobody).await.unwrap(), None, "there is none to change");
    }

    async fn changes_are_told_in_their_order_and_in_portions(form: Form) {
        // More than one portion.
        for number in 0..520 {
            form.add(&format!("s{number:03}")).await;
        }
        let first = form.store.news(0).await.unwrap();
        assert!(first.more);
        let rest = form.store.news(first.edition).await.unwrap();
        assert!(!rest.more);
        assert_eq!(first.changed.len() + rest.changed.len(), 520);
        assert_eq!(first.changed[0].definition.draft.name, "s000");
        assert_eq!(store::all(&*form.store).await.unwrap().len(), 520);
        let candidate = Candidate { owner: "a".to_owned(), about: String::new(), lease: LONG };
        assert_eq!(form.store.lead(&candidate).await.unwrap().edition, rest.edition);
        let mut other = draft("s001");
        other.priority = Some(3);
        let save = changed(&form.stored("s001").await, other, &Defaults::default(), at(1)).unwrap();
        form.store.save(&save).await.unwrap().unwrap();
        assert!(form.store.remove("s002").await.unwrap());
        assert!(!form.store.remove("s002").await.unwrap());
        let news = form.store.news(rest.edition).await.unwrap();
        let names: Vec<&str> = news.changed.iter().map(|one| one.definition.draft.name.as_str()).collect();
        assert_eq!((names, &news.removed[..]), (vec!["s001"], &["s002".to_owned()][..]));
        assert_eq!(form.store.lead(&candidate).await.unwrap().edition, news.edition);
        // A name may come back.
        form.add("s002").await;
        let back = form.store.news(news.edition).await.unwrap();
        assert_eq!((back.changed.len(), back.removed.len()), (1, 0));
    }

    async fn what_is_saved_as_it_was_has_no_new_version(form: Form) {
        let kept = form.add("x").await;
        let draft = kept.definition.draft.clone();
        let save = changed(&kept, draft, &Defaults::default(), at(5)).unwrap();
        assert_eq!(form.store.save(&save).await.unwrap(), Some(kept.version));
        assert_eq!(form.stored("x").await, kept);
        let news = form.store.news(kept.version).await.unwrap();
        assert!(news.changed.is_empty(), "nobody has to learn of it");
        // The same with another progress is a change.
        let moved = Save {
            progress: Some(Progress { decided: at(7), ..kept.progress }),
            ..save
        };
        let version = form.store.save(&moved).await.unwrap().unwrap();
        assert!(version > kept.version);
        assert_eq!(form.stored("x").await.progress.decided, at(7));
    }

    async fn schedules_are_found_by_what_they_are(form: Form) {
        for name in ["a", "b%", "c"] {
            form.add(name).await;
        }
        let mut other = draft("Other");
        (other.task, other.every) = ("t.mul".to_owned(), None);
        other.crontab = Some("* * * * *".to_owned());
        other.enabled = false;
        let save = added(Source::Import, other, &Defaults::default(), at(0)).unwrap();
        form.store.save(&save).await.unwrap().unwrap();
        let check = async |wanted: Wanted, expected: &[&str]| {
            let found = form.store.page(&Wanted { most: wanted.most.max(2), ..wanted.clone() }).await.unwrap();
            let names: Vec<&str> = found.iter().map(|one| one.definition.draft.name.as_str()).collect();
            assert_eq!(names, expected, "{wanted:?}");
        };
        let lowercase = || Wanted { tasks: vec!["t.add".to_owned()], ..Wanted::default() };
        check(lowercase(), &["a", "b%"]).await;
        check(Wanted { after: Some("b%".to_owned()), ..lowercase() }, &["c"]).await;
        check(Wanted { sources: vec![Source::Import, Source::File], ..Wanted::default() }, &["Other"]).await;
        check(Wanted { kinds: vec![Kind::Crontab], ..Wanted::default() }, &["Other"]).await;
        check(Wanted { runs: Some(false), ..Wanted::default() }, &["Other"]).await;
        check(Wanted { text: Some("%".to_owned()), ..Wanted::default() }, &["b%"]).await;
        check(Wanted { text: Some("OTHER".to_owned()), ..Wanted::default() }, &["Other"]).await;
        check(Wanted { text: Some("t.mul".to_owned()), most: 9, ..Wanted::default() }, &["Other"]).await;
    }

    async fn one_leads_until_it_steps_down_or_falls_silent(form: Form) {
        assert_eq!(form.store.leader().await.unwrap(), None);
        let first = form.lead("a", LONG).await.unwrap();
        assert_eq!(form.lead("a", LONG).await, Some(first));
        assert_eq!(form.lead("b", LONG).await, None);
        assert_eq!(form.store.leader().await.unwrap().unwrap().about, "a@test");
        form.store.step_down("b").await.unwrap();
        assert_eq!(form.lead("b", LONG).await, None, "b had nothing to give up");
        form.store.step_down("a").await.unwrap();
        let second = form.lead("b", Duration::from_millis(300)).await.unwrap();
        assert!(second > first);
        let third = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                if let Some(fence) = form.lead("c", LONG).await {
                    break fence;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(third.await.expect("b's lease ends") > second);
    }

    async fn a_tick_and_its_message_are_one_step(form: Form) {
        let fence = form.lead("a", LONG).await.unwrap();
        let first = form.tick(&form.add("x").await);
        assert_eq!(form.send("a", fence, std::slice::from_ref(&first)).await, Some(vec![Ticked::Done]));
        // Asked again after a lost answer.
        assert_eq!(form.send("a", fence, std::slice::from_ref(&first)).await, Some(vec![Ticked::Done]));
        assert_eq!(form.sent().await, 1);
        let kept = form.stored("x").await;
        assert_eq!(kept.progress, first.after);
        assert_eq!(kept.version, first.version, "a tick is no change");
        let other = form.tick(&form.add("y").await);
        let mut outdated = first.clone();
        outdated.after.decided = at(9);
        let second = form.tick(&kept);
        assert_eq!(
            form.send("a", fence, &[second.clone(), other]).await,
            Some(vec![Ticked::Done, Ticked::Done])
        );
        assert_eq!(form.send("a", fence, &[outdated]).await, Some(vec![Ticked::Changed]));
        assert_eq!(form.sent().await, 3);
        let by_hand = record(at(30), Uuid::new_v4(), Cause::Now);
        form.store.remember("x", std::slice::from_ref(&by_hand)).await.unwrap();
        let history = form.store.history("x", None, 10).await.unwrap();
        assert_eq!(history, [by_hand, second.records[0].clone(), first.records[0].clone()]);
        assert_eq!(form.store.history("x", None, 1).await.unwrap().len(), 1);
        // A schedule that was changed meanwhile is asked for anew, and goes on where it stood.
        let third = form.tick(&form.stored("x").await);
        let mut other = draft("x");
        other.priority = Some(3);
        let save = changed(&form.stored("x").await, other, &Defaults::default(), at(5)).unwrap();
        form.store.save(&save).await.unwrap().unwrap();
        assert_eq!(form.send("a", fence, std::slice::from_ref(&third)).await, Some(vec![Ticked::Changed]));
        let third = form.tick(&form.stored("x").await);
        assert_eq!(form.send("a", fence, &[third]).await, Some(vec![Ticked::Done]));
        assert_eq!(form.sent().await, 4);
        // What is gone is not sent.
        let gone = form.tick(&form.stored("y").await);
        form.store.remove("y").await.unwrap();
        assert_eq!(form.send("a", fence, &[gone]).await, Some(vec![Ticked::Changed]));
        assert_eq!(form.store.history("y", None, 10).await.unwrap(), []);
    }

    async fn who_leads_no_more_sends_nothing(form: Form) {
        let first = [form.tick(&form.add("x").await)];
        let old = form.lead("a", LONG).await.unwrap();
        form.store.step_down("a").await.unwrap();
        let new = form.lead("b", LONG).await.unwrap();
        assert_eq!(form.send("a", old, &first).await, None);
        assert_eq!(form.sent().await, 0);
        assert_eq!(form.send("b", new, &first).await, Some(vec![Ticked::Done]));
        assert_eq!(form.sent().await, 1);
    }

    async fn declarations_are_followed_and_pauses_stay(form: Form) {
        let defaults = Defaults::default();
        let drafts = [draft("x"), draft("y")];
        let agreed = agree(&*form.store, Source::File, &drafts, &defaults, at(0)).await.unwrap();
        assert_eq!((agreed.added, agreed.changed, agreed.removed), (2, 0, 0));
        assert!(set_paused(&*form.store, "x", true, &defaults, at(1)).await.unwrap());
        assert!(!set_paused(&*form.store, "x", true, &defaults, at(1)).await.unwrap());
        let agreed = agree(&*form.store, Source::File, &drafts[..1], &defaults, at(2)).await.unwrap();
        assert_eq!((agreed.added, agreed.changed, agreed.removed), (0, 0, 1));
        assert!(form.stored("x").await.definition.paused);
    }
}

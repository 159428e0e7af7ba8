//! Where schedules are kept, and what is done with them there in one step. Two forms: a database, or the broker alone.

mod at_broker;
mod in_database;
mod sent;

use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use lovage_broker::timetable::{Candidate, Leadership};
use lovage_client::{Client, Prepared};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    check::Defaults,
    draft::{Draft, Kind},
    due::Progress,
};

pub use at_broker::BrokerStore;
pub use in_database::{DatabaseStore, LEASE};
pub use lovage_broker::timetable::Ticked;

/// Who declared a schedule, and so who may change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Source {
    /// Made by hand: the command line, the API.
    Database,
    /// Declared in `schedule.toml`; follows that file.
    File,
    /// Declared beside its task; follows the program.
    Code,
    /// Taken over from another scheduler; from then on as if made by hand.
    Import,
    /// The platform's own; follows its version and its settings.
    Builtin,
}

impl Source {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::File => "file",
            Self::Code => "code",
            Self::Import => "import",
            Self::Builtin => "builtin",
        }
    }

    /// Whether it follows a declaration, and is not to be changed elsewhere.
    pub fn is_declared(self) -> bool {
        matches!(self, Self::File | Self::Code | Self::Builtin)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a schedule is, as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// Its id, of which the ids of its tasks are made.
    pub id: Uuid,
    /// Who declared it.
    pub source: Source,
    /// Somebody has paused it.
    #[serde(default)]
    pub paused: bool,
    /// What was written down.
    pub draft: Draft,
}

impl Definition {
    /// Whether it runs.
    pub fn runs(&self) -> bool {
        self.draft.enabled && !self.paused
    }
}

/// A schedule that is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// What it is.
    pub definition: Definition,
    /// Which version of it.
    pub version: u64,
    /// What has become of it.
    pub progress: Progress,
}

/// A change of a schedule.
#[derive(Debug, Clone)]
pub struct Save {
    /// What it is from now on.
    pub definition: Definition,
    /// The version that is changed; `None`: there is none yet.
    pub version: Option<u64>,
    /// What has become of it; `None`: as before.
    pub progress: Option<Progress>,
}

/// What has changed since an edition.
#[derive(Debug, Default)]
pub struct News {
    /// Everything up to this edition is told.
    pub edition: u64,
    /// New and changed schedules.
    pub changed: Vec<Stored>,
    /// Names of schedules that are no more.
    pub removed: Vec<String>,
    /// There is more to ask for.
    pub more: bool,
}

/// Which schedules, a page of them by name. Everything given must hold; of a list, one of it.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Their tasks.
    pub tasks: Vec<String>,
    /// Who declared them.
    pub sources: Vec<Source>,
    /// What says when they run.
    pub kinds: Vec<Kind>,
    /// Whether they run.
    pub runs: Option<bool>,
    /// A part of name or task.
    pub text: Option<String>,
    /// Those after this name.
    pub after: Option<String>,
    /// So many at most.
    pub most: usize,
}

impl Wanted {
    fn takes(&self, stored: &Stored) -> bool {
        fn one_of<T: PartialEq>(wanted: &[T], found: &T) -> bool {
            wanted.is_empty() || wanted.contains(found)
        }
        let Definition { source, draft, .. } = &stored.definition;
        let has = |text: &str| {
            let text = text.to_lowercase();
            [&draft.name, &draft.task]
                .iter()
                .any(|field| field.to_lowercase().contains(&text))
        };
        one_of(&self.tasks, &draft.task)
            && one_of(&self.sources, source)
            && one_of(&self.kinds, &draft.kind())
            && self
                .runs
                .is_none_or(|runs| runs == stored.definition.runs())
            && self.text.as_deref().is_none_or(has)
            && self.after.as_ref().is_none_or(|after| draft.name > *after)
    }
}

/// Why a message was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Cause {
    /// It was due.
    Due,
    /// Somebody wanted it at once.
    Now,
    /// Somebody wanted the runs of a time that has passed.
    Backfill,
}

/// What is remembered of one message that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TickRecord {
    /// When it was due.
    pub due: DateTime<Utc>,
    /// When it was sent.
    pub sent: DateTime<Utc>,
    /// The id of its task.
    pub task_id: Uuid,
    /// Why it was sent.
    pub cause: Cause,
    /// So many runs before it were left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// One tick: a schedule's progress, its messages and what is remembered of them.
#[derive(Debug, Clone)]
pub struct Tick {
    /// The schedule's name.
    pub name: String,
    /// The schedule's id.
    pub id: Uuid,
    /// The task that it sends.
    pub task: String,
    /// The version its sender knows.
    pub version: u64,
    /// The progress its sender knows.
    pub before: Progress,
    /// The progress from now on.
    pub after: Progress,
    /// What is sent; nothing, when the keeper does it.
    pub messages: Vec<Prepared>,
    /// What is remembered of each.
    pub records: Vec<TickRecord>,
}

/// Why the store did not do as it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The broker is away or refuses.
    #[error(transparent)]
    Broker(#[from] lovage_broker::Error),
    /// The database is away or refuses.
    #[error(transparent)]
    Database(#[from] lovage_database::Error),
    /// The database did not answer in time; what it was asked may have happened.
    #[error("the database did not answer within {seconds} s")]
    Slow {
        /// So long it was waited for.
        seconds: u64,
    },
    /// A message cannot be sent.
    #[error(transparent)]
    Client(#[from] lovage_client::Error),
    /// What is to be its queue is none.
    #[error(
        "the broker has another kind of key where a queue of the schedule {name:?} is to be; nothing was sent"
    )]
    NoQueue {
        /// Its name.
        name: String,
    },
    /// What is kept cannot be read.
    #[error("the schedule {name:?} cannot be read as it is kept")]
    Unreadable {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// Schedules, kept. A tick happens whole or not at all, once, and only while its sender leads.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// Takes the lead when nobody has it, prolongs it when the candidate has it.
    async fn lead(&self, candidate: &Candidate) -> Result<Leadership, StoreError>;

    /// Gives up the lead, if the candidate has it.
    async fn step_down(&self, owner: &str) -> Result<(), StoreError>;

    /// Who leads, if somebody does.
    async fn leader(&self) -> Result<Option<Leadership>, StoreError>;

    /// What has changed after an edition; call again while there is more.
    async fn news(&self, since: u64) -> Result<News, StoreError>;

    /// One schedule.
    async fn stored(&self, name: &str) -> Result<Option<Stored>, StoreError>;

    /// Makes or changes a schedule: its new version, or `None` when it is not as the change says.
    async fn save(&self, save: &Save) -> Result<Option<u64>, StoreError>;

    /// Removes a schedule. False: there is none.
    async fn remove(&self, name: &str) -> Result<bool, StoreError>;

    /// Makes ticks happen. `None`: somebody else leads.
    async fn tick(
        &self,
        owner: &str,
        fence: u64,
        ticks: &[Tick],
    ) -> Result<Option<Vec<Ticked>>, StoreError>;

    /// Remembers what was sent beside a schedule's ticks, the oldest first.
    async fn remember(&self, name: &str, records: &[TickRecord]) -> Result<(), StoreError>;

    /// Sends runs of a time that has passed, all that there are from the first of them to the last, the oldest first, and remembers
    /// them, except those that are known to have been sent before; gives those that it sends. `None`: the schedule is another
    /// meanwhile. Asked again it sends nothing.
    async fn make_up(
        &self,
        stored: &Stored,
        client: &Client,
        runs: Vec<(Prepared, TickRecord)>,
        defaults: &Defaults,
    ) -> Result<Option<Vec<TickRecord>>, StoreError>;

    /// A page of schedules, by name.
    async fn page(&self, wanted: &Wanted) -> Result<Vec<Stored>, StoreError>;

    /// What is remembered of a schedule's ticks, the newest first; of a page, those that come after the tick with this task id.
    async fn history(
        &self,
        name: &str,
        after: Option<Uuid>,
        most: usize,
    ) -> Result<Vec<TickRecord>, StoreError>;
}

/// Every schedule, by name.
///
/// # Errors
/// The store does not answer.
pub async fn all(store: &dyn Store) -> Result<Vec<Stored>, StoreError> {
    some(store, |_| true).await
}

/// Those that are wanted, by name. The others are not held, however many there are.
///
/// # Errors
/// The store does not answer.
pub async fn some(
    store: &dyn Store,
    wanted: impl Fn(&Stored) -> bool,
) -> Result<Vec<Stored>, StoreError> {
    let mut found = std::collections::BTreeMap::new();
    let mut since = 0;
    loop {
        let news = store.news(since).await?;
        for name in &news.removed {
            found.remove(name);
        }
        for stored in news.changed.into_iter().filter(|stored| wanted(stored)) {
            found.insert(stored.definition.draft.name.clone(), stored);
        }
        since = news.edition;
        if !news.more {
            return Ok(found.into_values().collect());
        }
    }
}

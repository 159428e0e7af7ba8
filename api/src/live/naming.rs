//! What a task is called of which no event has said it: one that was received before anybody listened.

use std::sync::PoisonError;

use lovage_database::{Database, store::task_run};
use lovage_protocol::TaskId;

use super::{Happening, Known, Live};

impl Live {
    /// What is known of an event's task, from events or from the history, which is asked once for each event, however many listen.
    pub(crate) async fn task_of(&self, happening: &Happening, database: &Database) -> Known {
        if let Some(known) = self.settled(happening) {
            return known;
        }
        let _one = self.asking.lock().await;
        if let Some(known) = self.settled(happening) {
            return known;
        }
        let id = TaskId::from(happening.task_id.as_str());
        let found = match task_run::find(database.reader(), &id).await {
            Ok(Some(run)) => Known {
                task: run.name,
                root_id: run.root_id.map(|root| root.as_str().to_owned()),
                asked_at: None,
            },
            Ok(None) => Known::default(),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the name of a task cannot be looked up"
                );
                Known::default()
            }
        };
        self.learn(happening, found)
    }

    /// What is known, when there is no more to be learnt at this event.
    fn settled(&self, happening: &Happening) -> Option<Known> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let known = state.tasks.get(&happening.task_id)?;
        let is_settled =
            known.task.is_some() || known.asked_at.as_deref() == Some(happening.id.as_str());
        is_settled.then(|| known.clone())
    }

    /// Remembers of a task that events have told of what none has said.
    fn learn(&self, happening: &Happening, found: Known) -> Known {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = state.tasks.get_mut(&happening.task_id) else {
            return found;
        };
        known.task = known.task.take().or(found.task);
        known.root_id = known.root_id.take().or(found.root_id);
        known.asked_at = Some(happening.id.clone());
        known.clone()
    }

    /// What a task is called, when an event has told it.
    pub(crate) fn name_of(&self, id: &str) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tasks.get(id)?.task.clone()
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use lovage_database::{Kind, testing::TestDatabase};
    use lovage_protocol::{Map, State, Value, event::Event};

    use super::*;

    #[tokio::test]
    async fn the_history_is_asked_once_for_an_event_and_again_at_the_next() {
        let test = TestDatabase::new(Kind::Sqlite).await;
        let database = &test.database;
        let live = Live::new();
        let happen = || {
            let mut listener = live.begin(None).next;
            live.take(&Event {
                kind: "task-succeeded".to_owned(),
                hostname: "w@h".to_owned(),
                timestamp: 1.0,
                clock: None,
                fields: Map::from_iter([("uuid".to_owned(), Value::from("7"))]),
            });
            listener.try_recv().unwrap()
        };
        let first = happen();
        assert_eq!(live.task_of(&first, database).await.task, None);
        let mut run = task_run::Change::new(TaskId::from("7"), State::Success, Utc::now());
        run.name = Some("demo.add".to_owned());
        task_run::record(database, [run]).await.unwrap();
        assert_eq!(
            live.task_of(&first, database).await.task,
            None,
            "it was asked"
        );
        let named = live.task_of(&happen(), database).await;
        assert_eq!(named.task.as_deref(), Some("demo.add"));
        // From now on nobody asks.
        assert_eq!(live.name_of("7").as_deref(), Some("demo.add"));
        assert!(live.settled(&first).is_some());
    }
}

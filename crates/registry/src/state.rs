//! What a worker gives to its tasks: databases, mailers, clocks, registered once at start and typed.
//!
//! A task names what it needs as a parameter `State<T>`. The worker compares those needs with what its modules provide
//! before it takes a first message, so that a missing one is a refusal to start and never a failed task.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;

use crate::spec::{StateNeed, TaskSpec};

tokio::task_local! {
    static CURRENT: StateMap;
}

/// A shared value that the worker supplies to a task.
///
/// As a task's parameter it is not part of the call: the worker fills it in. A test that calls the task's function
/// directly passes `State::new(value)`. `T` may be unsized: `State<dyn Clock>` is provided through
/// [`StateMap::insert_shared`].
pub struct State<T: ?Sized>(Arc<T>);

impl<T> State<T> {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T: ?Sized> State<T> {
    /// The shared pointer itself, to be moved into a task of its own.
    #[must_use]
    pub fn into_inner(self) -> Arc<T> {
        self.0
    }
}

impl<T: ?Sized> From<Arc<T>> for State<T> {
    fn from(shared: Arc<T>) -> Self {
        Self(shared)
    }
}

impl<T: ?Sized> Clone for State<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: ?Sized> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for State<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("State").field(&&*self.0).finish()
    }
}

/// Everything that a worker gives to its tasks, one value per type. Cloning it is cheap.
#[derive(Clone, Default)]
pub struct StateMap {
    values: Arc<HashMap<TypeId, Entry>>,
}

#[derive(Clone)]
struct Entry {
    type_name: &'static str,
    /// A `State<T>`, so that an unsized `T` has a sized home.
    state: Arc<dyn Any + Send + Sync>,
}

impl StateMap {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value and says whether it took the place of another one of its type.
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) -> bool {
        self.insert_shared(Arc::new(value))
    }

    /// Adds a value that others hold too, or a trait object.
    pub fn insert_shared<T: ?Sized + Send + Sync + 'static>(&mut self, value: Arc<T>) -> bool {
        let entry = Entry {
            type_name: std::any::type_name::<T>(),
            state: Arc::new(State::from(value)),
        };
        Arc::make_mut(&mut self.values)
            .insert(TypeId::of::<T>(), entry)
            .is_some()
    }

    /// The value of a type.
    #[must_use]
    pub fn get<T: ?Sized + Send + Sync + 'static>(&self) -> Option<State<T>> {
        self.values
            .get(&TypeId::of::<T>())?
            .state
            .downcast_ref::<State<T>>()
            .cloned()
    }

    /// Lists what a task needs and this map lacks; a worker that finds anything here must not start.
    #[must_use]
    pub fn missing(&self, task: &TaskSpec) -> Vec<MissingState> {
        task.state
            .iter()
            .filter(|need| !self.values.contains_key(&need.type_id))
            .map(|need| MissingState {
                task: task.name.clone(),
                need: need.clone(),
            })
            .collect()
    }
}

impl fmt::Debug for StateMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may hold secrets and need not be Debug; the types say what is there.
        let mut names: Vec<_> = self.values.values().map(|entry| entry.type_name).collect();
        names.sort_unstable();
        f.debug_set().entries(names).finish()
    }
}

/// Says that a task needs a state that no module provides.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "task `{task}` needs State<{short}>, which no module provides; add `.state({short} …)` to a module",
    short = need.short_name()
)]
pub struct MissingState {
    /// The task's name.
    pub task: String,
    /// What it needs.
    pub need: StateNeed,
}

/// Runs a future whose tasks find their state in `states`.
///
/// It holds for the future itself, not for what that future spawns: whoever moves work to another thread or task scopes
/// it again there.
pub async fn scope<F: Future>(states: StateMap, future: F) -> F::Output {
    CURRENT.scope(states, future).await
}

/// The map that the running task's worker scoped, if there is one.
#[must_use]
pub fn current() -> Option<StateMap> {
    CURRENT.try_with(StateMap::clone).ok()
}

/// The state that the expansion of `#[lovage::task]` passes to the function.
///
/// # Panics
///
/// Outside a worker, or in one that started in spite of [`StateMap::missing`].
#[doc(hidden)]
#[must_use]
pub fn injected<T: ?Sized + Send + Sync + 'static>() -> State<T> {
    let found = CURRENT.try_with(StateMap::get::<T>).ok().flatten();
    found.unwrap_or_else(|| {
        panic!(
            "State<{}> is supplied by a Lovage worker; outside one, call the task's function and pass State::new(..)",
            StateNeed::of::<T>().short_name()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Mailer(&'static str);

    trait Clock: Send + Sync {
        fn now(&self) -> u64;
    }

    struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> u64 {
            7
        }
    }

    fn spec() -> TaskSpec {
        TaskSpec::variadic("mail.send")
            .with_state(StateNeed::of::<Mailer>())
            .with_state(StateNeed::of::<dyn Clock>())
    }

    #[test]
    fn names_task_and_state_that_are_missing() {
        let mut states = StateMap::new();
        assert!(!states.insert_shared::<dyn Clock>(Arc::new(Stopped)));
        let missing = states.missing(&spec());
        assert_eq!(missing.len(), 1);
        assert_eq!(
            missing[0].to_string(),
            "task `mail.send` needs State<Mailer>, which no module provides; \
             add `.state(Mailer …)` to a module"
        );
        states.insert(Mailer("a"));
        assert!(states.missing(&spec()).is_empty());
    }

    #[test]
    fn holds_one_value_per_type_and_clones_share_it() {
        let mut states = StateMap::new();
        assert!(!states.insert(Mailer("a")));
        let before = states.clone();
        assert!(
            states.insert(Mailer("b")),
            "the second takes the first one's place"
        );
        assert_eq!(*states.get::<Mailer>().unwrap(), Mailer("b"));
        assert_eq!(*before.get::<Mailer>().unwrap(), Mailer("a"));
        assert!(states.get::<String>().is_none());
    }

    #[tokio::test]
    async fn is_found_within_its_scope_only() {
        let mut states = StateMap::new();
        states.insert_shared::<dyn Clock>(Arc::new(Stopped));
        assert!(current().is_none());
        let now = scope(states.clone(), async { injected::<dyn Clock>().now() }).await;
        assert_eq!(now, 7);
        // As a worker runs a blocking task: on another thread, with the scope set up again.
        let handle = tokio::runtime::Handle::current();
        let now = tokio::task::spawn_blocking(move || {
            handle.block_on(scope(states, async { injected::<dyn Clock>().now() }))
        });
        assert_eq!(now.await.unwrap(), 7);
    }

    #[test]
    #[should_panic(expected = "State<Mailer> is supplied by a Lovage worker")]
    fn says_what_to_do_outside_a_worker() {
        let _ = injected::<Mailer>();
    }
}

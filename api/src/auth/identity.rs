//! Who is asking, and how far it reaches.

use std::sync::Arc;

use globset::{Glob, GlobSet, GlobSetBuilder};
use uuid::Uuid;

use crate::{
    auth::permission::{Permission, Role},
    problem::{Code, Problem},
};

/// Somebody who was recognised.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The user, for a key the one whose it is.
    pub user: Uuid,
    /// That user's e-mail address.
    pub email: String,
    /// That user's role; a key can do no more than its owner.
    pub role: Role,
    /// The login that it comes from; none for a key.
    pub session: Option<Uuid>,
    /// The key, when it is one that asks.
    pub key: Option<Key>,
}

/// What a key is for.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its id.
    pub id: Uuid,
    /// What it may do, as far as its owner may.
    pub permissions: Vec<Permission>,
    /// The tasks that it may have to do with.
    pub tasks: Reach,
    /// The queues that it may have to do with.
    pub queues: Reach,
}

/// Names that match one of several patterns, in which `*` stands for any text. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Reach(Arc<Patterns>);

#[derive(Debug)]
struct Patterns {
    texts: Vec<String>,
    set: GlobSet,
}

impl Reach {
    /// What the patterns match; without any, everything.
    ///
    /// # Errors
    /// The pattern that is none.
    pub fn new(texts: Vec<String>) -> Result<Self, String> {
        let mut set = GlobSetBuilder::new();
        for pattern in &texts {
            set.add(Glob::new(pattern).map_err(|error| error.to_string())?);
        }
        let set = set.build().map_err(|error| error.to_string())?;
        Ok(Self(Arc::new(Patterns { texts, set })))
    }

    /// Whether there is anything that it does not cover.
    pub fn is_limited(&self) -> bool {
        let texts = &self.0.texts;
        !texts.is_empty() && !texts.iter().any(|pattern| pattern == "*")
    }

    /// Whether a name is within reach.
    pub fn covers(&self, name: &str) -> bool {
        self.0.texts.is_empty() || self.0.set.is_match(name)
    }
}

impl Identity {
    /// Whether it may do this.
    pub fn may(&self, permission: Permission) -> bool {
        permission == Permission::Nothing
            || self.role >= permission.least_role()
                && self.key.as_ref().is_none_or(|key| {
                    permission.is_for_keys() && key.permissions.contains(&permission)
                })
    }

    /// Refuses what it may not do.
    ///
    /// # Errors
    /// What is missing.
    pub fn require(&self, permission: Permission) -> Result<(), Problem> {
        if self.may(permission) {
            return Ok(());
        }
        let scope = permission.scope();
        let detail = match &self.key {
            Some(_) if !permission.is_for_keys() => {
                format!("{scope} is for people: log in instead of using an API key")
            }
            Some(key) if !key.permissions.contains(&permission) => {
                format!("the key lacks the scope {scope}")
            }
            _ => format!(
                "{scope} takes the role {}, and {} has {}",
                permission.least_role().as_str(),
                self.email,
                self.role.as_str()
            ),
        };
        Err(Problem::new(Code::Forbidden, detail))
    }

    /// Whether it is a key that is not for everything.
    pub fn is_limited(&self) -> bool {
        self.key
            .as_ref()
            .is_some_and(|key| key.tasks.is_limited() || key.queues.is_limited())
    }

    /// Refuses a key that is for some tasks or queues only, where what is done concerns all.
    ///
    /// # Errors
    /// When it is such a key.
    pub fn require_everything(&self) -> Result<(), Problem> {
        if !self.is_limited() {
            return Ok(());
        }
        Err(Problem::new(
            Code::OutOfReach,
            "this concerns all tasks and queues, and the key is for some only",
        ))
    }

    /// Refuses a key that is for some tasks only, where what is done to a queue concerns whatever waits in it.
    ///
    /// # Errors
    /// When it is such a key.
    pub fn require_all_tasks(&self) -> Result<(), Problem> {
        if self.key.as_ref().is_none_or(|key| !key.tasks.is_limited()) {
            return Ok(());
        }
        Err(Problem::new(
            Code::OutOfReach,
            "this concerns every task of the queue, and the key is for some only",
        ))
    }

    /// Whether the task is within reach.
    pub fn reaches_task(&self, task: &str) -> bool {
        self.key.as_ref().is_none_or(|key| key.tasks.covers(task))
    }

    /// Whether the queue is within reach.
    pub fn reaches_queue(&self, queue: &str) -> bool {
        self.key.as_ref().is_none_or(|key| key.queues.covers(queue))
    }

    /// Refuses a task that is out of reach.
    ///
    /// # Errors
    /// When the key is not for it.
    pub fn require_task(&self, task: &str) -> Result<(), Problem> {
        if self.reaches_task(task) {
            return Ok(());
        }
        let detail = format!("the key is not for the task {task}");
        Err(Problem::new(Code::OutOfReach, detail))
    }

    /// Refuses a queue that is out of reach.
    ///
    /// # Errors
    /// When the key is not for it.
    pub fn require_queue(&self, queue: &str) -> Result<(), Problem> {
        if self.reaches_queue(queue) {
            return Ok(());
        }
        let detail = format!("the key is not for the queue {queue}");
        Err(Problem::new(Code::OutOfReach, detail))
    }

    /// The same person or key, in one text: what belongs to one is kept apart from what belongs to others.
    pub fn subject(&self) -> String {
        match &self.key {
            Some(key) => format!("key:{}", key.id),
            None => format!("user:{}", self.user),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(role: Role, key: Option<(&[Permission], &[&str])>) -> Identity {
        let reach = |patterns: &[&str]| {
            Reach::new(patterns.iter().map(|one| (*one).to_owned()).collect()).unwrap()
        };
        Identity {
            user: Uuid::nil(),
            email: "ada@example.org".to_owned(),
            role,
            session: None,
            key: key.map(|(permissions, tasks)| Key {
                id: Uuid::nil(),
                permissions: permissions.to_vec(),
                tasks: reach(tasks),
                queues: reach(&[]),
            }),
        }
    }

    #[test]
    fn a_key_can_do_no_more_than_its_owner_and_no_more_than_its_scopes() {
        let all: &[Permission] = Permission::ALL;
        assert!(identity(Role::Operator, None).may(Permission::TasksSend));
        assert!(!identity(Role::Viewer, None).may(Permission::TasksSend));
        assert!(!identity(Role::Viewer, Some((all, &[]))).may(Permission::TasksSend));
        let sender = identity(Role::Admin, Some((&[Permission::TasksSend], &[])));
        assert!(sender.may(Permission::TasksSend));
        assert!(!sender.may(Permission::TasksRead));
        assert!(!identity(Role::Admin, Some((all, &[]))).may(Permission::Account));
    }

    #[test]
    fn globs_say_which_tasks_a_key_is_for() {
        let key = identity(Role::Admin, Some((&[], &["mail.*", "demo.add"])));
        for (task, within) in [
            ("mail.send", true),
            ("demo.add", true),
            ("demo.add2", false),
            ("xmail.send", false),
        ] {
            assert_eq!(key.require_task(task).is_ok(), within, "{task}");
        }
        assert!(identity(Role::Viewer, None).reaches_task("anything"));
        assert!(Reach::new(vec!["[".to_owned()]).is_err());
    }
}

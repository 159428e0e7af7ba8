//! What somebody may do: roles, and the scopes of API keys.
//!
//! One table says everything: each permission has the text by which it is a scope of a key, and the least role that has it.

use poem_openapi::Enum;

/// What a user is. Each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enum)]
#[oai(rename_all = "lowercase")]
pub enum Role {
    /// Looks at everything that has to do with tasks.
    Viewer,
    /// Sends, revokes and repairs tasks, and looks after queues and workers.
    Operator,
    /// Also looks after users, and reads who did what.
    Admin,
}

impl Role {
    /// All, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// As it is stored and written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

macro_rules! permissions {
    ($($(#[$doc:meta])* $permission:ident = $scope:literal, $role:ident, $grant:ident;)*) => {
        /// One thing that may be done. Its text is a scope of an API key.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Permission { $($(#[$doc])* $permission,)* }

        impl Permission {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$permission),*];

            /// The scope of a key that has it.
            pub fn scope(self) -> &'static str {
                match self { $(Self::$permission => $scope,)* }
            }

            /// The least role that has it.
            pub fn least_role(self) -> Role {
                match self { $(Self::$permission => Role::$role,)* }
            }

            /// Whether an API key can have it; else a person has to log in.
            pub fn is_for_keys(self) -> bool {
                match self { $(Self::$permission => permissions!(@ $grant),)* }
            }
        }

        /// The same as types, for [`super::Caller`].
        pub mod needs {
            use super::{Needs, Permission};
            $(
                $(#[$doc])*
                #[derive(Debug, Clone, Copy)]
                pub enum $permission {}

                impl Needs for $permission {
                    const PERMISSION: Permission = Permission::$permission;
                    const SCHEME: &'static str = concat!("bearer ", $scope);
                }
            )*
        }
    };
    (@ key) => { true };
    (@ anybody) => { false };
    (@ person) => { false };
}

/// A permission as a type.
pub trait Needs: Send + Sync + 'static {
    /// Which one.
    const PERMISSION: Permission;
    /// How the document's security requirement is written until `crate::document` takes it apart: scheme and scope.
    const SCHEME: &'static str;
}

permissions! {
    /// Nothing but to be recognised.
    Nothing = "nothing", Viewer, anybody;
    /// One's own account: who am I, the password, the keys.
    Account = "account", Viewer, person;
    /// See which tasks there are.
    TasksRead = "tasks:read", Viewer, key;
    /// Send tasks and workflows.
    TasksSend = "tasks:send", Operator, key;
    /// See runs of tasks and their results.
    RunsRead = "runs:read", Viewer, key;
    /// Revoke, terminate and retry.
    RunsControl = "runs:control", Operator, key;
    /// See queues.
    QueuesRead = "queues:read", Viewer, key;
    /// Pause, resume and purge queues.
    QueuesControl = "queues:control", Operator, key;
    /// See workers.
    WorkersRead = "workers:read", Viewer, key;
    /// Tell workers what to do.
    WorkersControl = "workers:control", Operator, key;
    /// See messages that could not be run.
    DeadLettersRead = "dead-letters:read", Viewer, key;
    /// Send them again or drop them.
    DeadLettersControl = "dead-letters:control", Operator, key;
    /// See schedules and what they have sent.
    SchedulesRead = "schedules:read", Viewer, key;
    /// Make, change, pause and remove schedules, and send their tasks.
    SchedulesControl = "schedules:control", Operator, key;
    /// See mail.
    MailRead = "mail:read", Operator, key;
    /// Send mail again whose fate is not known.
    MailControl = "mail:control", Operator, key;
    /// Read who changed what.
    AuditRead = "audit:read", Admin, key;
    /// Look after users.
    UsersManage = "users:manage", Admin, person;
}

impl Permission {
    /// The permission behind a scope.
    pub fn of_scope(scope: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|permission| permission.scope() == scope)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn scopes_are_told_apart_and_found_again() {
        let scopes: HashSet<_> = Permission::ALL.iter().map(|one| one.scope()).collect();
        assert_eq!(scopes.len(), Permission::ALL.len());
        for permission in Permission::ALL {
            assert_eq!(Permission::of_scope(permission.scope()), Some(*permission));
        }
        assert_eq!(Permission::of_scope("everything"), None);
    }

    #[test]
    fn viewers_change_nothing_but_their_own_account() {
        let changes = |permission: &&Permission| {
            !permission.scope().ends_with(":read")
                && ![Permission::Account, Permission::Nothing].contains(*permission)
        };
        for permission in Permission::ALL.iter().filter(changes) {
            assert!(permission.least_role() > Role::Viewer, "{permission:?}");
        }
    }
}

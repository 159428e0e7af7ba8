//! Users, sessions, keys, and who changed what.

use chrono::{DateTime, Utc};
use lovage_database::store::{account::Account, api_key::ApiKey, audit::Noted};
use poem_openapi::Object;
use serde_json::Value;
use uuid::Uuid;

use crate::auth::{Identity, Permission, Role};

/// Who wants to come in.
#[derive(Clone, Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct Login {
    /// The e-mail address.
    #[oai(validator(min_length = 3, max_length = 254))]
    pub(crate) email: String,
    /// The password.
    #[oai(validator(min_length = 1, max_length = 1024))]
    pub(crate) password: String,
}

/// A session that goes on.
#[derive(Clone, Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct Refresh {
    /// The refresh token of the last answer; it is good for one use.
    #[oai(validator(min_length = 1, max_length = 256))]
    pub(crate) refresh_token: String,
}

/// What comes along with every request from now on, and what gets the next pair.
#[derive(Clone, Object)]
pub(crate) struct TokenPair {
    /// Send it as `Authorization: Bearer …`.
    pub(crate) access_token: String,
    /// Gets the next pair, once.
    pub(crate) refresh_token: String,
    /// `Bearer`.
    pub(crate) token_type: String,
    /// The seconds for which the access token holds.
    pub(crate) expires_in: u64,
}

/// How to log out.
#[derive(Debug, Clone, Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct Logout {
    /// End all sessions of the user, not only this one.
    #[oai(default)]
    pub(crate) everywhere: bool,
}

/// Another password.
#[derive(Clone, Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct PasswordChange {
    /// The one so far.
    #[oai(validator(min_length = 1, max_length = 1024))]
    pub(crate) old_password: String,
    /// The one from now on.
    #[oai(validator(min_length = 10, max_length = 1024))]
    pub(crate) new_password: String,
}

/// Somebody has forgotten the password.
#[derive(Debug, Clone, Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct Forgot {
    /// The e-mail address.
    #[oai(validator(min_length = 3, max_length = 254))]
    pub(crate) email: String,
}

/// A new password in place of a forgotten one.
#[derive(Clone, Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct Reset {
    /// What the mail said; it is good for one use.
    #[oai(validator(min_length = 1, max_length = 256))]
    pub(crate) token: String,
    /// The one from now on.
    #[oai(validator(min_length = 10, max_length = 1024))]
    pub(crate) new_password: String,
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct Me {
    /// The user; for a key its owner.
    pub(crate) id: Uuid,
    /// That user's address.
    pub(crate) email: String,
    /// That user's role.
    pub(crate) role: Role,
    /// What may be done, as scopes.
    pub(crate) permissions: Vec<String>,
}

impl Me {
    pub(crate) fn of(identity: &Identity) -> Self {
        let may = Permission::ALL
            .iter()
            .filter(|permission| **permission != Permission::Nothing)
            .filter(|permission| identity.may(**permission));
        Self {
            id: identity.user,
            email: identity.email.clone(),
            role: identity.role,
            permissions: may.map(|one| one.scope().to_owned()).collect(),
        }
    }
}

/// A user.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct User {
    /// The id.
    pub(crate) id: Uuid,
    /// The e-mail address.
    pub(crate) email: String,
    /// The role.
    pub(crate) role: Role,
    /// May log in.
    pub(crate) enabled: bool,
    /// The password was set by somebody else.
    pub(crate) must_change_password: bool,
    /// Nobody is let in before: there were too many wrong passwords.
    pub(crate) locked_until: Option<DateTime<Utc>>,
    /// The last login.
    pub(crate) last_login_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub(crate) created_at: DateTime<Utc>,
    /// When it was last changed.
    pub(crate) updated_at: DateTime<Utc>,
}

impl User {
    pub(crate) fn of(account: &Account) -> Self {
        Self {
            id: account.id,
            email: account.email.clone(),
            // What cannot be read may do least.
            role: Role::parse(&account.role).unwrap_or(Role::Viewer),
            enabled: account.enabled,
            must_change_password: account.must_change_password,
            locked_until: account.locked_until,
            last_login_at: account.last_login_at,
            created_at: account.created_at,
            updated_at: account.updated_at,
        }
    }
}

/// Users by address.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct UserPage {
    /// This page's.
    pub(crate) users: Vec<User>,
    /// Gets the next page; null on the last.
    pub(crate) next: Option<String>,
}

/// A user to be made.
#[derive(Clone, Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct NewUser {
    /// The e-mail address.
    #[oai(validator(min_length = 3, max_length = 254))]
    pub(crate) email: String,
    /// The password, to be changed at the first login.
    #[oai(validator(min_length = 10, max_length = 1024))]
    pub(crate) password: String,
    /// The role.
    pub(crate) role: Role,
}

/// What is to be changed of a user. They have to log in again.
#[derive(Clone, Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct UserPatch {
    /// Another role.
    pub(crate) role: Option<Role>,
    /// May log in.
    pub(crate) enabled: Option<bool>,
    /// Another password, to be changed at the next login.
    #[oai(validator(min_length = 10, max_length = 1024))]
    pub(crate) password: Option<String>,
}

/// An API key to be made.
#[derive(Debug, Clone, Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// What people call it.
    #[oai(validator(min_length = 1, max_length = 100))]
    pub(crate) name: String,
    /// What it may do, such as `tasks:send`; no more than its owner.
    #[oai(validator(min_items = 1, max_items = 50))]
    pub(crate) scopes: Vec<String>,
    /// Patterns of the queues that it is for, `*` stands for any text; none: all.
    #[oai(default, validator(max_items = 100))]
    pub(crate) queues: Vec<String>,
    /// Patterns of the tasks that it is for; they hold for everything in a workflow. None: all.
    #[oai(default, validator(max_items = 100))]
    pub(crate) tasks: Vec<String>,
    /// When it is no longer good; null: never.
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

/// An API key, without itself.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "ApiKey")]
pub(crate) struct KeyShown {
    /// The id.
    pub(crate) id: Uuid,
    /// What people call it.
    pub(crate) name: String,
    /// How it begins, behind `lvg_`.
    pub(crate) prefix: String,
    /// Whose it is.
    pub(crate) user_id: Option<Uuid>,
    /// What it may do.
    pub(crate) scopes: Vec<String>,
    /// The queues that it is for; none: all.
    pub(crate) queues: Vec<String>,
    /// The tasks that it is for; none: all.
    pub(crate) tasks: Vec<String>,
    /// When it is no longer good.
    pub(crate) expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to about ten seconds.
    pub(crate) last_used_at: Option<DateTime<Utc>>,
    /// When it was withdrawn.
    pub(crate) revoked_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub(crate) created_at: DateTime<Utc>,
}

impl From<ApiKey> for KeyShown {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            prefix: key.prefix,
            user_id: key.user,
            scopes: key.scopes,
            queues: key.queues,
            tasks: key.tasks,
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
            revoked_at: key.revoked_at,
            created_at: key.created_at,
        }
    }
}

/// A key that was made.
#[derive(Clone, Object)]
pub(crate) struct KeyMade {
    /// The key itself. It is shown now and never again.
    pub(crate) secret: String,
    /// What is kept of it.
    pub(crate) key: KeyShown,
}

/// A page of API keys, the newest first.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct KeyList {
    /// The keys.
    pub(crate) keys: Vec<KeyShown>,
    /// The `offset` of the next page; null when there is none.
    pub(crate) next: Option<u64>,
}

/// Something that was changed.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "AuditEntry")]
pub(crate) struct AuditShown {
    /// Grows from one to the next.
    pub(crate) id: i64,
    /// When.
    pub(crate) at: DateTime<Utc>,
    /// `user`, `key`, `cli` or `nobody`.
    pub(crate) actor_kind: String,
    /// Which.
    pub(crate) actor_id: Option<String>,
    /// What people call it.
    pub(crate) actor_name: Option<String>,
    /// What was done, such as `queue.purge`.
    pub(crate) action: String,
    /// What kind of thing it was done to.
    pub(crate) target_kind: Option<String>,
    /// Which.
    pub(crate) target_id: Option<String>,
    /// What else is worth knowing.
    pub(crate) detail: Value,
    /// Where the request came from.
    pub(crate) address: Option<String>,
    /// The request.
    pub(crate) request_id: Option<String>,
}

impl From<Noted> for AuditShown {
    fn from(noted: Noted) -> Self {
        let Noted { id, at, deed } = noted;
        Self {
            id,
            at,
            actor_kind: deed.actor_kind,
            actor_id: deed.actor_id,
            actor_name: deed.actor_name,
            action: deed.action,
            target_kind: deed.target_kind,
            target_id: deed.target_id,
            detail: deed.detail.unwrap_or_default(),
            address: deed.address,
            request_id: deed.request_id,
        }
    }
}

/// Changes, the latest first.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct AuditPage {
    /// This page's.
    pub(crate) entries: Vec<AuditShown>,
    /// Gets the next page; null on the last.
    pub(crate) next: Option<i64>,
}

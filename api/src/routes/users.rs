//! Users, API keys and the audit log.

use std::sync::Arc;

use lovage_database::store::audit::{self, Wanted};
use poem::web::Data;
use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Header, Path, Query},
    payload::Json,
};
use serde_json::json;
use uuid::Uuid;

use crate::{
    app::App,
    audit::Target,
    auth::{Caller, KeyWish, Origin, UserChange, away, permission::needs},
    document::body::Body,
    problem::Problem,
    routes::{Part, cut, etag, usual_page},
    schema::auth::{AuditPage, KeyList, KeyMade, NewKey, NewUser, User, UserPage, UserPatch},
};

#[derive(Debug)]
pub(crate) struct UsersApi;

#[derive(Debug, ApiResponse)]
enum PageResponse {
    /// A page of users.
    #[oai(status = 200)]
    Ok(Json<UserPage>),
}

#[derive(Debug, ApiResponse)]
enum UserResponse {
    /// The user.
    #[oai(status = 200)]
    Ok(
        Json<User>,
        /// Its version, for If-Match.
        #[oai(header = "ETag")]
        String,
    ),
}

#[derive(Debug, ApiResponse)]
enum MadeResponse {
    /// The user was made.
    #[oai(status = 201)]
    Made(
        Json<User>,
        /// Its version, for If-Match.
        #[oai(header = "ETag")]
        String,
    ),
}

#[derive(Debug, ApiResponse)]
enum GoneResponse {
    /// It is gone.
    #[oai(status = 204)]
    Gone,
}

#[derive(Debug, ApiResponse)]
enum KeysResponse {
    /// A page of keys.
    #[oai(status = 200)]
    Ok(Json<KeyList>),
}

#[derive(ApiResponse)]
enum KeyResponse {
    /// The key was made; it is shown now and never again.
    #[oai(status = 201)]
    Made(Json<KeyMade>),
}

#[derive(Debug, ApiResponse)]
enum AuditResponse {
    /// A page of changes.
    #[oai(status = 200)]
    Ok(Json<AuditPage>),
}

#[OpenApi(prefix_path = "/api/v1", tag = "Part::Users")]
impl UsersApi {
    /// List users
    #[oai(path = "/users", method = "get", operation_id = "list_users")]
    async fn list(
        &self,
        _caller: Caller<needs::UsersManage>,
        app: Data<&Arc<App>>,
        /// What the page before gave as `next`.
        #[oai(validator(max_length = 254))]
        after: Query<Option<String>>,
        /// So many at most.
        #[oai(
            default = "usual_page",
            validator(minimum(value = "1"), maximum(value = "500"))
        )]
        limit: Query<u64>,
    ) -> Result<PageResponse, Problem> {
        let users = app.accounts().users();
        let mut found = users.list(after.0.as_deref(), limit.0 + 1).await?;
        let more = u64::try_from(found.len()).unwrap_or_default() > limit.0;
        if more {
            found.pop();
        }
        let next = found
            .last()
            .filter(|_| more)
            .map(|account| account.email.clone());
        Ok(PageResponse::Ok(Json(UserPage {
            users: found.iter().map(User::of).collect(),
            next,
        })))
    }

    /// Make a user
    #[oai(path = "/users", method = "post", operation_id = "create_user")]
    async fn create(
        &self,
        caller: Caller<needs::UsersManage>,
        app: Data<&Arc<App>>,
        origin: Origin,
        user: Body<NewUser>,
    ) -> Result<MadeResponse, Problem> {
        let Body(NewUser {
            email,
            password,
            role,
        }) = user;
        let users = app.accounts().users();
        let account = users.create(&email, password, role, true).await?;
        let id = account.id.to_string();
        let detail = json!({"email": account.email, "role": account.role});
        note(app.0, &caller, &origin, "user.create", &id, Some(detail)).await?;
        Ok(MadeResponse::Made(
            Json(User::of(&account)),
            etag::of(account.version),
        ))
    }

    /// Show a user
    #[oai(path = "/users/:id", method = "get", operation_id = "show_user")]
    async fn show(
        &self,
        _caller: Caller<needs::UsersManage>,
        app: Data<&Arc<App>>,
        /// The user.
        id: Path<Uuid>,
    ) -> Result<UserResponse, Problem> {
        let account = app.accounts().users().by_id(id.0).await?;
        Ok(UserResponse::Ok(
            Json(User::of(&account)),
            etag::of(account.version),
        ))
    }

    /// Change a user
    ///
    /// They have to log in again. The last administrator stays one.
    #[oai(path = "/users/:id", method = "patch", operation_id = "change_user")]
    async fn change(
        &self,
        caller: Caller<needs::UsersManage>,
        app: Data<&Arc<App>>,
        origin: Origin,
        /// The user.
        id: Path<Uuid>,
        /// Only if the version is still this one.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
        patch: Body<UserPatch>,
    ) -> Result<UserResponse, Problem> {
        let version = if_match.0.as_deref().map(etag::read).transpose()?;
        let account = app.accounts().users().by_id(id.0).await?;
        let Body(UserPatch {
            role,
            enabled,
            password,
        }) = patch;
        let detail = json!({
            "role": role.map(crate::auth::Role::as_str),
            "enabled": enabled,
            "password": password.is_some(),
        });
        let change = UserChange {
            role,
            enabled,
            password,
        };
        let changed = app
            .accounts()
            .change_user(&account, version, change)
            .await?;
        let id = account.id.to_string();
        note(app.0, &caller, &origin, "user.change", &id, Some(detail)).await?;
        Ok(UserResponse::Ok(
            Json(User::of(&changed)),
            etag::of(changed.version),
        ))
    }

    /// Delete a user
    ///
    /// Sessions and keys go too. The last administrator stays.
    #[oai(path = "/users/:id", method = "delete", operation_id = "delete_user")]
    async fn delete(
        &self,
        caller: Caller<needs::UsersManage>,
        app: Data<&Arc<App>>,
        origin: Origin,
        /// The user.
        id: Path<Uuid>,
    ) -> Result<GoneResponse, Problem> {
        let account = app.accounts().users().by_id(id.0).await?;
        app.accounts().delete_user(&account).await?;
        let detail = json!({"email": account.email});
        let id = account.id.to_string();
        note(app.0, &caller, &origin, "user.delete", &id, Some(detail)).await?;
        Ok(GoneResponse::Gone)
    }

    /// List one's API keys
    #[oai(path = "/api-keys", method = "get", operation_id = "list_keys")]
    async fn keys(
        &self,
        caller: Caller<needs::Account>,
        app: Data<&Arc<App>>,
        /// Everybody's; for administrators.
        everybody: Query<Option<bool>>,
        /// What the page before gave as `next`.
        #[oai(default, validator(maximum(value = "1000000000")))]
        offset: Query<u64>,
        /// So many at most.
        #[oai(
            default = "usual_page",
            validator(minimum(value = "1"), maximum(value = "500"))
        )]
        limit: Query<u64>,
    ) -> Result<KeysResponse, Problem> {
        let whose = match everybody.0 {
            Some(true) => {
                caller.require(crate::auth::Permission::UsersManage)?;
                None
            }
            _ => Some(caller.user),
        };
        let accounts = app.accounts();
        let mut keys = accounts.keys(whose, offset.0, limit.0 + 1).await?;
        let next = cut(&mut keys, offset.0, limit.0);
        Ok(KeysResponse::Ok(Json(KeyList {
            keys: keys.into_iter().map(Into::into).collect(),
            next,
        })))
    }

    /// Make an API key
    #[oai(path = "/api-keys", method = "post", operation_id = "create_key")]
    async fn create_key(
        &self,
        caller: Caller<needs::Account>,
        app: Data<&Arc<App>>,
        origin: Origin,
        wish: Body<NewKey>,
    ) -> Result<KeyResponse, Problem> {
        let wish = KeyWish {
            name: wish.0.name,
            scopes: wish.0.scopes,
            queues: wish.0.queues,
            tasks: wish.0.tasks,
            expires_at: wish.0.expires_at,
        };
        let fresh = app.accounts().create_key(&caller, wish).await?;
        let target = Target {
            kind: "api-key",
            id: &fresh.key.id.to_string(),
        };
        let detail = json!({"name": fresh.key.name, "scopes": fresh.key.scopes});
        app.audit()
            .note(&caller, &origin, "key.create", target, Some(detail))
            .await?;
        Ok(KeyResponse::Made(Json(KeyMade {
            secret: fresh.text,
            key: fresh.key.into(),
        })))
    }

    /// Withdraw an API key
    ///
    /// One's own; administrators anybody's.
    #[oai(path = "/api-keys/:id", method = "delete", operation_id = "revoke_key")]
    async fn revoke_key(
        &self,
        caller: Caller<needs::Account>,
        app: Data<&Arc<App>>,
        origin: Origin,
        /// The key.
        id: Path<Uuid>,
    ) -> Result<GoneResponse, Problem> {
        let is_admin = caller.may(crate::auth::Permission::UsersManage);
        let whose = (!is_admin).then_some(caller.user);
        app.accounts().revoke_key(id.0, whose).await?;
        let target = Target {
            kind: "api-key",
            id: &id.0.to_string(),
        };
        app.audit()
            .note(&caller, &origin, "key.revoke", target, None)
            .await?;
        Ok(GoneResponse::Gone)
    }

    /// Read who changed what
    #[oai(path = "/audit", method = "get", operation_id = "list_audit")]
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a parameter of the operation, where the document has its text"
    )]
    async fn audit(
        &self,
        caller: Caller<needs::AuditRead>,
        app: Data<&Arc<App>>,
        /// What the page before gave as `next`.
        before: Query<Option<i64>>,
        /// Only this action, such as `queue.purge`.
        #[oai(validator(max_length = 100))]
        action: Query<Option<String>>,
        /// Only by this actor.
        #[oai(validator(max_length = 100))]
        actor: Query<Option<String>>,
        /// Only done to this.
        #[oai(validator(max_length = 255))]
        target: Query<Option<String>>,
        /// So many at most.
        #[oai(
            default = "usual_page",
            validator(minimum(value = "1"), maximum(value = "500"))
        )]
        limit: Query<u64>,
    ) -> Result<AuditResponse, Problem> {
        // It tells of all tasks and queues.
        caller.require_everything()?;
        let wanted = Wanted {
            before: before.0,
            action: action.0,
            actor: actor.0,
            target: target.0,
        };
        let mut found = audit::list(app.database().reader(), &wanted, limit.0 + 1)
            .await
            .map_err(away)?;
        let more = u64::try_from(found.len()).unwrap_or_default() > limit.0;
        if more {
            found.pop();
        }
        let next = found.last().filter(|_| more).map(|one| one.id);
        Ok(AuditResponse::Ok(Json(AuditPage {
            entries: found.into_iter().map(Into::into).collect(),
            next,
        })))
    }
}

async fn note(
    app: &App,
    caller: &crate::auth::Identity,
    origin: &Origin,
    action: &str,
    id: &str,
    detail: Option<serde_json::Value>,
) -> Result<(), Problem> {
    let target = Target { kind: "user", id };
    app.audit()
        .note(caller, origin, action, target, detail)
        .await
}

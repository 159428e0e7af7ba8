//! Writing down who changed what.

use chrono::Utc;
use lovage_database::{
    Database,
    store::audit::{self, Deed},
};
use poem::{FromRequest, Request, RequestBody, Result, http::header};
use serde_json::Value;

use crate::{
    auth::{Identity, Origin, away},
    edge::RequestId,
    problem::Problem,
};

/// Writes the audit log.
#[derive(Debug, Clone)]
pub(crate) struct Audit {
    database: Database,
}

/// What a change was done to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) kind: &'a str,
    pub(crate) id: &'a str,
}

impl Audit {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }

    /// Notes a change. One that cannot be noted has happened all the same, so whoever did it is told that the log is missing
    /// it, rather than that nothing was done.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn note(
        &self,
        caller: &Identity,
        origin: &Origin,
        action: &str,
        target: Target<'_>,
        detail: Option<Value>,
    ) -> Result<(), Problem> {
        let (kind, id, name) = match &caller.key {
            Some(key) => ("key", key.id.to_string(), caller.email.clone()),
            None => ("user", caller.user.to_string(), caller.email.clone()),
        };
        let deed = Deed {
            actor_kind: kind.to_owned(),
            actor_id: Some(id),
            actor_name: Some(name),
            action: action.to_owned(),
            target_kind: Some(target.kind.to_owned()),
            target_id: Some(target.id.to_owned()),
            detail,
            address: origin.address.clone(),
            request_id: Some(origin.request_id.clone()),
        };
        audit::note(self.database.writer(), deed, Utc::now())
            .await
            .map_err(away)
    }
}

/// Where the request at hand comes from. Headers of proxies are not believed: anybody can write them.
impl<'a> FromRequest<'a> for Origin {
    async fn from_request(request: &'a Request, _body: &mut RequestBody) -> Result<Self> {
        let address = request.remote_addr().as_socket_addr();
        let user_agent = request.header(header::USER_AGENT);
        Ok(Self {
            address: address.map(|address| address.ip().to_string()),
            user_agent: user_agent.map(|text| text.chars().take(200).collect()),
            request_id: request
                .data::<RequestId>()
                .map(|id| id.0.clone())
                .unwrap_or_default(),
        })
    }
}

//! Tickets: what a browser opens a stream with, since it cannot send a token there.

use std::{sync::Arc, time::Duration};

use chrono::Utc;
use lovage_database::store::one_time::{self, NewOneTime};
use poem::{Request, RequestBody, Result, http::header};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions, registry::Registry};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Accounts, Caller, Identity, Permission, accounts::away, permission::needs, secret_text,
};
use crate::{
    app::App,
    problem::{Code, Problem},
};

/// How long a ticket is good.
pub(crate) const TICKET_LIFE: Duration = Duration::from_secs(60);
/// What it is good for.
const STREAM: &str = "stream";

/// Who opens a stream: with a token or key, or with a ticket.
#[derive(Debug, Clone)]
pub(crate) struct StreamCaller(pub(crate) Identity);

impl Accounts {
    /// A ticket for whoever asks.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn ticket(&self, caller: &Identity) -> Result<String, Problem> {
        let text = secret_text::secret();
        let now = Utc::now();
        let token = NewOneTime {
            purpose: STREAM.to_owned(),
            user: Some(caller.user),
            hash: self.signing.one_time.of(&text),
            detail: Some(json!({
                "session": caller.session,
                "key": caller.key.as_ref().map(|key| key.id),
            })),
            expires_at: now + TICKET_LIFE,
        };
        one_time::issue(self.database.writer(), token, now)
            .await
            .map_err(away)?;
        Ok(text)
    }

    /// Who had this ticket made, if it is still good. It is not good any more afterwards.
    async fn redeem(&self, ticket: &str) -> Result<Identity, Problem> {
        let no = || Problem::new(Code::Unauthenticated, "the ticket is not (any more) good");
        let hash = self.signing.one_time.of(ticket);
        let taken = one_time::take(self.database.writer(), STREAM, &hash, Utc::now())
            .await
            .map_err(away)?
            .ok_or_else(no)?;
        let user = taken.user.ok_or_else(no)?;
        let detail = taken.detail.unwrap_or_default();
        let id = |name: &str| {
            let text = detail.get(name).and_then(Value::as_str);
            text.and_then(|text| Uuid::parse_str(text).ok())
        };
        self.identity_of(user, id("session"), id("key"))
            .await?
            .ok_or_else(no)
    }
}

impl<'a> ApiExtractor<'a> for StreamCaller {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <Caller<needs::RunsRead> as ApiExtractor>::register(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        <Caller<needs::RunsRead> as ApiExtractor>::security_schemes()
    }

    fn has_security_fallback() -> bool {
        true
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        if request.header(header::AUTHORIZATION).is_some() {
            let caller =
                <Caller<needs::RunsRead> as ApiExtractor>::from_request(request, body, options);
            return Ok(Self((*caller.await?).clone()));
        }
        let app = request
            .data::<Arc<App>>()
            .expect("the edge gives it to every request");
        let parameters: Vec<(String, String)> = request.params().unwrap_or_default();
        let ticket = parameters.iter().find(|(name, _)| name == "ticket");
        let Some((_, ticket)) = ticket else {
            let detail = "send a token or key, or a ticket from /api/v1/task-runs/stream-tickets";
            return Err(Problem::new(Code::Unauthenticated, detail).into());
        };
        let identity = app.accounts().redeem(ticket).await?;
        identity.require(Permission::RunsRead)?;
        Ok(Self(identity))
    }
}

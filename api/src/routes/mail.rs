//! Mails: what became of them, and sending one again of which that is not known.

use std::sync::Arc;

use lovage_database::store::mail;
use poem::web::Data;
use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Path, Query},
    payload::Json,
};
use serde_json::json;
use uuid::Uuid;

use crate::{
    app::App,
    audit::Target,
    auth::{Caller, Origin, away, permission::needs, unposted},
    problem::{Code, Problem},
    routes::{Part, cut, usual_page},
    schema::mail::{MailFate, MailPage, MailShown, MailWhole},
};

#[derive(Debug)]
pub(crate) struct MailApi;

#[derive(Debug, ApiResponse)]
enum PageResponse {
    /// A page of mails.
    #[oai(status = 200)]
    Ok(Json<MailPage>),
}

#[derive(Debug, ApiResponse)]
enum ShowResponse {
    /// The mail.
    #[oai(status = 200)]
    Ok(Json<MailWhole>),
}

#[derive(Debug, ApiResponse)]
enum AgainResponse {
    /// It waits to be sent once more.
    #[oai(status = 202)]
    Queued(Json<MailShown>),
}

/// The template whose text lets its reader in.
const SECRET: &str = "reset";

#[OpenApi(prefix_path = "/api/v1/mail", tag = "Part::Mail")]
impl MailApi {
    /// List mails
    #[oai(path = "/", method = "get", operation_id = "list_mail")]
    async fn list(
        &self,
        caller: Caller<needs::MailRead>,
        app: Data<&Arc<App>>,
        /// Only in one of these states.
        #[oai(validator(max_items = 5))]
        state: Query<Vec<MailFate>>,
        /// What the page before gave as `next`.
        #[oai(default, validator(maximum(value = "1000000000")))]
        offset: Query<u64>,
        /// So many at most.
        #[oai(
            default = "usual_page",
            validator(minimum(value = "1"), maximum(value = "500"))
        )]
        limit: Query<u64>,
    ) -> Result<PageResponse, Problem> {
        // Mails are nobody's task or queue.
        caller.require_everything()?;
        let states: Vec<_> = state.0.into_iter().map(Into::into).collect();
        let reader = app.database().reader();
        let found = mail::list(reader, &states, offset.0, limit.0 + 1).await;
        let mut found = found.map_err(away)?;
        let next = cut(&mut found, offset.0, limit.0);
        Ok(PageResponse::Ok(Json(MailPage {
            mails: found.into_iter().map(Into::into).collect(),
            next,
        })))
    }

    /// Show a mail
    #[oai(path = "/:id", method = "get", operation_id = "show_mail")]
    async fn show(
        &self,
        caller: Caller<needs::MailRead>,
        app: Data<&Arc<App>>,
        /// The mail.
        id: Path<Uuid>,
    ) -> Result<ShowResponse, Problem> {
        caller.require_everything()?;
        let found = mail::find(app.database().reader(), id.0).await;
        let stored = found.map_err(away)?.ok_or_else(|| missing(id.0))?;
        let is_secret = stored.mail.template == SECRET;
        Ok(ShowResponse::Ok(Json(MailWhole {
            text: (!is_secret).then(|| stored.mail.text.clone()),
            mail: stored.into(),
        })))
    }

    /// Send a mail again
    ///
    /// One that is `uncertain`, which may make it arrive twice, or that `failed`. Nothing but this sends such a mail again.
    #[oai(
        path = "/:id/send-again",
        method = "post",
        operation_id = "send_mail_again"
    )]
    async fn send_again(
        &self,
        caller: Caller<needs::MailControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        /// The mail.
        id: Path<Uuid>,
    ) -> Result<AgainResponse, Problem> {
        caller.require_everything()?;
        let transaction = app.database().begin().await.map_err(away)?;
        let again = lovage_mail::post_again(&transaction, id.0).await;
        let again = again.map_err(unposted)?;
        let found = mail::find(&transaction, id.0).await.map_err(away)?;
        let stored = found.ok_or_else(|| missing(id.0))?;
        if !again {
            let detail = format!(
                "the mail is {}; only one that is uncertain or failed is sent again",
                stored.state
            );
            return Err(Problem::new(Code::Conflict, detail));
        }
        lovage_database::commit(transaction).await.map_err(away)?;
        let target = Target {
            kind: "mail",
            id: &id.0.to_string(),
        };
        let detail = json!({"recipient": stored.mail.recipient, "template": stored.mail.template});
        app.audit()
            .note(&caller, &origin, "mail.send-again", target, Some(detail))
            .await?;
        Ok(AgainResponse::Queued(Json(stored.into())))
    }
}

fn missing(id: Uuid) -> Problem {
    Problem::not_found(format!("there is no mail {id}"))
}

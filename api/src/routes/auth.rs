//! Coming in, staying in, going out, and one's own account.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::{ApiResponse, OpenApi, payload::Json};

use crate::{
    app::App,
    auth::{Caller, Origin, Tokens, permission::needs},
    document::body::Body,
    problem::Problem,
    routes::Part,
    schema::auth::{Forgot, Login, Logout, Me, PasswordChange, Refresh, Reset, TokenPair},
};

#[derive(Debug)]
pub(crate) struct AuthApi;

#[derive(ApiResponse)]
enum TokensResponse {
    /// Come in.
    #[oai(status = 200)]
    Ok(Json<TokenPair>),
}

#[derive(Debug, ApiResponse)]
enum MeResponse {
    /// Who is asking.
    #[oai(status = 200)]
    Ok(Json<Me>),
}

#[derive(Debug, ApiResponse)]
enum DoneResponse {
    /// Done.
    #[oai(status = 204)]
    Done,
}

#[derive(Debug, ApiResponse)]
enum ForgotResponse {
    /// If there is somebody of this address, a mail is on its way.
    #[oai(status = 202)]
    Maybe,
}

#[OpenApi(prefix_path = "/api/v1/auth", tag = "Part::Auth")]
impl AuthApi {
    /// Log in
    #[oai(path = "/login", method = "post", operation_id = "login")]
    async fn login(
        &self,
        app: Data<&Arc<App>>,
        origin: Origin,
        login: Body<Login>,
    ) -> Result<TokensResponse, Problem> {
        let Body(Login { email, password }) = login;
        let tokens = app.accounts().log_in(&email, password, &origin).await?;
        Ok(TokensResponse::Ok(Json(pair(tokens))))
    }

    /// Get the next pair of tokens
    ///
    /// Each refresh token is good for one use. One that comes twice was stolen by one of the two who have it: the session
    /// ends.
    #[oai(path = "/refresh", method = "post", operation_id = "refresh")]
    async fn refresh(
        &self,
        app: Data<&Arc<App>>,
        origin: Origin,
        refresh: Body<Refresh>,
    ) -> Result<TokensResponse, Problem> {
        let tokens = app
            .accounts()
            .refresh(&refresh.0.refresh_token, &origin)
            .await?;
        Ok(TokensResponse::Ok(Json(pair(tokens))))
    }

    /// Log out
    #[oai(path = "/logout", method = "post", operation_id = "logout")]
    async fn logout(
        &self,
        caller: Caller<needs::Account>,
        app: Data<&Arc<App>>,
        logout: Body<Logout>,
    ) -> Result<DoneResponse, Problem> {
        app.accounts()
            .log_out(caller.user, caller.session, logout.0.everywhere)
            .await?;
        Ok(DoneResponse::Done)
    }

    /// Who am I?
    #[oai(path = "/me", method = "get", operation_id = "me")]
    async fn me(&self, caller: Caller<needs::Nothing>) -> Result<MeResponse, Problem> {
        Ok(MeResponse::Ok(Json(Me::of(&caller))))
    }

    /// Change the password
    ///
    /// All sessions end, this one too.
    #[oai(path = "/change", method = "post", operation_id = "change_password")]
    async fn change(
        &self,
        caller: Caller<needs::Account>,
        app: Data<&Arc<App>>,
        origin: Origin,
        change: Body<PasswordChange>,
    ) -> Result<DoneResponse, Problem> {
        let Body(PasswordChange {
            old_password,
            new_password,
        }) = change;
        app.accounts()
            .change_password(caller.user, old_password, new_password, &origin)
            .await?;
        Ok(DoneResponse::Done)
    }

    /// The password is forgotten
    ///
    /// The answer is the same whether there is such a user or not.
    #[oai(path = "/forgot", method = "post", operation_id = "forgot_password")]
    async fn forgot(
        &self,
        app: Data<&Arc<App>>,
        origin: Origin,
        forgot: Body<Forgot>,
    ) -> Result<ForgotResponse, Problem> {
        // In a task of its own: how long the answer takes tells nothing either.
        let (app, email) = (Arc::clone(app.0), forgot.0.email);
        app.accounts().allow_forgot(&email, &origin)?;
        tokio::spawn(async move {
            if let Err(problem) = app.accounts().forgot(&email, &origin).await {
                tracing::error!(%problem, "a new password was asked for, and no mail was written");
            }
        });
        Ok(ForgotResponse::Maybe)
    }

    /// Set a new password in place of the forgotten one
    #[oai(path = "/reset", method = "post", operation_id = "reset_password")]
    async fn reset(
        &self,
        app: Data<&Arc<App>>,
        origin: Origin,
        reset: Body<Reset>,
    ) -> Result<DoneResponse, Problem> {
        let Body(Reset {
            token,
            new_password,
        }) = reset;
        app.accounts().reset(&token, new_password, &origin).await?;
        Ok(DoneResponse::Done)
    }
}

fn pair(tokens: Tokens) -> TokenPair {
    TokenPair {
        access_token: tokens.access,
        refresh_token: tokens.refresh,
        token_type: "Bearer".to_owned(),
        expires_in: tokens.life.as_secs(),
    }
}

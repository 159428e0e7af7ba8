//! Who is asking, as an argument of an operation: whoever may not do it does not get that far.

use std::{marker::PhantomData, ops::Deref, sync::Arc};

use poem::{Request, RequestBody, Result, http::header};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};

use crate::{
    app::App,
    auth::{identity::Identity, permission::Needs},
    problem::{Code, Problem},
};

/// The name of the one security scheme.
pub(crate) const SCHEME: &str = "bearer";

/// Somebody who was recognised and may do what `N` says.
#[derive(Debug, Clone)]
pub struct Caller<N> {
    identity: Identity,
    needs: PhantomData<N>,
}

impl<N> Deref for Caller<N> {
    type Target = Identity;

    fn deref(&self) -> &Identity {
        &self.identity
    }
}

impl<'a, N: Needs> ApiExtractor<'a> for Caller<N> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme(
            N::SCHEME,
            MetaSecurityScheme {
                ty: "http",
                description: Some(
                    "An access token as /api/v1/auth/login gives it, or an API key (lvg_…).",
                ),
                name: None,
                key_in: None,
                scheme: Some("bearer"),
                bearer_format: Some("JWT"),
                flows: None,
                openid_connect_url: None,
            },
        );
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![N::SCHEME]
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        let app = request
            .data::<Arc<App>>()
            .expect("the edge gives it to every request");
        let token = bearer(request)?;
        let identity = app.accounts().recognise(token).await?;
        identity.require(N::PERMISSION)?;
        Ok(Self {
            identity,
            needs: PhantomData,
        })
    }
}

fn bearer(request: &Request) -> Result<&str, Problem> {
    let missing = || {
        Problem::new(
            Code::Unauthenticated,
            "send an access token or an API key: Authorization: Bearer …",
        )
    };
    let given = request.header(header::AUTHORIZATION).ok_or_else(missing)?;
    let (scheme, token) = given.split_once(' ').ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
        return Err(missing());
    }
    Ok(token.trim())
}

//! Access tokens: who somebody is, for some minutes, signed (JWT, HS256).
//!
//! A token names the user and the state that its password and role had. The user is looked up all the same, from memory for
//! some seconds: one who was switched off, or has changed the password, is not let in on the strength of an old token.

use std::time::Duration;

use chrono::Utc;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::problem::{Code, Problem};

/// Who has made the token, and for whom.
const ISSUER: &str = "lovage";

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    iss: String,
    /// The user.
    pub(crate) sub: Uuid,
    /// The login that it came from, whose end it shares.
    pub(crate) family: Uuid,
    /// The user's version when it was made.
    pub(crate) version: i64,
    iat: i64,
    exp: i64,
}

/// Makes and reads tokens.
#[derive(Clone)]
pub(crate) struct AccessTokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    life: Duration,
}

impl std::fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessTokens")
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

impl AccessTokens {
    pub(crate) fn new(key: &[u8], life: Duration) -> Self {
        Self {
            encoding: EncodingKey::from_secret(key),
            decoding: DecodingKey::from_secret(key),
            life,
        }
    }

    /// How long a token holds.
    pub(crate) fn life(&self) -> Duration {
        self.life
    }

    /// A token for a user.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub(crate) fn issue(&self, user: Uuid, family: Uuid, version: i64) -> Result<String, Problem> {
        let now = Utc::now().timestamp();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: user,
            family,
            version,
            iat: now,
            exp: now.saturating_add(i64::try_from(self.life.as_secs()).unwrap_or(i64::MAX)),
        };
        encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
            .map_err(|error| Problem::internal(&error))
    }

    /// What a token says, if it is one of ours and still holds.
    ///
    /// # Errors
    /// When it is not, or no longer does.
    pub(crate) fn read(&self, token: &str) -> Result<Claims, Problem> {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_issuer(&[ISSUER]);
        rules.leeway = 0;
        let expired = "the access token has expired; get a new one with the refresh token";
        let problem = |detail: &str| Problem::new(Code::Unauthenticated, detail);
        let read = decode::<Claims>(token, &self.decoding, &rules);
        let claims = read
            .map(|token| token.claims)
            .map_err(|error| match error.kind() {
                jsonwebtoken::errors::ErrorKind::ExpiredSignature => problem(expired),
                _ => problem("this is no access token of this server, and no API key"),
            })?;
        // The library lets a token pass in the very second in which it expires.
        if claims.exp <= Utc::now().timestamp() {
            return Err(problem(expired));
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_by_whoever_has_the_key_until_it_expires() {
        let tokens = AccessTokens::new(b"key", Duration::from_secs(60));
        let user = Uuid::new_v4();
        let token = tokens.issue(user, Uuid::nil(), 3).unwrap();
        let claims = tokens.read(&token).unwrap();
        assert_eq!((claims.sub, claims.version), (user, 3));
        let stranger = AccessTokens::new(b"other", Duration::from_secs(60));
        assert_eq!(
            stranger.read(&token).unwrap_err().code(),
            Code::Unauthenticated
        );
        let expired = AccessTokens::new(b"key", Duration::ZERO);
        let token = expired.issue(user, Uuid::nil(), 3).unwrap();
        let problem = expired.read(&token).unwrap_err();
        assert!(problem.detail().contains("expired"), "{problem}");
    }

    #[test]
    fn a_token_that_says_it_is_not_signed_is_no_token() {
        let tokens = AccessTokens::new(b"key", Duration::from_secs(60));
        let token = tokens.issue(Uuid::nil(), Uuid::nil(), 0).unwrap();
        let mut parts = token.split('.');
        let (_, claims) = (parts.next(), parts.next().unwrap());
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        assert!(tokens.read(&format!("{header}.{claims}.")).is_err());
    }
}

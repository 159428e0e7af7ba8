//! The keys that sign, from the settings.

use lovage_settings::{Environment, HttpSettings, Secret, Settings};

use super::{AccessTokens, Seal, Signing, secret_text};

/// Keys are missing where they must not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "SECRET_KEY is not set, and in production no key is made up: set it (or SECRET_KEY_FILE) to 32 random characters or \
     more, such as `openssl rand -hex 32` prints, the same for every API process"
)]
pub struct WeakSecrets;

/// The secrets behind API keys and tokens.
#[derive(Debug, Clone)]
pub struct Secrets {
    secret: Secret,
    jwt: Secret,
    /// Nobody has set them: what they signed is worth nothing after a restart.
    pub made_up: bool,
}

impl Secrets {
    /// Those of the settings. In development a missing one is made up.
    ///
    /// # Errors
    /// In production, when `SECRET_KEY` is not set.
    pub fn from_settings(settings: &Settings) -> Result<Self, WeakSecrets> {
        let http: &HttpSettings = &settings.http;
        let (secret, made_up) = match &http.secret_key {
            Some(secret) => (secret.clone(), false),
            None if settings.environment == Environment::Production => return Err(WeakSecrets),
            None => (Secret::new(secret_text::secret()), true),
        };
        let jwt = http
            .jwt_secret_key
            .clone()
            .unwrap_or_else(|| secret.clone());
        Ok(Self {
            secret,
            jwt,
            made_up,
        })
    }

    /// What signs with them.
    pub(crate) fn signing(&self, http: &HttpSettings) -> Signing {
        let seal = |purpose| Seal::new(self.secret.expose(), purpose);
        let tokens = Seal::new(self.jwt.expose(), "lovage access tokens");
        Signing {
            tokens: AccessTokens::new(tokens.key(), http.access_token_life),
            sessions: seal("lovage refresh tokens"),
            one_time: seal("lovage single-use tokens"),
            keys: seal("lovage API keys"),
            session_life: http.refresh_token_life,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::from_lookup(pairs).unwrap().0
    }

    #[test]
    fn in_production_no_key_is_made_up() {
        let development = Secrets::from_settings(&settings(&[])).unwrap();
        assert!(development.made_up);
        let missing = Secrets::from_settings(&settings(&[("LOVAGE_ENV", "production")]));
        assert_eq!(missing.unwrap_err(), WeakSecrets);
        let set = Secrets::from_settings(&settings(&[
            ("LOVAGE_ENV", "production"),
            ("SECRET_KEY", "0b9df0d0c63a9f07cbe0f1a0f1f6d1ab56c2b6b1"),
        ]));
        assert!(!set.unwrap().made_up);
    }
}

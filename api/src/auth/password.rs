//! Passwords: argon2id, off the threads that answer requests, and few at a time because each costs 19 MiB and 30 ms.

use std::sync::LazyLock;

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::Semaphore;

use crate::problem::Problem;

/// The fewest characters.
pub(crate) const SHORTEST: usize = 10;
/// The most bytes: what is hashed is not to be a way of keeping the server busy.
pub(crate) const LONGEST: usize = 1024;
/// So many are computed at once.
const AT_ONCE: usize = 2;

static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);

/// The hash of a password that nobody has: checking it takes as long as checking somebody's.
static NOBODY: LazyLock<String> =
    LazyLock::new(|| hash_now(&super::secret_text::secret()).unwrap_or_default());

/// Refuses a password that is too short to be one.
///
/// # Errors
/// What would be right.
pub(crate) fn judge(password: &str) -> Result<(), Problem> {
    if password.chars().count() < SHORTEST {
        return Err(Problem::invalid(format!(
            "a password has {SHORTEST} characters or more"
        )));
    }
    if password.len() > LONGEST {
        return Err(Problem::invalid(format!(
            "a password has {LONGEST} bytes or fewer"
        )));
    }
    Ok(())
}

/// The hash to be kept.
///
/// # Errors
/// When it cannot be computed.
pub(crate) async fn hash(password: String) -> Result<String, Problem> {
    compute(move || hash_now(&password))
        .await?
        .ok_or_else(|| Problem::internal(&std::io::Error::other("a password could not be hashed")))
}

/// Whether the password is the one that was hashed. Without a hash it takes as long and is false.
///
/// # Errors
/// When it cannot be computed.
pub(crate) async fn verify(password: String, hash: Option<String>) -> Result<bool, Problem> {
    if password.len() > LONGEST {
        return Ok(false);
    }
    compute(move || {
        let is_known = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODY.clone());
        let matches = PasswordHash::new(&hash).is_ok_and(|hash| {
            Argon2::default()
                .verify_password(password.as_bytes(), &hash)
                .is_ok()
        });
        matches && is_known
    })
    .await
}

fn hash_now(password: &str) -> Option<String> {
    Argon2::default()
        .hash_password(password.as_bytes())
        .ok()
        .map(|hash: PasswordHash| hash.to_string())
}

async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let turn = TURNS.acquire().await;
    let computed = tokio::task::spawn_blocking(work).await;
    drop(turn);
    computed.map_err(|error| Problem::internal(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_told_from_others_by_its_hash() {
        let kept = hash("correct horse".to_owned()).await.unwrap();
        assert!(kept.starts_with("$argon2id$"), "{kept}");
        let check =
            |password: &str, hash: Option<&String>| verify(password.to_owned(), hash.cloned());
        assert!(check("correct horse", Some(&kept)).await.unwrap());
        assert!(!check("correct house", Some(&kept)).await.unwrap());
        assert!(!check("correct horse", None).await.unwrap());
    }

    #[test]
    fn short_and_endless_passwords_are_refused() {
        assert!(judge("123456789").is_err());
        assert!(judge("1234567890").is_ok());
        assert!(judge(&"x".repeat(LONGEST + 1)).is_err());
    }
}

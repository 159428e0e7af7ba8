//! Random texts that are shown once: API keys, refresh tokens, links. Only their HMAC is kept, so that whoever reads the
//! database has none of them.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// Random bytes of one text: 256 bits cannot be guessed.
const LENGTH: usize = 32;

/// Makes and recognises such texts, with a key made from `SECRET_KEY`.
#[derive(Clone)]
pub(crate) struct Seal {
    key: [u8; 32],
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    /// A seal for one purpose: what was made for one is not recognised for another.
    pub(crate) fn new(secret: &str, purpose: &str) -> Self {
        Self {
            key: mac(secret.as_bytes(), purpose.as_bytes()),
        }
    }

    /// What is kept of a text.
    pub(crate) fn of(&self, text: &str) -> Vec<u8> {
        mac(&self.key, text.as_bytes()).to_vec()
    }

    /// Whether this is the text of which that was kept; takes as long whatever differs.
    pub(crate) fn verifies(&self, text: &str, kept: &[u8]) -> bool {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of any length will do");
        mac.update(text.as_bytes());
        mac.verify_slice(kept).is_ok()
    }

    /// A key for another algorithm.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }
}

/// A new text, in letters, digits, `-` and `_`.
///
/// # Panics
/// The system has no random numbers: nothing that is secret can be made then.
pub(crate) fn random(bytes: usize) -> String {
    let mut buffer = vec![0; bytes];
    getrandom::fill(&mut buffer).expect("the system gives random numbers");
    URL_SAFE_NO_PAD.encode(buffer)
}

/// A new text that nobody can guess.
///
/// # Panics
/// As the system has no random numbers.
pub fn secret() -> String {
    random(LENGTH)
}

/// A digest by which two requests are told apart.
pub(crate) fn digest(parts: &[&[u8]]) -> Vec<u8> {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.len().to_le_bytes());
        digest.update(part);
    }
    digest.finalize().to_vec()
}

fn mac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_depends_on_secret_purpose_and_text() {
        let kept = |secret, purpose, text| Seal::new(secret, purpose).of(text);
        let one = kept("s", "keys", "a");
        assert_eq!(one, kept("s", "keys", "a"));
        for other in [
            kept("t", "keys", "a"),
            kept("s", "resets", "a"),
            kept("s", "keys", "b"),
        ] {
            assert_ne!(one, other);
        }
        assert!(Seal::new("s", "keys").verifies("a", &one));
        assert!(!Seal::new("s", "keys").verifies("b", &one));
    }

    #[test]
    fn no_two_texts_are_the_same() {
        let (one, other) = (secret(), secret());
        assert_ne!(one, other);
        assert_eq!(one.len(), 43);
    }

    #[test]
    fn parts_of_a_request_do_not_run_into_each_other() {
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
    }
}

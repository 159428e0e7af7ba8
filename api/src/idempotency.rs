//! Requests that carry an `Idempotency-Key` are done once, however often they come.

use std::{future::Future, time::Duration};

use chrono::Utc;
use lovage_database::{
    Database,
    store::idempotency::{self, Claim, Request},
};

use crate::{
    auth::{Identity, away, digest},
    problem::{Code, Problem},
};

/// How long a key is remembered.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest key.
const LONGEST: usize = 255;

/// Remembers requests and their responses.
#[derive(Debug, Clone)]
pub(crate) struct Idempotency {
    database: Database,
}

/// A response as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Idempotency {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }

    /// Does what is asked, unless it was done under this key; then gives the same response again. Without a key it is done each
    /// time. What was refused is forgotten, so that it can be tried again with the same key, unless it may have been done
    /// in part: then the key stays taken.
    ///
    /// # Errors
    /// When the key came with another request, the same is being done, or what is asked fails.
    pub(crate) async fn once<F>(
        &self,
        caller: &Identity,
        key: Option<&str>,
        asked: &[&[u8]],
        act: impl FnOnce() -> F,
    ) -> Result<Remembered, Problem>
    where
        F: Future<Output = Result<Remembered, Problem>>,
    {
        let Some(key) = key else {
            return act().await;
        };
        if key.is_empty() || key.len() > LONGEST || !key.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(Problem::invalid(format!(
                "an Idempotency-Key has 1 to {LONGEST} printable ASCII characters without blanks"
            )));
        }
        let (subject, hash) = (caller.subject(), digest(asked));
        let request = Request {
            caller: &subject,
            key,
            hash: &hash,
        };
        let db = self.database.writer();
        let now = Utc::now();
        match idempotency::claim(db, &request, now, now + LIFE)
            .await
            .map_err(away)?
        {
            Claim::Done { status, response } => Ok(Remembered {
                status,
                body: response,
            }),
            Claim::InProgress => Err(Problem::new(
                Code::InProgress,
                "a request with this Idempotency-Key is being answered, or its answer was lost; ask again later",
            )
            .retry_after(1)),
            Claim::Other => Err(Problem::new(
                Code::KeyReused,
                "this Idempotency-Key came before with another request",
            )),
            Claim::New => {
                let done = act().await;
                match &done {
                    Ok(response) => {
                        idempotency::finish(
                            db,
                            &request,
                            None,
                            response.status,
                            response.body.clone(),
                        )
                        .await
                        .map_err(away)?;
                    }
                    Err(problem) if problem.may_have_been_done() => {}
                    Err(_) => idempotency::give_up(db, &request).await.map_err(away)?,
                }
                done
            }
        }
    }
}

//! What is done to dead letters: sent again, given up. Each page is one transaction with how far it came: each letter once.

use chrono::Utc;
use lovage_database::store::{
    dead_letter,
    lease::Lease,
    operation::{self, Operation, Step},
};

use super::{counted, fail, still_may};
use crate::{
    app::App,
    auth::{Permission, away},
    problem::Problem,
    routes::letter_within_reach,
    schema::letter_operation::{LetterAction, Matching},
};

/// So many are one page: messages may be large.
const PAGE: u64 = 100;

/// Does one page of it.
pub(super) async fn page(
    app: &App,
    lease: &Lease,
    operation: &Operation,
    action: LetterAction,
) -> Result<(), Problem> {
    let Some(who) = still_may(app, operation, Permission::DeadLettersControl).await? else {
        return Ok(());
    };
    let matching = match Matching::stored(operation) {
        Ok(matching) => matching,
        Err(error) => return fail(app, operation, &error.to_string()).await,
    };
    let after = operation.cursor.as_deref().map(str::parse::<i64>);
    let Ok(after) = after.transpose() else {
        return fail(app, operation, "its place is no longer known").await;
    };
    let (last, filter) = (matching.last, matching.filter.into());
    let transaction = app.database().begin().await.map_err(away)?;
    lease.confirm(&transaction).await.map_err(away)?;
    let letters = dead_letter::waiting(&transaction, &filter, after.unwrap_or(0), last, PAGE).await;
    let letters = letters.map_err(away)?;
    let by = who.subject();
    let mut acted = 0;
    for letter in &letters {
        // What a key is not for is left as it is.
        if letter_within_reach(&who, letter).is_err() {
            continue;
        }
        let done = action.act().on(&transaction, letter, &by).await;
        acted += i64::from(done.map_err(away)?);
    }
    let is_full = u64::try_from(letters.len()).is_ok_and(|found| found >= PAGE);
    let next = letters.last().filter(|_| is_full);
    let step = Step {
        cursor: next.map(|letter| letter.id.to_string()),
        looked_at: counted(letters.len()),
        acted,
        refused: 0,
        refusals: operation.refusals.clone(),
    };
    let goes_on = operation::advance(&transaction, operation.id, step, Utc::now()).await;
    if goes_on.map_err(away)? {
        lovage_database::commit(transaction).await.map_err(away)?;
    }
    Ok(())
}

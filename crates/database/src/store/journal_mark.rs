//! How far a journal was read.

use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, sea_query::OnConflict};

use crate::{
    entity::journal_mark::{ActiveModel, Column, Entity},
    error::{Error, while_doing},
};

/// A place in a journal, see `Mark` of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Names the journal from its begin to its end.
    pub epoch: String,
    /// The last entry that was read.
    pub id: String,
    /// Records up to there.
    pub records: u64,
    /// Bytes up to there.
    pub bytes: u64,
}

/// Up to where the journal of this name was read.
///
/// # Errors
/// [`Error::Query`].
pub async fn load(database: &impl ConnectionTrait, name: &str) -> Result<Option<Position>, Error> {
    let found = Entity::find_by_id(name)
        .one(database)
        .await
        .map_err(while_doing("reading how far the journal was read"))?;
    Ok(found.map(|row| Position {
        epoch: row.epoch,
        id: row.entry_id,
        records: u64::try_from(row.records).unwrap_or(0),
        bytes: u64::try_from(row.bytes).unwrap_or(0),
    }))
}

/// Records up to where it was read; in a transaction that has asked whether the lease for it is ours still.
///
/// # Errors
/// [`Error::Query`].
pub async fn save(
    transaction: &impl ConnectionTrait,
    name: &str,
    position: &Position,
) -> Result<(), Error> {
    let number = |number: u64| Set(i64::try_from(number).unwrap_or(i64::MAX));
    let row = ActiveModel {
        name: Set(name.to_owned()),
        epoch: Set(position.epoch.clone()),
        entry_id: Set(position.id.clone()),
        records: number(position.records),
        bytes: number(position.bytes),
    };
    let known = OnConflict::column(Column::Name)
        .update_columns([
            Column::Epoch,
            Column::EntryId,
            Column::Records,
            Column::Bytes,
        ])
        .to_owned();
    Entity::insert(row)
        .on_conflict(known)
        .exec_without_returning(transaction)
        .await
        .map(drop)
        .map_err(while_doing("recording how far the journal was read"))
}

#[cfg(test)]
mod tests {
    use super::{Position, load, save};
    use crate::testing::on_both;

    on_both! {
        async fn a_place_is_found_again(database: Database) {
            assert_eq!(load(database.reader(), "journal").await.unwrap(), None);
            for records in [3, 7] {
                let position = Position {
                    epoch: "e".to_owned(),
                    id: format!("{records}-0"),
                    records,
                    bytes: 10 * records,
                };
                save(database.writer(), "journal", &position).await.unwrap();
                let found = load(database.reader(), "journal").await.unwrap();
                assert_eq!(found, Some(position));
            }
            assert_eq!(load(database.reader(), "other").await.unwrap(), None);
        }
    }
}

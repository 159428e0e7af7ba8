//! `dead_letter`: messages that could not be run, byte for byte.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "dead_letter")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    #[sea_orm(unique)]
    pub source_id: String,
    pub message: Vec<u8>,
    pub edited: Option<Vec<u8>>,
    pub code: String,
    #[sea_orm(column_type = "Text")]
    pub detail: String,
    #[sea_orm(column_type = "Text", nullable)]
    pub traceback: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub task: Option<String>,
    pub task_id: Option<String>,
    pub queue: String,
    pub worker: Option<String>,
    pub died_at: DateTimeUtc,
    pub copied_at: DateTimeUtc,
    pub state: String,
    pub resolved_at: Option<DateTimeUtc>,
    pub resolved_by: Option<String>,
    pub replays: i32,
    pub version: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

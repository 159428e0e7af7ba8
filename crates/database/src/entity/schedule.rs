//! `schedule`: what is to run and when.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "schedule")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    #[sea_orm(unique)]
    pub name: String,
    #[sea_orm(column_type = "Text")]
    pub task: String,
    pub kind: String,
    pub source: String,
    #[sea_orm(column_type = "Text")]
    pub draft: String,
    pub paused: bool,
    pub enabled: bool,
    pub decided_at: DateTimeUtc,
    pub last_due_at: Option<DateTimeUtc>,
    pub runs: i64,
    pub version: i64,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

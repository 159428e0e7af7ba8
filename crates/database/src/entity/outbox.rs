//! `outbox`: messages that are to be sent, written with what they are about.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "outbox")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub task_id: String,
    #[sea_orm(column_type = "Text")]
    pub task: String,
    #[sea_orm(column_type = "Text")]
    pub args: String,
    #[sea_orm(column_type = "Text")]
    pub kwargs: String,
    pub queue: Option<String>,
    pub priority: Option<i16>,
    pub eta: Option<DateTimeUtc>,
    pub expires: Option<DateTimeUtc>,
    #[sea_orm(column_type = "Text")]
    pub headers: String,
    pub message: Option<Vec<u8>>,
    pub exchange: Option<String>,
    pub routing_key: Option<String>,
    pub created_at: DateTimeUtc,
    pub refused_at: Option<DateTimeUtc>,
    #[sea_orm(column_type = "Text", nullable)]
    pub error: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

//! `operation`: what is done to all tasks that match.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "operation")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub action: String,
    #[sea_orm(column_type = "JsonBinary")]
    pub filter: Json,
    pub user_id: Uuid,
    pub key_id: Option<Uuid>,
    pub state: String,
    pub cursor: Option<String>,
    pub matched: i64,
    pub looked_at: i64,
    pub acted: i64,
    pub refused: i64,
    #[sea_orm(column_type = "JsonBinary")]
    pub refusals: Json,
    #[sea_orm(column_type = "Text", nullable)]
    pub problem: Option<String>,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
    pub finished_at: Option<DateTimeUtc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

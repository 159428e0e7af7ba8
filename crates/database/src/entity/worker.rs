//! `worker`: every worker that was ever heard of.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "worker")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub name: String,
    pub online: bool,
    pub first_seen_at: DateTimeUtc,
    pub heard_at: DateTimeUtc,
    pub online_since: Option<DateTimeUtc>,
    pub offline_since: Option<DateTimeUtc>,
    pub heartbeat_seconds: Option<f64>,
    pub active: Option<i32>,
    pub processed: Option<i64>,
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub load_average: Option<Json>,
    #[sea_orm(column_type = "Text", nullable)]
    pub software: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub software_version: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub system: Option<String>,
    pub pid: Option<i64>,
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub queues: Option<Json>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

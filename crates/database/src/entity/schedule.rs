//! `schedule`: what is to run and when.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "schedule")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    #[sea_orm(unique)]
    pub name: String,
    #[sea_orm(column_type = "Text", nullable)]
    pub description: Option<String>,
    pub kind: String,
    pub minute: Option<String>,
    pub hour: Option<String>,
    pub day_of_week: Option<String>,
    pub day_of_month: Option<String>,
    pub month_of_year: Option<String>,
    pub every_us: Option<i64>,
    pub relative: bool,
    pub solar_event: Option<String>,
    pub latitude: Option<f64>,
    pub longitude: Option<f64>,
    pub clocked_at: Option<DateTimeUtc>,
    pub timezone: String,
    #[sea_orm(column_type = "Text")]
    pub task: String,
    #[sea_orm(column_type = "Text")]
    pub args: String,
    #[sea_orm(column_type = "Text")]
    pub kwargs: String,
    #[sea_orm(column_type = "Text")]
    pub headers: String,
    #[sea_orm(column_type = "Text")]
    pub options: String,
    pub queue: Option<String>,
    pub exchange: Option<String>,
    pub routing_key: Option<String>,
    pub priority: Option<i16>,
    pub expires_after_us: Option<i64>,
    pub expires_at: Option<DateTimeUtc>,
    pub enabled: bool,
    pub starts_at: Option<DateTimeUtc>,
    pub ends_at: Option<DateTimeUtc>,
    pub max_runs: Option<i64>,
    pub jitter_us: i64,
    pub missed: String,
    pub missed_limit: Option<i32>,
    pub missed_deadline_us: Option<i64>,
    pub source: String,
    #[sea_orm(column_type = "Text", nullable)]
    pub source_detail: Option<String>,
    pub next_due_at: Option<DateTimeUtc>,
    pub last_due_at: Option<DateTimeUtc>,
    pub last_fired_at: Option<DateTimeUtc>,
    pub runs: i64,
    #[sea_orm(column_type = "Text", nullable)]
    pub error: Option<String>,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
    pub version: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

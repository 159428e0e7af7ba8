//! `task_run`: one row per task.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "task_run")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub task_id: String,
    #[sea_orm(column_type = "Text", nullable)]
    pub name: Option<String>,
    pub state: String,
    pub state_rank: i16,
    pub state_at: DateTimeUtc,
    pub retries: Option<i32>,
    #[sea_orm(column_type = "Text", nullable)]
    pub queue: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub routing_key: Option<String>,
    pub priority: Option<i16>,
    #[sea_orm(column_type = "Text", nullable)]
    pub worker: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub client: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub args: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub kwargs: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub result: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub exception: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub traceback: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub root_id: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub parent_id: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub group_id: Option<String>,
    pub eta: Option<DateTimeUtc>,
    pub expires: Option<DateTimeUtc>,
    pub sent_at: Option<DateTimeUtc>,
    pub received_at: Option<DateTimeUtc>,
    pub started_at: Option<DateTimeUtc>,
    pub finished_at: Option<DateTimeUtc>,
    pub runtime: Option<f64>,
    pub seen_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

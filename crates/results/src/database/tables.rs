//! Celery's two tables (`celery/backends/database/models.py`): how they are made, and the statements on them.

use chrono::NaiveDateTime;
use lovage_protocol::TaskId;
use lovage_settings::{DatabaseOptions, TableName};
use sea_orm::{DbBackend, Statement, Value};

use super::row::TaskRow;

/// The columns of a task's row but for its number, with their types in SQLite and in PostgreSQL.
const TASK_COLUMNS: [(&str, &str, &str); 13] = [
    ("task_id", "VARCHAR(155)", "VARCHAR(155)"),
    ("status", "VARCHAR(50)", "VARCHAR(50)"),
    ("result", "BLOB", "BYTEA"),
    ("date_done", "DATETIME", "TIMESTAMP WITHOUT TIME ZONE"),
    ("traceback", "TEXT", "TEXT"),
    ("children", "BLOB", "BYTEA"),
    ("name", "VARCHAR(155)", "VARCHAR(155)"),
    ("args", "BLOB", "BYTEA"),
    ("kwargs", "BLOB", "BYTEA"),
    ("worker", "VARCHAR(155)", "VARCHAR(155)"),
    ("retries", "INTEGER", "INTEGER"),
    ("queue", "VARCHAR(155)", "VARCHAR(155)"),
    ("stamps", "BLOB", "BYTEA"),
];

const GROUP_COLUMNS: [(&str, &str, &str); 3] = [
    ("taskset_id", "VARCHAR(155)", "VARCHAR(155)"),
    ("result", "BLOB", "BYTEA"),
    ("date_done", "DATETIME", "TIMESTAMP WITHOUT TIME ZONE"),
];

/// The tables of one database, as far as they are known to have columns.
#[derive(Debug, Clone)]
pub(super) struct Tables {
    backend: DbBackend,
    task: Table,
    group: Table,
}

/// One of them.
#[derive(Debug, Clone)]
pub(super) struct Table {
    name: TableName,
    /// The column that says whose row it is.
    key: &'static str,
    /// PostgreSQL's rows are numbered from it by whoever inserts them: the column itself has no default.
    sequence: &'static str,
    /// What Celery calls the index on `date_done`, whatever the table is called.
    index: &'static str,
    wanted: &'static [(&'static str, &'static str, &'static str)],
    /// The places in `wanted` of those that are there.
    present: Vec<usize>,
}

impl Tables {
    pub(super) fn new(backend: DbBackend, options: &DatabaseOptions) -> Self {
        Self {
            backend,
            task: Table {
                name: options.task_table.clone(),
                key: "task_id",
                sequence: "task_id_sequence",
                index: "ix_celery_taskmeta_date_done",
                wanted: &TASK_COLUMNS,
                present: (0..TASK_COLUMNS.len()).collect(),
            },
            group: Table {
                name: options.group_table.clone(),
                key: "taskset_id",
                sequence: "taskset_id_sequence",
                index: "ix_celery_tasksetmeta_date_done",
                wanted: &GROUP_COLUMNS,
                present: (0..GROUP_COLUMNS.len()).collect(),
            },
        }
    }

    pub(super) fn backend(&self) -> DbBackend {
        self.backend
    }

    pub(super) fn both_mut(&mut self) -> [&mut Table; 2] {
        [&mut self.task, &mut self.group]
    }

    fn is_postgres(&self) -> bool {
        self.backend == DbBackend::Postgres
    }

    /// A moment as the column takes it: SQLAlchemy reads SQLite's as text with six decimals.
    pub(super) fn moment(&self, at: NaiveDateTime) -> Value {
        match self.is_postgres() {
            true => at.into(),
            false => at.format("%Y-%m-%d %H:%M:%S%.6f").to_string().into(),
        }
    }

    /// The columns of a task's row that are there, in the order in which [`Tables::select_tasks`] gives them.
    pub(super) fn task_columns(&self) -> impl Iterator<Item = &'static str> {
        self.task.columns()
    }

    /// Stores rows, each of another task. A row that says SUCCESS stays as it is.
    pub(super) fn store_tasks(&self, rows: &[TaskRow]) -> Statement {
        let columns: Vec<&str> = self.task_columns().collect();
        let mut values = Vec::with_capacity(rows.len() * columns.len());
        for row in rows {
            values.extend(columns.iter().map(|column| row.value(column, self)));
        }
        let changes: Vec<String> = columns
            .iter()
            .filter(|column| **column != self.task.key)
            .map(|column| match *column {
                // Celery leaves stamps alone when there are none to write.
                "stamps" => "stamps = COALESCE(excluded.stamps, stored.stamps)".to_owned(),
                column => format!("{column} = excluded.{column}"),
            })
            .collect();
        let sql = format!(
            "{} ON CONFLICT (task_id) DO UPDATE SET {} WHERE COALESCE(stored.status, '') <> 'SUCCESS'",
            self.task.insert(self.backend, &columns, rows.len()),
            changes.join(", "),
        );
        Statement::from_sql_and_values(self.backend, sql, values)
    }

    pub(super) fn select_tasks(&self, ids: &[TaskId]) -> Statement {
        let columns: Vec<&str> = self.task_columns().collect();
        let sql = format!(
            "SELECT {} FROM {} WHERE task_id IN ({})",
            columns.join(", "),
            self.task.full_name(),
            placeholders(1, ids.len()),
        );
        let values = ids.iter().map(|id| Value::from(id.as_str()));
        Statement::from_sql_and_values(self.backend, sql, values)
    }

    pub(super) fn delete_task(&self, id: &str) -> Statement {
        self.task.delete(self.backend, id)
    }

    pub(super) fn select_group(&self, id: &str) -> Statement {
        let table = self.group.full_name();
        let sql = format!("SELECT result FROM {table} WHERE taskset_id = $1");
        Statement::from_sql_and_values(self.backend, sql, [id.into()])
    }

    pub(super) fn save_group(&self, id: &str, stored: &[u8], now: NaiveDateTime) -> Statement {
        let columns: Vec<&str> = self.group.columns().collect();
        let sql = format!(
            "{} ON CONFLICT (taskset_id) DO UPDATE SET result = excluded.result, date_done = excluded.date_done",
            self.group.insert(self.backend, &columns, 1),
        );
        let values = [id.into(), stored.to_vec().into(), self.moment(now)];
        Statement::from_sql_and_values(self.backend, sql, values)
    }

    pub(super) fn delete_group(&self, id: &str) -> Statement {
        self.group.delete(self.backend, id)
    }

    /// Deletes what ended, or was last written, before a moment.
    pub(super) fn delete_older(&self, before: NaiveDateTime) -> [Statement; 2] {
        [&self.task, &self.group].map(|table| {
            let table = table.full_name();
            let sql = format!("DELETE FROM {table} WHERE date_done < $1");
            Statement::from_sql_and_values(self.backend, sql, [self.moment(before)])
        })
    }
}

impl Table {
    pub(super) fn full_name(&self) -> String {
        in_schema(self.name.schema.as_deref(), &self.name.name)
    }

    fn columns(&self) -> impl Iterator<Item = &'static str> {
        self.present.iter().map(|place| self.wanted[*place].0)
    }

    /// Says which columns there are; gives the statements that add those that are missing, with their names.
    pub(super) fn set_present(
        &mut self,
        backend: DbBackend,
        found: &[String],
    ) -> Vec<(&'static str, String)> {
        let is_there = |column: &str| found.iter().any(|found| found == column);
        let wanted = self.wanted.iter().enumerate();
        self.present = wanted
            .filter(|(_, (column, ..))| is_there(column))
            .map(|(place, _)| place)
            .collect();
        let missing = self.wanted.iter().filter(|(column, ..)| !is_there(column));
        missing
            .map(|(column, sqlite, postgres)| {
                let kind = if backend == DbBackend::Postgres {
                    postgres
                } else {
                    sqlite
                };
                let table = self.full_name();
                (
                    *column,
                    format!("ALTER TABLE {table} ADD COLUMN {column} {kind}"),
                )
            })
            .collect()
    }

    /// Asks which columns there are; no row when there is no table.
    pub(super) fn ask_columns(&self, backend: DbBackend) -> Statement {
        if backend == DbBackend::Postgres {
            let sql = "SELECT attname::text FROM pg_attribute \
                       WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped";
            return Statement::from_sql_and_values(backend, sql, [self.full_name().into()]);
        }
        let schema = self.name.schema.as_deref().unwrap_or("main");
        let sql = "SELECT name FROM pragma_table_info($1, $2)";
        let values = [self.name.name.as_str().into(), schema.into()];
        Statement::from_sql_and_values(backend, sql, values)
    }

    /// Makes the table, as SQLAlchemy does from Celery's models.
    pub(super) fn create(&self, backend: DbBackend) -> Vec<String> {
        let postgres = backend == DbBackend::Postgres;
        let schema = self.name.schema.as_deref();
        let (table, key, index) = (self.full_name(), self.key, self.index);
        let columns: Vec<String> = self
            .wanted
            .iter()
            .map(|(column, lite, full)| format!("{column} {}", if postgres { full } else { lite }))
            .collect();
        let columns = columns.join(", ");
        if postgres {
            let sequence = in_schema(schema, self.sequence);
            return vec![
                format!("CREATE SEQUENCE IF NOT EXISTS {sequence}"),
                format!(
                    "CREATE TABLE IF NOT EXISTS {table} (id INTEGER NOT NULL, {columns}, PRIMARY KEY (id), UNIQUE ({key}))"
                ),
                format!("CREATE INDEX IF NOT EXISTS {index} ON {table} (date_done)"),
            ];
        }
        // SQLite's index says itself in which schema it is, and its table is there.
        let (index, bare) = (in_schema(schema, index), quoted(&self.name.name));
        vec![
            format!(
                "CREATE TABLE IF NOT EXISTS {table} (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, {columns}, UNIQUE ({key}))"
            ),
            format!("CREATE INDEX IF NOT EXISTS {index} ON {bare} (date_done)"),
        ]
    }

    fn insert(&self, backend: DbBackend, columns: &[&str], rows: usize) -> String {
        let postgres = backend == DbBackend::Postgres;
        let sequence = in_schema(self.name.schema.as_deref(), self.sequence);
        let number = match postgres {
            true => format!("nextval('{}'), ", sequence.replace('\'', "''")),
            false => String::new(),
        };
        let rows: Vec<String> = (0..rows)
            .map(|row| {
                let first = row * columns.len() + 1;
                format!("({number}{})", placeholders(first, columns.len()))
            })
            .collect();
        format!(
            "INSERT INTO {} AS stored ({}{}) VALUES {}",
            self.full_name(),
            if postgres { "id, " } else { "" },
            columns.join(", "),
            rows.join(", "),
        )
    }

    fn delete(&self, backend: DbBackend, id: &str) -> Statement {
        let sql = format!("DELETE FROM {} WHERE {} = $1", self.full_name(), self.key);
        Statement::from_sql_and_values(backend, sql, [id.into()])
    }
}

/// `$1, $2`, which both databases understand.
fn placeholders(first: usize, count: usize) -> String {
    let numbers: Vec<String> = (first..first + count).map(|n| format!("${n}")).collect();
    numbers.join(", ")
}

fn in_schema(schema: Option<&str>, name: &str) -> String {
    match schema {
        Some(schema) => format!("{}.{}", quoted(schema), quoted(name)),
        None => quoted(name),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

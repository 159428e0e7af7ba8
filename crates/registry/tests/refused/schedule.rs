#![expect(unused_imports, reason = "a refused task uses nothing")]

extern crate lovage_registry as lovage;

use celery::task::TaskResult;

#[lovage::task(schedule(crontab = "0 6 * * 7"))]
fn sunday() -> TaskResult<()> {
    Ok(())
}

#[lovage::task(schedule(every = "300"))]
fn unit() -> TaskResult<()> {
    Ok(())
}

#[lovage::task(schedule(every = "5m", missd = "all"))]
fn misspelt() -> TaskResult<()> {
    Ok(())
}

#[lovage::task(schedule(timezone = "Europe/Zurich"))]
fn never() -> TaskResult<()> {
    Ok(())
}

#[lovage::task(schedule(every = "5m", args(1, 2)))]
fn one(x: i64) -> TaskResult<i64> {
    Ok(x)
}

#[lovage::task(schedule(every = "5m", kwargs(y = 2)))]
fn other(x: i64) -> TaskResult<i64> {
    Ok(x)
}

#[lovage::task(schedule(every = "5m"))]
fn needed(x: i64, #[default = 5] y: i64) -> TaskResult<i64> {
    Ok(x + y)
}

fn main() {}

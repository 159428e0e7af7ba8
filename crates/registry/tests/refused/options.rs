#![allow(unused_imports, reason = "a refused task uses nothing")]

extern crate lovage_registry as lovage;

use celery::task::TaskResult;

#[lovage::task(max_retry = 3)]
fn misspelt() -> TaskResult<()> {
    Ok(())
}

#[lovage::task(rate_limit = "10/d")]
fn limited() -> TaskResult<()> {
    Ok(())
}

#[lovage::task(queue = "a\nb")]
fn queued() -> TaskResult<()> {
    Ok(())
}

#[lovage::task(bind, bind = true)]
fn twice(task: &Self) -> TaskResult<()> {
    Ok(())
}

fn main() {}

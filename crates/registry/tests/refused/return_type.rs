#![allow(unused_imports, reason = "a refused task uses nothing")]

extern crate lovage_registry as lovage;

use celery::task::TaskResult;

#[lovage::task]
fn bare(x: i64) -> i64 {
    x
}

#[lovage::task]
fn fine(x: i64) -> TaskResult<i64> {
    Ok(x)
}

fn main() {}

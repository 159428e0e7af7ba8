#![allow(unused_imports, reason = "a refused task uses nothing")]

extern crate lovage_registry as lovage;

use celery::task::TaskResult;

#[lovage::task]
fn distance((x, y): (f64, f64), Point { z, .. }: Point) -> TaskResult<f64> {
    Ok(x + y + z)
}

fn main() {}

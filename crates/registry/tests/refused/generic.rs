#![allow(unused_imports, reason = "a refused task uses nothing")]

extern crate lovage_registry as lovage;

use celery::task::TaskResult;

#[lovage::task]
fn show<T: ToString>(value: T) -> TaskResult<String> {
    Ok(value.to_string())
}

#[lovage::task]
fn show_any(value: impl ToString) -> TaskResult<String> {
    Ok(value.to_string())
}

fn main() {}

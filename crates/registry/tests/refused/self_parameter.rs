#![allow(unused_imports, reason = "a refused task uses nothing")]

extern crate lovage_registry as lovage;

use celery::task::TaskResult;

struct Mailer;

impl Mailer {
    #[lovage::task]
    fn send(&self, to: String) -> TaskResult<()> {
        Ok(())
    }
}

fn main() {}

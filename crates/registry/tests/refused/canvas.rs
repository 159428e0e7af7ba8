#![expect(unused_must_use, reason = "a refused canvas is not used")]

extern crate lovage_registry as lovage;

use lovage_protocol::{canvas::chord, chain, group};

mod tasks {
    use celery::task::TaskResult;

    #[lovage::task]
    pub fn add(x: i64, y: i64) -> TaskResult<i64> {
        Ok(x + y)
    }

    #[lovage::task]
    pub fn shout(text: String) -> TaskResult<String> {
        Ok(text.to_uppercase())
    }

    #[lovage::task]
    pub fn sum(numbers: Vec<i64>) -> TaskResult<i64> {
        Ok(numbers.iter().sum())
    }
}

use tasks::{add, shout, sum};

fn the_result_is_of_another_type() {
    chain![add::s(2, 2), shout::partial()];
}

fn the_step_has_all_its_arguments() {
    chain![add::s(2, 2), add::s(4, 4)];
}

fn a_body_takes_a_list() {
    chord(group![add::s(1, 1), add::s(2, 2)], add::partial(1));
}

fn one_result_is_no_list() {
    chain![add::s(1, 1), sum::partial()];
}

fn members_give_values_of_one_type() {
    group![add::s(1, 1), shout::s("a".to_owned())];
}

fn a_group_calls_nobody_back() {
    group![add::s(1, 1), add::s(2, 2)].link(sum::partial());
}

fn main() {}

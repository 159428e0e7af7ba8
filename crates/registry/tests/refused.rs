//! Functions that cannot be tasks are refused where they were written, in words that say what to do.

#[test]
fn refusals_point_at_the_fault() {
    trybuild::TestCases::new().compile_fail("tests/refused/*.rs");
}

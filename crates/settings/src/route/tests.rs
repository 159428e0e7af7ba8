use super::{Route, RoutePattern};
use crate::{Faults, Settings, Warning};

fn read(name: &str, text: &str) -> Result<(Settings, Vec<Warning>), Faults> {
    Settings::from_lookup([(name.to_owned(), text.to_owned())])
}

fn routes(text: &str) -> Vec<Route> {
    let (settings, warnings) = read("CELERY_TASK_ROUTES", text).unwrap();
    assert_eq!(warnings, []);
    settings.tasks.routes
}

fn to(pattern: RoutePattern, queue: &str) -> Route {
    Route {
        pattern,
        queue: Some(queue.to_owned()),
        exchange: None,
        routing_key: None,
        priority: None,
    }
}

fn exact(name: &str) -> RoutePattern {
    RoutePattern::Exact(name.to_owned())
}

fn glob(pattern: &str) -> RoutePattern {
    RoutePattern::Glob(pattern.to_owned())
}

#[test]
fn exact_names_come_first_and_patterns_in_the_order_written() {
    assert_eq!(
        routes(
            r#"{"z.*": "z", "re:(a|b)\\.": "r", "a.*": "a", "a.b?": "q", "a.b": {"queue": "one"}}"#
        ),
        [
            to(exact("a.b?"), "q"),
            to(exact("a.b"), "one"),
            to(glob("z.*"), "z"),
            to(RoutePattern::Regex(r"(a|b)\.".to_owned()), "r"),
            to(glob("a.*"), "a"),
        ]
    );
}

#[test]
fn lists_have_celerys_forms() {
    let expected = [to(exact("b"), "y"), to(glob("a.*"), "x")];
    assert_eq!(routes(r#"[["a.*", "x"], ["b", "y"]]"#), expected);
    assert_eq!(
        routes(r#"[[["a.*", "x"], ["b", {"queue": "y"}]]]"#),
        expected
    );
    // Each object of a list is a router of its own: the first that answers counts.
    let separate = [to(glob("a.*"), "x"), to(exact("b"), "y")];
    assert_eq!(routes(r#"[{"a.*": "x"}, {"b": "y"}]"#), separate);
    assert_eq!(routes("{}"), []);
    assert_eq!(routes("[]"), []);
}

#[test]
fn the_later_of_two_equal_patterns_counts() {
    assert_eq!(
        routes(r#"[["a", "x"], ["b", "y"], ["a", "z"]]"#),
        [to(exact("a"), "z"), to(exact("b"), "y")]
    );
}

#[test]
fn a_route_may_carry_priority_and_routing_key() {
    let expected = Route {
        pattern: exact("a"),
        queue: Some("q".to_owned()),
        exchange: None,
        routing_key: Some("k".to_owned()),
        priority: Some(3),
    };
    assert_eq!(
        routes(r#"{"a": {"queue": "q", "routing_key": "k", "priority": 3}}"#),
        [expected]
    );
}

#[test]
fn what_a_route_cannot_do_is_a_warning() {
    let (_, warnings) = read(
        "CELERY_TASK_ROUTES",
        r#"{"a": {"queue": "q", "priorty": 3}}"#,
    )
    .unwrap();
    assert_eq!(
        warnings[0].message,
        "has priorty in the route of a, which has no effect here; did you mean priority?"
    );
}

#[test]
fn wrong_routes_are_faults() {
    for text in [
        "{",
        "3",
        r#""a""#,
        r#"{"a": 3}"#,
        r#"{"a": ""}"#,
        r#"{"": "q"}"#,
        r#"{"re:(": "q"}"#,
        r#"{"a": {"queue": 3}}"#,
        r#"{"a": {"priority": 256}}"#,
        r#"{"a": {"priority": "3"}}"#,
        r#"["a"]"#,
        r#"[["a", "x"], {"b": "y"}, 3]"#,
    ] {
        let faults = read("CELERY_TASK_ROUTES", text).unwrap_err();
        assert_eq!(faults.0.len(), 1, "{text}: {faults}");
    }
}

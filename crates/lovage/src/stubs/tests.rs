//! Whole packages, compared with texts that mypy accepts: `tests/interop/stubs.rs` asks it.

use lovage_registry::{Param, TaskSpec};
use lovage_settings::Settings;
use serde_json::json;

use super::*;

fn settings(variables: &[(&str, &str)]) -> Settings {
    let pairs = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Settings::from_lookup(pairs).unwrap().0
}

fn typed(name: &str, params: Vec<Param>) -> TaskSpec {
    let mut spec = TaskSpec::variadic(name);
    spec.typed = true;
    spec.params = params;
    spec
}

/// A small shop: every kind of task once.
fn shop() -> Vec<TaskSpec> {
    let order = json!({
        "title": "Order", "type": "object", "required": ["number"],
        "properties": {
            "number": {"type": "integer"},
            "state": {"$ref": "#/$defs/State"},
        },
        "$defs": {"State": {"type": "string", "enum": ["new", "paid"]}},
    });
    vec![
        typed("ping", vec![])
            .with_doc("Answers.")
            .with_returns(json!({"type": "string"})),
        typed(
            "shop.pay",
            vec![
                Param::new("order", order.clone()),
                Param::new("from", json!({"type": "string"})).with_doc("Who pays."),
                Param::new("amount", json!({"type": "number"})).with_default(1.5),
                Param::new("note", json!({"type": ["string", "null"]})).optional(),
            ],
        )
        .with_doc("Pays an order.\n\nSends a \"receipt\".")
        .with_returns(order)
        .with_queue("money")
        .with_priority(6),
        typed("shop.orders.list", vec![])
            .with_returns(json!({"type": "array", "items": {"type": "integer"}})),
        TaskSpec::untyped("shop.send-mail", &["to"]).with_ignore_result(true),
    ]
}

const SETTINGS: [(&str, &str); 2] = [
    (
        "CELERY_TASK_ROUTES",
        r#"{"shop.orders.*": {"queue": "films", "routing_key": "media.still", "priority": 3}}"#,
    ),
    (
        "CELERY_TASK_QUEUES",
        r#"[{"name": "films", "exchange": "media", "exchange_type": "topic", "routing_key": "media.#"},
            {"name": "all", "broadcast": true}]"#,
    ),
];

fn package(specs: &[TaskSpec], variables: &[(&str, &str)]) -> Package {
    Package::new("shop_tasks", specs, &settings(variables)).unwrap()
}

fn text<'a>(package: &'a Package, file: &str) -> &'a str {
    let path = Path::new("shop_tasks").join(file);
    package
        .files()
        .get(&path)
        .unwrap_or_else(|| panic!("no {file}"))
}

#[test]
fn a_small_registry_is_this_package() {
    let package = package(&shop(), &SETTINGS);
    let files: Vec<String> = package
        .files()
        .keys()
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(
        files.join(" "),
        "shop_tasks/__init__.py shop_tasks/__init__.pyi shop_tasks/_lovage.py shop_tasks/_lovage.pyi \
         shop_tasks/_queues.py shop_tasks/py.typed shop_tasks/shop/__init__.py shop_tasks/shop/__init__.pyi \
         shop_tasks/shop/orders.py shop_tasks/shop/orders.pyi"
    );
    for (file, expected) in [
        ("__init__.py", include_str!("expected/package.py")),
        ("__init__.pyi", include_str!("expected/package.pyi")),
        ("shop/__init__.py", include_str!("expected/shop.py")),
        ("shop/__init__.pyi", include_str!("expected/shop.pyi")),
        ("shop/orders.py", include_str!("expected/orders.py")),
        ("shop/orders.pyi", include_str!("expected/orders.pyi")),
        ("_queues.py", include_str!("expected/queues.py")),
    ] {
        assert_eq!(text(&package, file), expected, "{file}");
    }
    assert!(package.files().values().all(|text| text.starts_with(MARK)));
}

#[test]
fn the_order_of_the_tasks_changes_nothing() {
    let mut specs = shop();
    let one = package(&specs, &SETTINGS);
    specs.reverse();
    assert_eq!(one.files(), package(&specs, &SETTINGS).files());
}

#[test]
fn each_stub_is_sent_as_our_own_client_sends_it() {
    let check = |spec: TaskSpec, variables: &[(&str, &str)], expected: &str| {
        let package = package(&[spec], variables);
        let init = text(&package, "__init__.py");
        let line = init.lines().find(|line| line.starts_with('@'));
        assert_eq!(line, Some(expected), "{init}");
    };
    let task = || typed("t", vec![]);
    check(task(), &[], r#"@_lovage.task("t", queue="celery")"#);
    check(
        task(),
        &[("CELERY_TASK_DEFAULT_QUEUE", "jobs")],
        r#"@_lovage.task("t", queue="jobs")"#,
    );
    let routes = [(
        "CELERY_TASK_ROUTES",
        r#"{"t": {"queue": "hot", "priority": 9}}"#,
    )];
    check(
        task(),
        &routes,
        r#"@_lovage.task("t", queue="hot", priority=9)"#,
    );
    check(
        task().with_queue("own"),
        &routes,
        r#"@_lovage.task("t", queue="own", priority=9)"#,
    );
    check(
        task().with_queue("own"),
        &[(
            "CELERY_TASK_ANNOTATIONS",
            r#"{"t": {"queue": "set", "priority": 2}}"#,
        )],
        r#"@_lovage.task("t", queue="set", priority=2)"#,
    );
    check(
        task().with_expires(std::time::Duration::from_millis(1500)),
        &[
            ("CELERY_TASK_SERIALIZER", "msgpack"),
            ("CELERY_TASK_COMPRESSION", "gzip"),
        ],
        r#"@_lovage.task("t", queue="celery", expires=1.5, serializer="msgpack", compression="gzip")"#,
    );
    let alias = [(
        "CELERY_TASK_QUEUES",
        r#"[{"name": "films", "alias": "video"}]"#,
    )];
    check(
        task().with_queue("video"),
        &alias,
        r#"@_lovage.task("t", queue="films")"#,
    );
}

#[test]
fn a_queue_that_cannot_be_is_refused() {
    let strict = settings(&[
        ("CELERY_TASK_QUEUES", "a"),
        ("CELERY_TASK_CREATE_MISSING_QUEUES", "no"),
    ]);
    let task = typed("t", vec![]).with_queue("b");
    assert_eq!(Package::new("p", &[task], &strict).unwrap_err().tell(), 78);
}

#[test]
fn packages_have_names_that_python_can_import() {
    assert!(is_package_name("lovage_stubs") && is_package_name("tâches"));
    for wrong in ["a-b", "a.b", "", "2a", "import", "__main__", "a/b", ".."] {
        assert!(!is_package_name(wrong), "{wrong}");
    }
}

//! `lovage openapi`: the document that is committed is the one that is served.

use std::{fs, path::Path};

use crate::program::run;

#[test]
fn the_committed_document_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let committed = fs::read_to_string(path).unwrap();
    let said = run(&["openapi"], &[("LOVAGE_DEMO_TASKS", "1")])
        .expect(0)
        .out;
    assert!(
        committed == said,
        "docs/openapi.json is not what the code says; write it anew with \
         `LOVAGE_DEMO_TASKS=1 lovage openapi > docs/openapi.json`"
    );
}

#[test]
fn without_tasks_only_the_platform_s_own_operations_are_there() {
    let said = run(&["openapi"], &[]).expect(0).json();
    assert_eq!(said["openapi"], "3.1.0");
    let paths = said["paths"].as_object().unwrap();
    assert!(paths.contains_key("/api/v1/tasks/{name}/send"));
    assert!(!paths.keys().any(|path| path.contains("demo.")));
}

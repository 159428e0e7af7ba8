//! A task's parameters as those of a Python function, and every way in which `apply_async` may pass them.

use std::collections::BTreeSet;

use lovage_registry::{Param, TaskSpec};
use serde_json::Value;

use super::{
    annotation::{Types, Way},
    layout::free,
    python::{class_name, is_name, literal, name_of},
};

/// The parameters of one task.
#[derive(Debug)]
pub(crate) struct Parameters {
    list: Vec<Parameter>,
    /// So many of the first ones are passed by position only: Python cannot write their names.
    positional: usize,
}

#[derive(Debug)]
struct Parameter {
    name: String,
    annotation: String,
    default: Option<String>,
    doc: Option<String>,
}

/// One way to pass the arguments: so many by position, the others by name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// The types of those by position.
    pub(crate) tuple: Vec<String>,
    /// Name and type of the others, and whether they must be there.
    pub(crate) named: Vec<(String, String, bool)>,
}

impl Parameters {
    /// Those of a task; `None` when they are not known.
    pub(crate) fn of(spec: &TaskSpec, types: &mut Types) -> Option<Self> {
        if !spec.typed {
            return None;
        }
        let mut list: Vec<Parameter> = Vec::new();
        let mut positional = 0;
        let mut taken = BTreeSet::from(["self".to_owned()]);
        for (place, param) in spec.params.iter().enumerate() {
            let name = free(name_of(&param.name), &taken);
            taken.insert(name.clone());
            if name != param.name || name.starts_with("__") {
                positional = place + 1;
            }
            let hint = format!("{}{}", class_name(&spec.name), class_name(&param.name));
            list.push(Parameter {
                annotation: annotation(param, types, &hint),
                default: default(param),
                doc: doc(param),
                name,
            });
        }
        // Python has no parameter without a default behind one with a default.
        if let Some(last) = list.iter().rposition(|param| param.default.is_none()) {
            list[..last]
                .iter_mut()
                .for_each(|param| param.default = None);
        }
        debug_assert!(list.iter().all(|param| is_name(&param.name)));
        Some(Self { list, positional })
    }

    /// As a function has them: `x: int, y: int = 5`.
    pub(crate) fn in_definition(&self) -> Vec<String> {
        let mut parts = Vec::with_capacity(self.list.len() + 1);
        for (place, param) in self.list.iter().enumerate() {
            let Parameter {
                name, annotation, ..
            } = param;
            parts.push(match &param.default {
                Some(default) => format!("{name}: {annotation} = {default}"),
                None => format!("{name}: {annotation}"),
            });
            if place + 1 == self.positional {
                parts.push("/".to_owned());
            }
        }
        parts
    }

    /// Whether Celery's own check of a call would refuse the names that the task takes.
    pub(crate) fn are_renamed(&self) -> bool {
        self.positional > 0
    }

    /// Every way to pass them.
    pub(crate) fn forms(&self) -> Vec<Form> {
        (self.positional..=self.list.len())
            .map(|by_position| {
                let (first, others) = self.list.split_at(by_position);
                Form {
                    tuple: first.iter().map(|param| param.annotation.clone()).collect(),
                    named: others
                        .iter()
                        .map(|param| {
                            let required = param.default.is_none();
                            (param.name.clone(), param.annotation.clone(), required)
                        })
                        .collect(),
                }
            })
            .collect()
    }

    /// What is said of each of them, as a section of a docstring.
    pub(crate) fn docs(&self) -> String {
        let lines: Vec<String> = self
            .list
            .iter()
            .filter_map(|param| {
                let doc = param.doc.as_ref()?.trim().replace('\n', "\n        ");
                Some(format!("    {}: {doc}", param.name))
            })
            .collect();
        if lines.is_empty() {
            return String::new();
        }
        format!("Args:\n{}", lines.join("\n"))
    }
}

fn annotation(param: &Param, types: &mut Types, hint: &str) -> String {
    let of = types.annotate(&param.schema, Way::Given, hint);
    let may_be_none = default(param).as_deref() == Some("None");
    let says_so = of == "Any" || of == "None" || of.ends_with("| None");
    if may_be_none && !says_so {
        format!("{of} | None")
    } else {
        of
    }
}

fn default(param: &Param) -> Option<String> {
    match &param.default {
        Some(value) => Some(literal(value)),
        None => param.optional.then(|| "None".to_owned()),
    }
}

fn doc(param: &Param) -> Option<String> {
    param
        .schema
        .get("description")
        .and_then(Value::as_str)
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parameters(params: Vec<Param>) -> Parameters {
        let mut spec = TaskSpec::variadic("t");
        spec.typed = true;
        spec.params = params;
        Parameters::of(&spec, &mut Types::default()).unwrap()
    }

    #[test]
    fn they_are_written_as_python_takes_them() {
        let int = json!({"type": "integer"});
        let check = |params: Vec<Param>, expected: &str| {
            assert_eq!(parameters(params).in_definition().join(", "), expected);
        };
        check(
            vec![
                Param::new("x", int.clone()),
                Param::new("y", int.clone()).with_default(5),
                Param::new("z", int.clone()).optional(),
            ],
            "x: int, y: int = 5, z: int | None = None",
        );
        check(
            vec![
                Param::new("x", int.clone()).with_default(5),
                Param::new("y", int.clone()),
            ],
            "x: int, y: int",
        );
        check(
            vec![
                Param::new("x", int.clone()),
                Param::new("from", int.clone()),
                Param::new("to", int.clone()),
            ],
            "x: int, from_: int, /, to: int",
        );
        check(vec![], "");
    }

    #[test]
    fn unknown_ones_are_not_made_up() {
        let spec = TaskSpec::untyped("t", &["x", "y"]);
        assert!(Parameters::of(&spec, &mut Types::default()).is_none());
    }

    #[test]
    fn each_may_come_by_position_or_by_name() {
        let int = json!({"type": "integer"});
        let params = parameters(vec![
            Param::new("x", int.clone()),
            Param::new("y", json!({"type": "string"})).with_default("a"),
        ]);
        let x = || ("x".to_owned(), "int".to_owned(), true);
        let y = || ("y".to_owned(), "str".to_owned(), false);
        let form = |tuple: &[&str], named| Form {
            tuple: tuple.iter().map(|text| (*text).to_owned()).collect(),
            named,
        };
        assert_eq!(
            params.forms(),
            [
                form(&[], vec![x(), y()]),
                form(&["int"], vec![y()]),
                form(&["int", "str"], vec![]),
            ]
        );
        let keyword = parameters(vec![Param::new("from", int)]);
        assert_eq!(keyword.forms(), [form(&["int"], vec![])]);
        assert!(keyword.are_renamed() && !params.are_renamed());
    }
}

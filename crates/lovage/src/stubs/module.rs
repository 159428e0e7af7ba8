//! One module of the package as text: the code that registers its tasks (`.py`), and their types (`.pyi`).

use std::collections::BTreeSet;

use lovage_registry::TaskSpec;

use super::{
    MARK,
    annotation::{Types, Way},
    layout::{Module, PUBLIC, SUPPORT, free, reserved},
    parameters::{Form, Parameters},
    python::{class_name, docstring, quoted},
};

/// Longer lines are broken up.
const WIDTH: usize = 110;

/// A task with the options by which it is sent.
#[derive(Debug)]
pub(crate) struct Stub<'a> {
    pub(crate) spec: &'a TaskSpec,
    pub(crate) options: Vec<String>,
}

/// The two files of a module.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) code: String,
    pub(crate) types: String,
}

/// What the module is about, and where it stands.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    /// Its path in the package.
    pub(crate) path: &'a [String],
    /// What its docstring says.
    pub(crate) about: String,
    /// Names of other modules that it gives as its own, with the path to each.
    pub(crate) shortcuts: Vec<(&'a String, &'a Vec<String>)>,
}

impl Place<'_> {
    fn is_root(&self) -> bool {
        self.path.is_empty()
    }

    /// How the package is named from within: one dot for the folder that the file is in.
    fn to_root(&self, module: &Module) -> String {
        let own_folder = usize::from(self.is_root() || !module.children.is_empty());
        ".".repeat((self.path.len() + own_folder).max(1))
    }
}

/// Writes a module.
pub(crate) fn write(place: &Place<'_>, module: &Module, stubs: &[Stub<'_>]) -> Text {
    let mut taken: BTreeSet<String> = reserved(place.path).collect();
    taken.extend(module.children.iter().cloned());
    taken.extend(module.tasks.keys().cloned());
    taken.extend(place.shortcuts.iter().map(|(name, _)| (*name).clone()));
    let classes: Vec<String> = module
        .tasks
        .keys()
        .map(|name| {
            let class = free(format!("_{}", class_name(name)), &taken);
            taken.insert(class.clone());
            class
        })
        .collect();
    let mut types = Types::without(taken);
    let mut code = String::new();
    let mut typed = String::new();
    for ((name, index), class) in module.tasks.iter().zip(&classes) {
        let Some(stub) = stubs.get(*index) else {
            continue;
        };
        let written = Written::of(name, class, stub, &mut types);
        code.push_str(&written.function());
        typed.push_str(&written.class(&mut types));
    }
    let definitions = definitions(&types);
    // Code has two empty lines where a file of types has one.
    let spaced = definitions
        .replace("\n\n", "\n\n\n")
        .replacen('\n', "\n\n", 1);
    Text {
        code: head(place, module, &types, false) + &spaced + &code + &all(place, module),
        types: head(place, module, &types, true) + &definitions + &typed,
    }
}

/// One task on its way into text.
struct Written<'a> {
    name: &'a str,
    class: &'a str,
    stub: &'a Stub<'a>,
    parameters: Option<Parameters>,
    returns: String,
    doc: String,
}

impl<'a> Written<'a> {
    fn of(name: &'a str, class: &'a str, stub: &'a Stub<'a>, types: &mut Types) -> Self {
        let spec = stub.spec;
        let parameters = Parameters::of(spec, types);
        let returns = match &spec.returns {
            Some(schema) => types.annotate(
                schema,
                Way::Returned,
                &format!("{}Result", class_name(name)),
            ),
            None => types.uses("Any").to_owned(),
        };
        if parameters.is_none() {
            types.uses("Any");
        }
        let doc = spec.doc.clone().unwrap_or_default();
        let docs = parameters.as_ref().map(Parameters::docs);
        let doc = format!("{}\n\n{}", doc.trim(), docs.unwrap_or_default());
        Self {
            name,
            class,
            stub,
            parameters,
            returns,
            doc: doc.trim().to_owned(),
        }
    }

    /// `function(x: int, ...) -> int`, without what is before and behind it.
    fn signature(
        &self,
        function: &str,
        first: Option<&str>,
        returns: &str,
        indent: &str,
    ) -> String {
        let mut parts: Vec<String> = first.map(str::to_owned).into_iter().collect();
        match &self.parameters {
            Some(parameters) => parts.extend(parameters.in_definition()),
            None => parts.extend(["*args: Any".to_owned(), "**kwargs: Any".to_owned()]),
        }
        call(
            &format!("{indent}def {function}"),
            &parts,
            &format!(" -> {returns}:"),
            indent,
        )
    }

    fn function(&self) -> String {
        let task = quoted(&self.stub.spec.name);
        let mut options = vec![task.clone()];
        options.extend(self.stub.options.iter().cloned());
        if self
            .parameters
            .as_ref()
            .is_some_and(Parameters::are_renamed)
        {
            // Celery's own check would refuse the names that the task takes.
            options.push("typing=False".to_owned());
        }
        let decorator = call(&format!("@{SUPPORT}.task"), &options, "", "");
        let signature = self.signature(self.name, None, &self.returns, "");
        let doc = docstring(&self.doc, "    ");
        format!("\n\n{decorator}\n{signature}\n{doc}    raise {SUPPORT}.RunsInRust({task})\n")
    }

    fn class(&self, types: &mut Types) -> String {
        let Self {
            class,
            name,
            returns,
            ..
        } = self;
        let doc = docstring(&self.doc, "    ");
        let Some(parameters) = &self.parameters else {
            let body = if doc.is_empty() { "    ...\n" } else { &doc };
            return format!(
                "\nclass {class}({SUPPORT}.UntypedTask[{returns}]):\n{body}\n{name}: {class}\n"
            );
        };
        let result = format!("{SUPPORT}.AsyncResult[{returns}]");
        let delay = self.signature("delay", Some("self"), &result, "    ");
        let inner_doc = docstring(&self.doc, "        ");
        let delay = if inner_doc.is_empty() {
            format!("{delay} ...\n")
        } else {
            format!("{delay}\n{inner_doc}")
        };
        let mut dicts = String::new();
        let mut overloads = Vec::new();
        // Editors show the first one first: all arguments in one tuple.
        for form in parameters.forms().iter().rev() {
            let (dict, signatures) = self.form(form, &result, types);
            dicts.push_str(&dict);
            overloads.extend(signatures);
        }
        let overloads: String = match overloads.as_slice() {
            [only] => only.clone(),
            several => {
                let mark = types.uses("overload");
                several
                    .iter()
                    .map(|signature| format!("    @{mark}\n{signature}"))
                    .collect()
            }
        };
        format!(
            "\n{dicts}class {class}({SUPPORT}.Task[{returns}]):\n{doc}{delay}{overloads}\n{name}: {class}\n"
        )
    }

    /// The signatures of `apply_async` for one way to pass the arguments, and the type of those by name.
    fn form(&self, form: &Form, result: &str, types: &mut Types) -> (String, Vec<String>) {
        let Form { tuple, named } = form;
        let mut dict = String::new();
        let mut kwargs = format!("{SUPPORT}.Nothing");
        if !named.is_empty() {
            kwargs = format!("{}{}", self.class, tuple.len());
            types.uses("TypedDict");
            dict = format!("class {kwargs}(TypedDict):\n");
            for (name, of, required) in named {
                let of = if *required {
                    of.clone()
                } else {
                    format!("{}[{of}]", types.uses("NotRequired"))
                };
                dict.push_str(&format!("    {name}: {of}\n"));
            }
            dict.push('\n');
        }
        let needs_names = named.iter().any(|(_, _, required)| *required);
        let args = match tuple.as_slice() {
            [] => "tuple[()] | None".to_owned(),
            types => format!("tuple[{}]", types.join(", ")),
        };
        types.uses("Unpack");
        let options = format!("**options: Unpack[{SUPPORT}.Options]");
        let signature = |parts: &[String]| {
            let mut all = vec!["self".to_owned()];
            all.extend(parts.iter().cloned());
            all.push(options.clone());
            let line = call(
                "    def apply_async",
                &all,
                &format!(" -> {result}: ..."),
                "    ",
            );
            format!("{line}\n")
        };
        let optional = |name: &str, of: &str| format!("{name}: {of} = None");
        let or_none = format!("{kwargs} | None");
        let signatures = match (tuple.is_empty(), needs_names) {
            (true, false) => vec![signature(&[
                optional("args", &args),
                optional("kwargs", &or_none),
            ])],
            (true, true) => vec![
                signature(&[format!("args: {args}"), format!("kwargs: {kwargs}")]),
                signature(&["*".to_owned(), format!("kwargs: {kwargs}")]),
            ],
            (false, false) => vec![signature(&[
                format!("args: {args}"),
                optional("kwargs", &or_none),
            ])],
            (false, true) => vec![signature(&[
                format!("args: {args}"),
                format!("kwargs: {kwargs}"),
            ])],
        };
        (dict, signatures)
    }
}

/// What the file begins with.
fn head(place: &Place<'_>, module: &Module, types: &Types, for_types: bool) -> String {
    let used = |names: &[&'static str]| -> Vec<&'static str> {
        names
            .iter()
            .copied()
            .filter(|name| types.used().contains(name))
            .collect()
    };
    let mut text = format!("{MARK}\n");
    if !for_types {
        text.push_str(&docstring(&place.about, ""));
        text.push_str("\nfrom __future__ import annotations\n");
    }
    let import = |from: &str, names: &[&str]| {
        if names.is_empty() {
            String::new()
        } else {
            format!("from {from} import {}\n", names.join(", "))
        }
    };
    let mut typing = used(&["Any", "Literal", "TypeAlias", "TypedDict"]);
    let newer = used(&["NotRequired"]);
    let outside = if for_types {
        typing.extend(used(&["overload"]));
        let mut extensions = newer.clone();
        extensions.extend(used(&["Unpack"]));
        import("collections.abc", &used(&["Mapping", "Sequence"]))
            + &import("typing", &typing)
            + &import("typing_extensions", &extensions)
    } else {
        if !needs(types, "TypedDict") {
            typing.retain(|name| *name != "TypedDict");
        }
        let checked = needs(types, "NotRequired[");
        if checked {
            typing.insert(0, "TYPE_CHECKING");
        }
        import("collections.abc", &used(&["Mapping", "Sequence"])) + &import("typing", &typing)
    };
    if !outside.is_empty() {
        text.push('\n');
        text.push_str(&outside);
    }
    let root = place.to_root(module);
    text.push('\n');
    if !module.tasks.is_empty() || place.is_root() {
        text.push_str(&format!("from {root} import {SUPPORT}\n"));
    }
    let again = |name: &str| {
        if for_types {
            format!("{name} as {name}")
        } else {
            name.to_owned()
        }
    };
    for child in &module.children {
        text.push_str(&format!("from . import {}\n", again(child)));
    }
    if place.is_root() {
        let names: Vec<String> = PUBLIC.iter().map(|name| again(name)).collect();
        text.push_str(&format!("from .{SUPPORT} import {}\n", names.join(", ")));
    }
    for (name, path) in &place.shortcuts {
        text.push_str(&format!(
            "from .{} import {}\n",
            path.join("."),
            again(name)
        ));
    }
    if !for_types && needs(types, "NotRequired[") {
        text.push_str("\nif TYPE_CHECKING:\n    from typing_extensions import NotRequired\n");
    }
    text
}

/// Whether the definitions, which both files have, use a name.
fn needs(types: &Types, name: &str) -> bool {
    types.definitions().contains(name)
}

/// The types of a module, behind an empty line.
fn definitions(types: &Types) -> String {
    let definitions = types.definitions();
    if definitions.is_empty() {
        return definitions;
    }
    format!("\n{}\n", definitions.trim_end_matches('\n'))
}

/// What `from module import *` gives.
fn all(place: &Place<'_>, module: &Module) -> String {
    let mut names: BTreeSet<&str> = module.tasks.keys().map(String::as_str).collect();
    names.extend(module.children.iter().map(String::as_str));
    names.extend(place.shortcuts.iter().map(|(name, _)| name.as_str()));
    if place.is_root() {
        names.extend(PUBLIC);
    }
    let names: String = names
        .iter()
        .map(|name| format!("    {},\n", quoted(name)))
        .collect();
    format!("\n\n__all__ = [\n{names}]\n")
}

/// A call or a definition, on one line where it is short enough.
fn call(before: &str, parts: &[String], behind: &str, indent: &str) -> String {
    let line = format!("{before}({}){behind}", parts.join(", "));
    if line.chars().count() <= WIDTH || parts.is_empty() {
        return line;
    }
    let parts: String = parts
        .iter()
        .map(|part| format!("{indent}    {part},\n"))
        .collect();
    format!("{before}(\n{parts}{indent}){behind}")
}

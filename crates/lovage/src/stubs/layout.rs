//! Where each task is found in the package: `demo.add` is `add` in the module `demo`.

use std::collections::{BTreeMap, BTreeSet};

use super::python::{is_name, name_of};

/// The module with the application and the types, which every other one imports.
pub(crate) const SUPPORT: &str = "_lovage";
/// The module that says how queues hang on their exchanges.
pub(crate) const QUEUES: &str = "_queues";

/// What the package itself holds for its users, besides tasks.
pub(crate) const PUBLIC: [&str; 3] = ["AsyncResult", "Signature", "app"];

/// What the modules themselves use; a task or type of this name gets another.
const USED: [&str; 19] = [
    "Any",
    "Literal",
    "Mapping",
    "NotRequired",
    "Sequence",
    "TYPE_CHECKING",
    "TypeAlias",
    "TypedDict",
    "Unpack",
    "annotations",
    "bool",
    "dict",
    "float",
    "int",
    "list",
    "overload",
    "str",
    "tuple",
    SUPPORT,
];

/// The modules of a package by their paths; the empty path is the package itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) modules: BTreeMap<Vec<String>, Module>,
    /// Tasks that the package itself gives too, because no other has their name: the module's path by the name.
    pub(crate) shortcuts: BTreeMap<String, Vec<String>>,
}

/// What one module holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Module {
    /// Modules inside it.
    pub(crate) children: BTreeSet<String>,
    /// The place of a task among those given, by the name of its function.
    pub(crate) tasks: BTreeMap<String, usize>,
}

impl Layout {
    /// Finds a place for each task. The same names give the same places.
    pub(crate) fn of(tasks: &[&str]) -> Self {
        let mut layout = Self::default();
        layout.modules.entry(Vec::new()).or_default();
        let mut wanted: BTreeMap<Vec<String>, Vec<(String, usize)>> = BTreeMap::new();
        for (index, task) in tasks.iter().enumerate() {
            let mut segments: Vec<&str> = task.split('.').collect();
            let last = segments.pop().unwrap_or_default();
            let path: Vec<String> = segments.iter().map(|text| module_name(text)).collect();
            layout.insert(&path);
            wanted
                .entry(path)
                .or_default()
                .push((last.to_owned(), index));
        }
        for (path, mut tasks) in wanted {
            let module = layout.modules.entry(path.clone()).or_default();
            let mut taken: BTreeSet<String> = module.children.clone();
            taken.extend(reserved(&path));
            // A task that can have its own name does, whatever the others are called.
            tasks.sort_by_key(|(text, index)| (!is_name(text), text.clone(), *index));
            for (text, index) in tasks {
                let name = free(name_of(&text), &taken);
                taken.insert(name.clone());
                module.tasks.insert(name, index);
            }
        }
        layout.shortcuts = layout.find_shortcuts();
        layout
    }

    fn insert(&mut self, path: &[String]) {
        for depth in 0..path.len() {
            let parent = self.modules.entry(path[..depth].to_vec()).or_default();
            parent.children.insert(path[depth].clone());
            self.modules.entry(path[..=depth].to_vec()).or_default();
        }
    }

    fn find_shortcuts(&self) -> BTreeMap<String, Vec<String>> {
        let mut found: BTreeMap<String, Option<Vec<String>>> = BTreeMap::new();
        for (path, module) in self.modules.iter().filter(|(path, _)| !path.is_empty()) {
            for name in module.tasks.keys() {
                found
                    .entry(name.clone())
                    .and_modify(|only| *only = None)
                    .or_insert_with(|| Some(path.clone()));
            }
        }
        let root = self.modules.get(&Vec::new());
        let taken = |name: &String| {
            reserved(&[]).any(|other| other == *name)
                || root.is_some_and(|root| {
                    root.children.contains(name) || root.tasks.contains_key(name)
                })
        };
        found
            .into_iter()
            .filter_map(|(name, only)| only.filter(|_| !taken(&name)).map(|path| (name, path)))
            .collect()
    }
}

/// The names in a module that no task can have.
pub(crate) fn reserved(path: &[String]) -> impl Iterator<Item = String> {
    let public: &[&str] = if path.is_empty() { &PUBLIC } else { &[] };
    let root = path.is_empty().then_some(QUEUES);
    USED.iter()
        .chain(public)
        .map(|name| (*name).to_owned())
        .chain(root.map(str::to_owned))
}

/// The name, with underscores behind it while it is taken.
pub(crate) fn free(mut name: String, taken: &BTreeSet<String>) -> String {
    while taken.contains(&name) {
        name.push('_');
    }
    name
}

fn module_name(text: &str) -> String {
    let mut name = name_of(text);
    while [SUPPORT, QUEUES].contains(&name.as_str()) || PUBLIC.contains(&name.as_str()) {
        name.push('_');
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each task with the place it gets, and the shortcuts.
    fn places(tasks: &[&str]) -> (Vec<String>, Vec<String>) {
        let layout = Layout::of(tasks);
        let mut places = vec![String::new(); tasks.len()];
        for (path, module) in &layout.modules {
            for (name, index) in &module.tasks {
                let mut place = path.clone();
                place.push(name.clone());
                places[*index] = place.join(".");
            }
        }
        (places, layout.shortcuts.into_keys().collect())
    }

    fn check(tasks: &[&str], expected: &[&str], shortcuts: &[&str]) {
        let (places, short) = places(tasks);
        assert_eq!(places, expected, "{tasks:?}");
        assert_eq!(short, shortcuts, "{tasks:?}");
    }

    #[test]
    fn a_dotted_name_is_a_path() {
        check(
            &["add", "demo.mul", "shop.orders.list", "shop.orders.pay"],
            &["add", "demo.mul", "shop.orders.list_", "shop.orders.pay"],
            &["list_", "mul", "pay"],
        );
    }

    #[test]
    fn only_what_is_unambiguous_has_a_shortcut() {
        check(
            &["a.send", "b.send", "a.b", "c.app", "add", "d.add"],
            &["a.send", "b.send", "a.b", "c.app", "add", "d.add"],
            &[],
        );
    }

    #[test]
    fn every_task_has_a_place_of_its_own() {
        check(
            &[
                "mail.send-now",
                "mail.send_now",
                "mail.import",
                "mail.",
                "mail.2",
            ],
            &[
                "mail.send_now_",
                "mail.send_now",
                "mail.import_",
                "mail._",
                "mail._2",
            ],
            &["_", "_2", "import_", "send_now", "send_now_"],
        );
        check(
            &[
                "a",
                "a.b",
                "a.b.c",
                "_lovage.x",
                "app.y",
                "app",
                "__init__.z",
                "m.int",
            ],
            &[
                "a_",
                "a.b_",
                "a.b.c",
                "_lovage_.x",
                "app_.y",
                "app__",
                "init.z",
                "m.int_",
            ],
            &["b_", "c", "int_", "x", "y", "z"],
        );
    }
}

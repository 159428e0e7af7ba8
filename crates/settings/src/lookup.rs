//! Typed reads of one variable at a time, collecting every fault instead of stopping at the first.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read,
    path::Path,
};

use serde_json::{Map, Value};

use crate::{Fault, Faults, Warning, parse::Problem, secret::MASK, variable::Variable};

/// Secret files hold one line; more than this is some other file.
const LONGEST_SECRET_FILE: u64 = 64 * 1024;

/// The variables given, what was read of them, and what was wrong.
#[derive(Debug)]
pub(crate) struct Lookup {
    variables: BTreeMap<String, String>,
    read: BTreeSet<&'static str>,
    faults: Vec<Fault>,
    warnings: Vec<Warning>,
}

impl Lookup {
    pub(crate) fn new(variables: BTreeMap<String, String>) -> Self {
        Self {
            variables,
            read: BTreeSet::new(),
            faults: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The variable's text without blanks around it. An empty variable counts as unset, because compose files pass
    /// `NAME=` for what they were not given. A secret may come from the file that `NAME_FILE` names.
    pub(crate) fn text(&mut self, variable: &'static Variable) -> Option<String> {
        let first = self.read.insert(variable.name);
        let direct = self.raw(variable.name);
        if !variable.secret {
            return direct;
        }
        let name = format!("{}_FILE", variable.name);
        let Some(path) = self.raw(&name) else {
            return direct;
        };
        if direct.is_some() {
            if first {
                let problem = format!("{} is set as well", variable.name);
                self.push_fault(&name, path, &problem, "one of the two");
            }
            return direct;
        }
        match read_secret(Path::new(&path)) {
            Ok(text) => Some(text),
            Err(problem) => {
                if first {
                    self.push_fault(
                        &name,
                        path,
                        &problem,
                        "a readable file that holds the value",
                    );
                }
                None
            }
        }
    }

    fn raw(&self, name: &str) -> Option<String> {
        let text = self.variables.get(name)?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// Whether the variable, or its file, holds anything.
    pub(crate) fn is_set(&self, variable: &'static Variable) -> bool {
        self.raw(variable.name).is_some()
            || (variable.secret && self.raw(&format!("{}_FILE", variable.name)).is_some())
    }

    /// The variable's value, or None when it is unset or wrong (and then there is a fault).
    pub(crate) fn parsed<T>(
        &mut self,
        variable: &'static Variable,
        parse: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Option<T> {
        let text = self.text(variable)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(Problem { problem, expected }) => {
                let value = if variable.secret {
                    masked(&text)
                } else {
                    fault_value(&text)
                };
                self.push_fault(variable.name, value, &problem, &expected);
                None
            }
        }
    }

    /// Puts the variable's value into `place`; leaves the default there when it is unset.
    pub(crate) fn set<T>(
        &mut self,
        variable: &'static Variable,
        place: &mut T,
        parse: impl FnOnce(&str) -> Result<T, Problem>,
    ) {
        if let Some(value) = self.parsed(variable, parse) {
            *place = value;
        }
    }

    /// The variable's text as a JSON object.
    pub(crate) fn object(
        &mut self,
        variable: &'static Variable,
        text: &str,
    ) -> Option<Map<String, Value>> {
        match serde_json::from_str(text) {
            Ok(Value::Object(map)) => Some(map),
            Ok(other) => {
                self.fault(
                    variable,
                    &other,
                    "is not a JSON object",
                    "a JSON object, {\"name\": value}",
                );
                None
            }
            Err(error) => {
                // The text itself may hold passwords somewhere; the place of the error is enough.
                let problem = format!(
                    "is not JSON (line {}, column {})",
                    error.line(),
                    error.column()
                );
                self.push_fault(
                    variable.name,
                    MASK.to_owned(),
                    &problem,
                    "a JSON object, {\"name\": value}",
                );
                None
            }
        }
    }

    /// A fault in a part of a JSON variable.
    pub(crate) fn fault(
        &mut self,
        variable: &'static Variable,
        value: &Value,
        problem: &str,
        expected: &str,
    ) {
        self.push_fault(
            variable.name,
            fault_value(&value.to_string()),
            problem,
            expected,
        );
    }

    /// A fault whose value is better not shown, or is not a variable's.
    pub(crate) fn push_fault(
        &mut self,
        variable: &str,
        value: String,
        problem: &str,
        expected: &str,
    ) {
        self.faults.push(Fault {
            variable: variable.to_owned(),
            value,
            problem: problem.to_owned(),
            expected: expected.to_owned(),
        });
    }

    pub(crate) fn warn(&mut self, variable: &'static Variable, message: String) {
        self.push_warning(variable.name.to_owned(), message);
    }

    pub(crate) fn push_warning(&mut self, variable: String, message: String) {
        self.warnings.push(Warning { variable, message });
    }

    /// The names given.
    pub(crate) fn names(&self) -> Vec<String> {
        self.variables.keys().cloned().collect()
    }

    /// The names asked for so far.
    #[cfg(test)]
    pub(crate) fn names_read(&self) -> &BTreeSet<&'static str> {
        &self.read
    }

    /// The end: warnings when all is well, else every fault, with them.
    pub(crate) fn finish(self) -> Result<Vec<Warning>, Faults> {
        if self.faults.is_empty() {
            Ok(self.warnings)
        } else {
            Err(Faults(self.faults, self.warnings))
        }
    }
}

/// A wrong value as a message shows it: on one line and not endless.
fn fault_value(text: &str) -> String {
    const LONGEST: usize = 120;
    let mut shown: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST)
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// A wrong secret. Its scheme helps to find the mistake; nothing else is shown, because what cannot be parsed cannot be
/// masked in part.
fn masked(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, _))
            if scheme.len() <= 20
                && scheme
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'+') =>
        {
            format!("{scheme}://{MASK}")
        }
        _ => MASK.to_owned(),
    }
}

fn read_secret(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("names a file that cannot be read: {error}");
    let about = fs::metadata(path).map_err(unreadable)?;
    // A pipe or a device might never end.
    if !about.is_file() {
        return Err("does not name a file".to_owned());
    }
    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| file.take(LONGEST_SECRET_FILE).read_to_string(&mut text))
        .map_err(unreadable)?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err("names an empty file".to_owned());
    }
    Ok(text.to_owned())
}

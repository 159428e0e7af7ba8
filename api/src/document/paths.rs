//! Which paths have which methods, for `Allow` and for the names of metrics.

use serde_json::Value;

use super::METHODS;

/// Every path of the document.
#[derive(Debug, Default)]
pub(crate) struct Paths(Vec<Path>);

#[derive(Debug)]
struct Path {
    template: String,
    methods: String,
}

impl Paths {
    pub(crate) fn of(document: &Value) -> Self {
        let paths = document["paths"].as_object().into_iter().flatten();
        let mut paths: Vec<Path> = paths
            .map(|(template, item)| {
                let methods: Vec<String> = METHODS
                    .iter()
                    .filter(|method| item.get(**method).is_some())
                    .map(|method| method.to_uppercase())
                    .collect();
                Path {
                    template: template.clone(),
                    methods: methods.join(", "),
                }
            })
            .collect();
        // Paths without parameters come before those that they would match.
        paths.sort_by_key(|path| path.template.matches('{').count());
        Self(paths)
    }

    fn find(&self, path: &str) -> Option<&Path> {
        self.0.iter().find(|known| matches(&known.template, path))
    }

    /// The template of a path.
    pub(crate) fn route(&self, path: &str) -> Option<&str> {
        self.find(path).map(|path| path.template.as_str())
    }

    /// The methods that a path has, as `Allow` writes them.
    pub(crate) fn allowed(&self, path: &str) -> Option<String> {
        self.find(path).map(|path| path.methods.clone())
    }
}

fn matches(template: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) => {
                let fits = wanted == given || (wanted.starts_with('{') && !given.is_empty());
                if !fits {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_is_found_by_its_shape() {
        let paths = Paths::of(&json!({"paths": {
            "/a/{id}": {"get": {}, "delete": {}},
            "/a/b": {"post": {}},
        }}));
        assert_eq!(paths.allowed("/a/b").as_deref(), Some("POST"));
        assert_eq!(paths.allowed("/a/c").as_deref(), Some("GET, DELETE"));
        assert_eq!(paths.route("/a/c"), Some("/a/{id}"));
        assert_eq!(paths.route("/a/c/d"), None);
        assert_eq!(paths.route("/a/"), None);
    }
}

//! The names of serializers: which are read, which are written.

use crate::parse::{self, Problem};

/// The short name of a serializer, by itself or by content type.
fn short_name(text: &str) -> Option<&'static str> {
    Some(match text {
        "json" | "application/json" => "json",
        "msgpack" | "application/x-msgpack" => "msgpack",
        "yaml" | "application/x-yaml" => "yaml",
        "pickle" | "application/x-python-serialize" => "pickle",
        _ => return None,
    })
}

/// A serializer that messages and results may be written in.
pub(crate) fn written(text: &str) -> Result<String, Problem> {
    let expected = "json, msgpack or yaml";
    match short_name(text) {
        Some("pickle") => Err(Problem::new("is read but never written here", expected)),
        Some(name) => Ok(name.to_owned()),
        None => Err(Problem::new(
            "is not a serializer that Lovage writes",
            expected,
        )),
    }
}

/// The content types that a worker takes, as short names, each once: a list with commas, or one as Python or JSON write it.
pub(crate) fn accepted(text: &str) -> Result<Vec<String>, Problem> {
    let wrong = |problem: String| Problem::new(problem, "a list of json, msgpack, yaml and pickle");
    let mut accepted: Vec<String> = Vec::new();
    for name in parse::names(text.trim_matches(['[', ']'])) {
        let name = name.trim_matches(['"', '\'', ' ']);
        let short = short_name(name).ok_or_else(|| {
            wrong(format!(
                "names {name}, a content type that Lovage does not read"
            ))
        })?;
        if !accepted.iter().any(|one| one == short) {
            accepted.push(short.to_owned());
        }
    }
    if accepted.is_empty() {
        return Err(wrong("names no content type".to_owned()));
    }
    Ok(accepted)
}

//! Versions of what is edited, as `ETag` and `If-Match` carry them.

use crate::problem::Problem;

/// The tag of a version.
pub(crate) fn of(version: i64) -> String {
    format!("\"{version}\"")
}

/// The version behind a tag.
///
/// # Errors
/// When it is no tag of ours.
pub(crate) fn read(tag: &str) -> Result<i64, Problem> {
    tag.trim()
        .trim_start_matches("W/")
        .trim_matches('"')
        .parse()
        .map_err(|_| Problem::invalid("If-Match is no ETag that this API has given"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_read_as_it_was_written() {
        assert_eq!(read(&of(7)).unwrap(), 7);
        assert_eq!(read("W/\"7\"").unwrap(), 7);
        assert!(read("*").is_err());
    }
}

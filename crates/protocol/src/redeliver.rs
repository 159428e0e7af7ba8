//! Marking a message that goes back to its queue.

use crate::json::JsonError;
use crate::json::reader::{Kind, Reader};

/// Replaces `range` of the original text.
struct Edit {
    range: std::ops::Range<usize>,
    text: String,
}

/// The header that says how many workers a message has cost.
pub const DEATHS_HEADER: &str = "lovage_deaths";

/// Notes in a raw envelope that it was delivered before, as kombu does when it puts a message back.
///
/// Sets `headers.redelivered` and `properties.delivery_info.redelivered` to true and leaves every other byte as it
/// is, so that a body travels unchanged however often its message is put back. `None` when the bytes are not an
/// envelope with these objects.
#[must_use]
pub fn mark_redelivered(raw: &[u8]) -> Option<Vec<u8>> {
    mark(raw, &[REDELIVERED], &[REDELIVERED])
}

/// Where a message that a worker has told of says so: in its delivery info.
pub const RECEIVED_MARK: &str = "lovage_received";

/// Notes in a raw envelope that its reception was told (the event `task-received`), for it will be delivered once more. Every
/// other byte stays. `None` when the bytes are not an envelope.
#[must_use]
pub fn mark_received(raw: &[u8]) -> Option<Vec<u8>> {
    mark(raw, &[], &[(RECEIVED_MARK, "true")])
}

/// As [`mark_redelivered`], and sets the header [`DEATHS_HEADER`] to the number of workers the message has cost.
#[must_use]
pub fn mark_deaths(raw: &[u8], deaths: u32) -> Option<Vec<u8>> {
    let deaths = deaths.to_string();
    mark(
        raw,
        &[REDELIVERED, (DEATHS_HEADER, &deaths)],
        &[REDELIVERED],
    )
}

/// A field and its value as JSON.
type Field<'a> = (&'a str, &'a str);

const REDELIVERED: Field<'_> = ("redelivered", "true");

fn mark(raw: &[u8], headers: &[Field<'_>], info: &[Field<'_>]) -> Option<Vec<u8>> {
    let mut edits = find_edits(raw, headers, info).ok()??;
    edits.sort_by_key(|edit| edit.range.start);
    let mut marked = Vec::with_capacity(raw.len() + 48);
    let mut from = 0;
    for edit in edits {
        marked.extend_from_slice(&raw[from..edit.range.start]);
        marked.extend_from_slice(edit.text.as_bytes());
        from = edit.range.end;
    }
    marked.extend_from_slice(&raw[from..]);
    Some(marked)
}

fn find_edits(
    raw: &[u8],
    in_headers: &[Field<'_>],
    in_info: &[Field<'_>],
) -> Result<Option<Vec<Edit>>, JsonError> {
    let mut reader = Reader::from_bytes(raw)?;
    let mut edits = Vec::new();
    let (mut headers, mut info) = (false, false);
    reader.open_object()?;
    let mut first = true;
    while let Some(key) = reader.next_key(&mut first)? {
        match (&*key, reader.kind()?) {
            ("headers", Kind::Object) => {
                headers = true;
                mark_object(&mut reader, &mut edits, in_headers)?;
            }
            ("properties", Kind::Object) => {
                reader.open_object()?;
                let mut first = true;
                while let Some(key) = reader.next_key(&mut first)? {
                    if key == "delivery_info" && reader.kind()? == Kind::Object {
                        info = true;
                        mark_object(&mut reader, &mut edits, in_info)?;
                    } else {
                        reader.skip_value()?;
                    }
                }
            }
            _ => {
                reader.skip_value()?;
            }
        }
    }
    reader.end()?;
    Ok((headers && info).then_some(edits))
}

/// Passes over an object, noting where its fields have to be written.
fn mark_object(
    reader: &mut Reader<'_>,
    edits: &mut Vec<Edit>,
    fields: &[Field<'_>],
) -> Result<(), JsonError> {
    reader.open_object()?;
    let mut first = true;
    let mut missing = fields.to_vec();
    while let Some(key) = reader.next_key(&mut first)? {
        let range = reader.skip_value()?;
        if let Some((_, value)) = fields.iter().find(|(name, _)| *name == key) {
            missing.retain(|(name, _)| *name != key);
            let text = (*value).to_owned();
            edits.push(Edit { range, text });
        }
    }
    // next_key has just taken the closing brace.
    let at = reader.position() - 1;
    for (name, value) in missing {
        let comma = if first { "" } else { ", " };
        first = false;
        let text = format!("{comma}\"{name}\": {value}");
        edits.push(Edit {
            range: at..at,
            text,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(raw: &str) -> Option<String> {
        mark_redelivered(raw.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn writes_both_marks_and_touches_nothing_else() {
        let raw = r#"{"body":  "W10=", "headers": {"id": "x"}, "properties":{"delivery_info":{}}}"#;
        let expected = concat!(
            r#"{"body":  "W10=", "headers": {"id": "x", "redelivered": true}, "#,
            r#""properties":{"delivery_info":{"redelivered": true}}}"#
        );
        assert_eq!(marked(raw).as_deref(), Some(expected));
        assert_eq!(
            marked(expected).as_deref(),
            Some(expected),
            "a second time changes nothing"
        );
    }

    #[test]
    fn turns_a_false_mark() {
        let raw = r#"{"headers":{"redelivered":false},"properties":{"delivery_info":{"redelivered":null}}}"#;
        let expected = r#"{"headers":{"redelivered":true},"properties":{"delivery_info":{"redelivered":true}}}"#;
        assert_eq!(marked(raw).as_deref(), Some(expected));
    }

    #[test]
    fn counts_deaths_in_a_header() {
        let raw = r#"{"headers":{"id":"x"},"properties":{"delivery_info":{}}}"#;
        let once = mark_deaths(raw.as_bytes(), 2).unwrap();
        let expected = concat!(
            r#"{"headers":{"id":"x", "redelivered": true, "lovage_deaths": 2},"#,
            r#""properties":{"delivery_info":{"redelivered": true}}}"#
        );
        assert_eq!(String::from_utf8_lossy(&once), expected);
        let again = mark_deaths(&once, 13).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&again),
            expected.replace(": 2}", ": 13}")
        );
    }

    #[test]
    fn a_reception_is_noted_once() {
        let raw = r#"{"headers":{"id":"x"},"properties":{"delivery_info":{"exchange":""}}}"#;
        let told = mark_received(raw.as_bytes()).unwrap();
        let expected = r#"{"headers":{"id":"x"},"properties":{"delivery_info":{"exchange":"", "lovage_received": true}}}"#;
        assert_eq!(String::from_utf8_lossy(&told), expected);
        assert_eq!(mark_received(&told).as_deref(), Some(expected.as_bytes()));
    }

    #[test]
    fn refuses_what_is_no_envelope() {
        for raw in [
            "",
            "[]",
            "{}",
            "nonsense",
            r#"{"headers":{},"properties":{}}"#,
            r#"{"headers":{}"#,
        ] {
            assert_eq!(marked(raw), None, "{raw}");
        }
    }
}

//! Whether a stored record is a SUCCESS, which nothing may overwrite.

use super::meta::TaskMeta;
use crate::state::State;

/// How a record of a success begins in JSON.
const JSON: &[u8] = b"{\"status\": \"SUCCESS\"";
/// What follows the length of a map in msgpack.
const MSGPACK: &[u8] = b"\xa6status\xa7SUCCESS";
/// A whole line in YAML; text of several lines is indented or escaped there.
const YAML: &[u8] = b"\nstatus: SUCCESS\n";

/// Tells whether a record, in whichever serializer, is one of a success.
///
/// The form in which Celery and Lovage write is recognised without reading the record; any other is read.
#[must_use]
pub fn is_success_record(record: &[u8]) -> bool {
    if record.starts_with(JSON) {
        return true;
    }
    match record {
        [0x80..=0x8f, rest @ ..] | [0xde, _, _, rest @ ..] => rest.starts_with(MSGPACK),
        [b'a'..=b'z', ..] => record.windows(YAML.len()).any(|window| window == YAML),
        _ => TaskMeta::parse(record).is_ok_and(|meta| meta.status == State::Success),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::Compression;
    use crate::content::Serializer;
    use crate::ids::TaskId;
    use crate::result::{Extended, compress_result};
    use crate::value::{Map, Value};

    fn meta(status: State, traceback: &str) -> TaskMeta {
        let mut meta = TaskMeta::new(TaskId::from("x"), status, Value::Null);
        meta.traceback = Some(traceback.to_owned());
        meta
    }

    #[test]
    fn a_success_is_known_in_every_serializer_and_compressed() {
        for serializer in [Serializer::Json, Serializer::Msgpack, Serializer::Yaml] {
            let mut success = meta(State::Success, "");
            let failure = meta(
                State::Failure,
                "\nstatus: SUCCESS\n\u{a6}status\u{a7}SUCCESS",
            );
            for extended in [false, true] {
                // So many fields that msgpack needs a longer head.
                success.extended = extended.then(|| Extended {
                    name: None,
                    args: Value::Null,
                    kwargs: Value::Null,
                    worker: None,
                    retries: None,
                    queue: None,
                    stamped_headers: None,
                    stamps: (0..20)
                        .map(|stamp| (format!("s{stamp}"), Value::Null))
                        .collect::<Map>(),
                });
                for (meta, expected) in [(&success, true), (&failure, false)] {
                    let record = meta.to_bytes(serializer).unwrap();
                    assert_eq!(
                        is_success_record(&record),
                        expected,
                        "{serializer:?} {extended}"
                    );
                    let packed = compress_result(Compression::Gzip, &record).unwrap();
                    assert_eq!(
                        is_success_record(&packed),
                        expected,
                        "compressed {serializer:?}"
                    );
                }
            }
        }
        let mut stamped = meta(State::Failure, "");
        stamped.extended = Some(Extended {
            name: None,
            args: Value::Null,
            kwargs: Value::Null,
            worker: None,
            retries: None,
            queue: None,
            stamped_headers: Some(vec!["status".to_owned()]),
            stamps: Map::from_iter([("status".to_owned(), "SUCCESS".into())]),
        });
        for serializer in [Serializer::Json, Serializer::Msgpack, Serializer::Yaml] {
            let record = stamped.to_bytes(serializer).unwrap();
            assert!(!is_success_record(&record), "a stamp is no state");
            let read = TaskMeta::parse(&record).unwrap();
            assert_eq!(read.status, State::Failure);
        }
        assert!(is_success_record(br#"{"task_id":"x","status":"SUCCESS"}"#));
        assert!(!is_success_record(b""));
    }

    #[test]
    fn a_record_is_read_in_every_serializer() {
        for serializer in [Serializer::Json, Serializer::Msgpack, Serializer::Yaml] {
            let record = meta(State::Failure, "a\nb");
            let bytes = record.to_bytes(serializer).unwrap();
            assert_eq!(TaskMeta::parse(&bytes), Ok(record), "{serializer:?}");
        }
    }
}

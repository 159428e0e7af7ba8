//! msgpack, YAML and pickle against what Python wrote and reads (`vectors/record_serializers.py`), and for any values.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lovage_protocol::{
    Body, DecodeOptions, FormatError, Headers, Map, Message, Properties, Serializer, TaskId,
    TaskName, Value,
};
use proptest::collection::vec;
use proptest::prelude::*;

const LIMIT: usize = 1 << 20;

fn file(path: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(path);
    Value::from_json_plain(&fs::read(path).unwrap()).unwrap()
}

fn vectors(name: &str) -> Vec<Value> {
    let file = file(&format!("vectors/{name}.json"));
    let vectors = file.get("vectors").unwrap().as_list().unwrap().to_vec();
    assert!(!vectors.is_empty());
    vectors
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector.get(field).and_then(Value::as_str).unwrap()
}

fn read(serializer: Serializer, bytes: &[u8]) -> Result<Value, FormatError> {
    Value::read_as(serializer, bytes, LIMIT)
}

/// As JSON, where a NaN equals a NaN and members are sorted.
fn comparable(value: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::List(items) => Value::List(items.iter().map(sorted).collect()),
            Value::Map(map) => {
                let mut map: Map = map.iter().map(|(k, v)| (k.clone(), sorted(v))).collect();
                map.sort_keys();
                Value::Map(map)
            }
            other => other.clone(),
        }
    }
    sorted(value).to_json()
}

fn expected(vector: &Value) -> String {
    comparable(&Value::from_json(text(vector, "json").as_bytes()).unwrap())
}

#[test]
fn what_python_pickles_of_plain_data_is_read_in_every_protocol() {
    for vector in vectors("pickle") {
        let pickles = vector.get("pickles").unwrap().as_list().unwrap();
        assert_eq!(pickles.len(), 6);
        for (protocol, pickle) in pickles.iter().enumerate() {
            let pickle = STANDARD.decode(pickle.as_str().unwrap()).unwrap();
            let name = text(&vector, "name");
            match read(Serializer::Pickle, &pickle) {
                Ok(value) => {
                    assert_eq!(comparable(&value), expected(&vector), "{name} {protocol}")
                }
                Err(error) => panic!("{name} in protocol {protocol}: {error}"),
            }
        }
    }
}

#[test]
fn a_pickle_that_would_run_code_or_make_an_object_is_refused_by_name() {
    for vector in vectors("pickle-refused") {
        for pickle in vector.get("pickles").unwrap().as_list().unwrap() {
            let pickle = STANDARD.decode(pickle.as_str().unwrap()).unwrap();
            let name = text(&vector, "name");
            match read(Serializer::Pickle, &pickle) {
                Err(FormatError::Refused { what }) => {
                    // `posix` is where `os.system` really lives.
                    let named = what.contains(name.rsplit('.').next().unwrap());
                    assert!(named || !name.contains('.'), "{name}: {what}");
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_plain_yaml_scalar_is_what_python_takes_it_for() {
    for vector in vectors("yaml-scalars") {
        let scalar = text(&vector, "in");
        let ours = read(Serializer::Yaml, format!("- {scalar}\n").as_bytes());
        match vector.get("json") {
            Some(_) => {
                let ours = ours.unwrap_or_else(|error| panic!("{scalar}: {error}"));
                let json = comparable(&ours.as_list().unwrap()[0]);
                assert_eq!(json, expected(&vector), "{scalar}");
            }
            None => assert!(ours.is_err(), "{scalar}: {ours:?}"),
        }
    }
}

#[test]
fn what_python_dumps_as_yaml_is_read_and_written_to_the_same_value() {
    for vector in vectors("yaml") {
        let (name, yaml) = (text(&vector, "name"), text(&vector, "yaml"));
        let value = read(Serializer::Yaml, yaml.as_bytes())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(comparable(&value), expected(&vector), "{name}");
        let again = value.write_as(Serializer::Yaml).unwrap();
        let again = String::from_utf8(again).unwrap();
        // Python folds long lines and refers back to what it has written before; all else is byte for byte the same.
        if !matches!(name, "long" | "shared" | "set" | "intkeys") {
            assert_eq!(again, yaml, "{name}");
        }
        let reread = read(Serializer::Yaml, again.as_bytes());
        assert_eq!(comparable(&reread.unwrap()), comparable(&value), "{name}");
    }
}

#[test]
fn a_body_of_python_is_read_in_every_serializer() {
    for (name, keyword) in [
        ("msgpack", Value::Bytes(b"bin".to_vec())),
        ("pickle", Value::Bytes(b"bin".to_vec())),
        ("yaml", "txt".into()),
    ] {
        let capture = file(&format!("captures/01-serializer-{name}.json"));
        let message = Message::parse(text(&capture, "raw").as_bytes()).unwrap();
        let refused = message.decode_body(&DecodeOptions::default()).unwrap_err();
        assert_eq!(refused.code(), "content-type", "json alone by default");
        let options = DecodeOptions {
            accept: vec![Serializer::from_name(name).unwrap()],
            ..DecodeOptions::default()
        };
        let body = message.decode_body(&options).unwrap();
        let args = r#"[1, "ü", 1.5, null, [1, 2]]"#;
        assert_eq!(body.args, Value::from_json(args.as_bytes()).unwrap());
        assert_eq!(body.kwargs["k"], keyword);
        assert!(body.embed.is_empty());
        let serializer = message.serializer().unwrap();
        if serializer != Serializer::Pickle {
            let again = body.to_bytes(serializer).unwrap();
            assert_eq!(again, message.body, "{name} byte for byte");
        }
    }
}

#[test]
fn a_protocol_1_message_is_read_in_every_serializer_that_is_accepted() {
    let fields = r#"{"task": "t.add", "id": "x", "args": [1, 2], "kwargs": {"k": 3}}"#;
    let fields = Value::from_json(fields.as_bytes()).unwrap();
    for serializer in [Serializer::Msgpack, Serializer::Yaml] {
        let headers = Headers::new(TaskName::from("t.add"), TaskId::from("x"));
        let properties = Properties::new("x", "celery");
        let body = Body::new(Vec::new(), Map::new());
        let mut message = Message::written(headers, properties, &body, serializer).unwrap();
        message.body = fields.write_as(serializer).unwrap();
        let raw = String::from_utf8(message.to_json()).unwrap();
        let (before, after) = raw.split_once("\"headers\": ").unwrap();
        let (_, after) = after.split_once("\"stamps\": {}}").unwrap();
        let raw = format!("{before}\"headers\": {{}}{after}");
        let refused = Message::parse(raw.as_bytes()).unwrap_err();
        assert_eq!(refused.code(), "content-type");
        let options = DecodeOptions {
            accept: vec![serializer],
            ..DecodeOptions::default()
        };
        let message = Message::parse_with(raw.as_bytes(), &options).unwrap();
        assert_eq!(message.headers.task, "t.add");
        let body = message.decode_body(&options).unwrap();
        assert_eq!(body.args, vec![Value::Int(1), Value::Int(2)].into());
        assert_eq!(body.kwargs["k"], Value::Int(3));
    }
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (i64::MAX as u64 + 1..).prop_map(|int| Value::Big(int.to_string())),
        any::<f64>()
            .prop_filter("comparable", |float| !float.is_nan())
            .prop_map(Value::Float),
        any::<String>().prop_map(Value::Str),
        "[ -~\\n]{0,40}".prop_map(Value::Str),
        "[-+0-9.:_eTZ ]{1,12}".prop_map(Value::Str),
        vec(any::<u8>(), 0..80).prop_map(Value::Bytes),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let key = prop_oneof![any::<String>(), "[ -~]{0,6}", "[a-z]{125,140}"];
    scalar().prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::List),
            vec((key.clone(), inner), 0..6)
                .prop_map(|members| Value::Map(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn values_survive_msgpack_and_yaml(value in value()) {
        for serializer in [Serializer::Msgpack, Serializer::Yaml] {
            let bytes = value.write_as(serializer).unwrap();
            let read = read(serializer, &bytes);
            let shown = String::from_utf8_lossy(&bytes).into_owned();
            prop_assert_eq!(read.as_ref(), Ok(&value), "{}", shown);
        }
    }

    #[test]
    fn any_bytes_are_a_value_or_an_error(bytes in vec(any::<u8>(), 0..60)) {
        for serializer in [Serializer::Msgpack, Serializer::Yaml, Serializer::Pickle] {
            let _ = read(serializer, &bytes);
        }
    }
}

#[test]
fn what_python_cannot_write_is_refused_by_name() {
    let moment = || Value::DateTime("2024-02-29T12:30:15".to_owned());
    let time = Value::Time("01:02:03".to_owned());
    let decimal = Value::Decimal("1.5".to_owned());
    let uuid = Value::Uuid(uuid::Uuid::nil());
    let check = |serializer: Serializer, value: &Value, what: &str| {
        let value = Value::List(vec![value.clone()]);
        let error = value.write_as(serializer).unwrap_err().to_string();
        assert_eq!(error, format!("{} cannot hold {what}", serializer.name()));
    };
    for serializer in [Serializer::Msgpack, Serializer::Yaml] {
        check(serializer, &time, "a time");
        check(serializer, &decimal, "a Decimal");
        check(serializer, &uuid, "a UUID");
    }
    check(Serializer::Msgpack, &moment(), "a datetime");
    let date = Value::Date("2024-02-29".to_owned());
    check(Serializer::Msgpack, &date, "a date");
    let big = Value::Big("123456789012345678901234567890".to_owned());
    check(Serializer::Msgpack, &big, "an int of more than 64 bits");
    check(
        Serializer::Pickle,
        &moment(),
        "anything here: it is only read",
    );
    let odd = Value::DateTime("2024-02-29T12:30:15+00:00:30".to_owned());
    check(
        Serializer::Yaml,
        &odd,
        "a datetime whose offset has seconds",
    );
}

#[test]
fn an_instruction_that_could_reach_code_is_refused_where_it_stands() {
    let check = |pickle: &[u8], what: &str| match read(Serializer::Pickle, pickle) {
        Err(FormatError::Refused { what: refused }) => assert!(refused.contains(what), "{refused}"),
        other => panic!("{what}: {other:?}"),
    };
    check(b"cposix\nsystem\n(S'true'\ntR.", "posix.system");
    check(b"\x80\x04\x8c\x05posix\x8c\x06system\x93.", "posix.system");
    check(b"(S'true'\nios\nsystem\n.", "os.system");
    check(b"(c__builtin__\nset\no.", "OBJ");
    check(b"\x80\x02\x82\x01.", "extension registry");
    check(b"\x80\x02\x83\x01\x00.", "extension registry");
    check(b"\x80\x02\x84\x01\x00\x00\x00.", "extension registry");
    check(b"Pname\n.", "persistent");
    check(b"NQ.", "persistent");
    check(b"\x80\x05\x97.", "out-of-band");
    check(b"\x80\x04cuuid\nUUID\n)}\x92.", "NEWOBJ_EX");
    check(
        b"\x80\x02ccollections\nOrderedDict\n)\x81.",
        "collections.OrderedDict",
    );
    check(b"\x80\x02}}b.", "state");
    check(
        b"ccopyreg\n_reconstructor\n(ccollections\ndeque\nc__builtin__\nobject\nNtR.",
        "reconstructor",
    );
    check(
        b"ccelery.canvas\nsignature\n(S'os.system'\ntR.",
        "celery.canvas.signature",
    );
    check(b"c_codecs\nencode\n(S'a'\nS'rot13'\ntR.", "_codecs.encode");
    // A name from an attribute of a class that is allowed is a name like any other.
    check(
        b"\x80\x04\x8c\x08datetime\x8c\x11datetime.__init__\x93.",
        "datetime.__init__",
    );
}

#[test]
fn what_is_nested_too_deep_is_refused_in_every_serializer() {
    let yaml = [b"[".repeat(600), b"]".repeat(600)].concat();
    let blocks = b"- ".repeat(600);
    let pickle = [b"(".repeat(600), b"l".repeat(600), b".".to_vec()].concat();
    let tuples = [b")".to_vec(), b"\x85".repeat(10_000), b".".to_vec()].concat();
    for (serializer, bytes) in [
        (Serializer::Msgpack, b"\x91".repeat(600)),
        (Serializer::Yaml, yaml),
        (Serializer::Yaml, blocks),
        (Serializer::Pickle, pickle),
        (Serializer::Pickle, tuples),
    ] {
        assert_eq!(read(serializer, &bytes), Err(FormatError::TooDeep));
    }
}

#[test]
fn what_repeats_itself_without_end_is_refused() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let last = level - 1;
        laughs.push_str(&format!(
            "a{level}: &a{level} [*a{last}, *a{last}, *a{last}, *a{last}]\n"
        ));
    }
    let too_large = Err(FormatError::TooLarge { limit: LIMIT });
    assert_eq!(read(Serializer::Yaml, laughs.as_bytes()), too_large);
    // The list in the memo is put into the next one eight times over.
    let mut memo = b"]q\x00Na".to_vec();
    for level in 1..20 {
        memo.extend_from_slice(&[b']', b'q', level, b'(']);
        memo.extend_from_slice(&[b'h', level - 1].repeat(8));
        memo.push(b'e');
    }
    memo.push(b'.');
    assert_eq!(read(Serializer::Pickle, &memo), too_large);
    // A number whose decimal digits take longer to find than they are worth.
    let number = [b"\x8b\xf0\x06\x00\x00".to_vec(), vec![1; 0x6f0]].concat();
    let numbers = [b"(".to_vec(), number.repeat(50), b"l.".to_vec()].concat();
    assert_eq!(read(Serializer::Pickle, &numbers), too_large);
    for (serializer, bytes) in [
        (Serializer::Yaml, b"&a [*a]".as_slice()),
        (Serializer::Pickle, b"]q\x00h\x00a."),
    ] {
        let inside = "a container contains itself".to_owned();
        let refused = Err(FormatError::Unfit { what: inside });
        assert_eq!(read(serializer, bytes), refused);
    }
}

#[test]
fn more_values_than_memory_is_given_for_are_refused() {
    let many = Err(FormatError::TooMany { most: LIMIT / 16 });
    let nils = [b"\xdd\x00\x10\x00\x00".to_vec(), vec![0xc0; LIMIT]].concat();
    assert_eq!(read(Serializer::Msgpack, &nils), many);
    assert_eq!(read(Serializer::Pickle, &vec![b'N'; LIMIT]), many);
    assert_eq!(
        read(
            Serializer::Pickle,
            &[b"N".to_vec(), vec![b'2'; LIMIT]].concat()
        ),
        many
    );
    assert_eq!(
        read(Serializer::Yaml, "- \n".repeat(LIMIT / 3).as_bytes()),
        many
    );
    // A length that is only claimed reserves nothing.
    for claim in [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
    ] {
        assert!(matches!(
            read(Serializer::Msgpack, claim),
            Err(FormatError::Damaged { .. })
        ));
    }
    let claim = b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff";
    assert!(matches!(
        read(Serializer::Pickle, claim),
        Err(FormatError::Damaged { .. })
    ));
}

#[test]
fn keys_that_are_no_text_become_what_json_makes_of_them_or_are_refused() {
    let yaml = |text: &str| read(Serializer::Yaml, text.as_bytes());
    let keys = yaml("1: a\nnull: b\n2.5: c\ntrue: d\n").unwrap();
    let keys: Vec<_> = keys.as_map().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["1", "null", "2.5", "true"]);
    for refused in [
        "1: a\n'1': b\n'2': c\n2: d\n",
        "? [1]\n: a\n",
        "2024-01-01: a\n",
    ] {
        assert!(
            matches!(yaml(refused), Err(FormatError::Unfit { .. })),
            "{refused}"
        );
    }
    let bytes = read(Serializer::Msgpack, b"\x81\xc4\x01k\x01");
    assert!(matches!(bytes, Err(FormatError::Unfit { .. })));
}

#[test]
fn a_tag_that_makes_an_object_is_refused() {
    for (yaml, what) in [
        (
            "!!python/object/apply:os.system ['true']",
            "python/object/apply:os.system",
        ),
        ("!!python/tuple [1]", "python/tuple"),
        ("!mine 1", "!mine"),
        ("!<tag:example.org,2000:x> 1", "tag:example.org,2000:x"),
        ("%TAG ! tag:example.org,2000:\n---\n!x 1", "example.org"),
        ("a: &a {b: 1}\nc:\n  <<: *a\n", "<<"),
    ] {
        match read(Serializer::Yaml, yaml.as_bytes()) {
            Err(FormatError::Refused { what: refused }) => {
                assert!(refused.contains(what), "{refused}")
            }
            other => panic!("{yaml}: {other:?}"),
        }
    }
    assert_eq!(read(Serializer::Yaml, b"! 1"), Ok("1".into()));
    assert_eq!(
        read(Serializer::Yaml, b"!<tag:yaml.org,2002:str> 1"),
        Ok("1".into())
    );
    assert!(
        read(Serializer::Yaml, b"--- 1\n--- 2\n").is_err(),
        "one document"
    );
}

//! Types as `schemars` describes them, and schemas that only a hand would write.

use std::collections::{BTreeMap, HashMap};

use lovage_registry::__macro::{KnownSchema, SchemaOf};
use lovage_registry::schemars::{self, JsonSchema};
use serde_json::json;

use super::*;

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is of interest")]
struct Address {
    street: String,
    /// Where the door is.
    floor: Option<i8>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is of interest")]
struct Order {
    number: u64,
    to: Address,
    paid: Paid,
    items: Vec<(String, u32)>,
    parent: Option<Box<Order>>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is of interest")]
enum Paid {
    Yes,
    No,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is of interest")]
enum Shape {
    Circle { radius: f64 },
    Named(String),
    Empty,
}

fn type_of<T: JsonSchema>(types: &mut Types, way: Way) -> String {
    let schema = SchemaOf::<T>::new().lovage_schema();
    types.annotate(&schema, way, "Hint")
}

#[test]
fn rust_types_are_python_types() {
    fn check<T: JsonSchema>(given: &str, returned: &str) {
        let mut types = Types::default();
        assert_eq!(type_of::<T>(&mut types, Way::Given), given);
        assert_eq!(type_of::<T>(&mut types, Way::Returned), returned);
        assert_eq!(types.definitions(), "");
    }
    check::<i64>("int", "int");
    check::<f32>("float", "float");
    check::<bool>("bool", "bool");
    check::<String>("str", "str");
    check::<()>("None", "None");
    check::<Option<u8>>("int | None", "int | None");
    check::<Vec<Option<f64>>>("Sequence[float | None]", "list[float | None]");
    check::<(i64, String)>("tuple[int, str]", "list[int | str]");
    check::<HashMap<String, i64>>("Mapping[str, int]", "dict[str, int]");
    check::<BTreeMap<String, Vec<bool>>>("Mapping[str, Sequence[bool]]", "dict[str, list[bool]]");
    check::<serde_json::Value>("Any", "Any");
}

#[test]
fn schemas_without_a_python_type_of_their_own_admit_what_they_must() {
    let check = |schema: Value, expected: &str| {
        let mut types = Types::default();
        assert_eq!(
            types.annotate(&schema, Way::Given, "Hint"),
            expected,
            "{schema}"
        );
    };
    check(json!(true), "Any");
    check(json!({"description": "x"}), "Any");
    check(json!({"type": "object"}), "Mapping[str, Any]");
    check(json!({"type": "array"}), "Sequence[Any]");
    check(
        json!({"enum": ["a|b", 2, null, true]}),
        r#"Literal["a|b", 2, True] | None"#,
    );
    check(json!({"enum": [1.5, 2]}), "float");
    check(json!({"const": "x"}), r#"Literal["x"]"#);
    check(
        json!({"type": ["null", "string", "integer"]}),
        "str | int | None",
    );
    check(json!({"anyOf": [{"type": "integer"}, true]}), "Any");
    check(
        json!({"anyOf": [{"type": "integer"}, {"type": ["integer", "null"]}]}),
        "int | None",
    );
    check(json!({"$ref": "#/$defs/Gone"}), "Any");
    check(json!({"allOf": [{"type": "string"}]}), "str");
    check(json!({"type": "array", "prefixItems": []}), "list[Any]");
}

#[test]
fn a_struct_is_a_typed_dict_and_an_enum_an_alias() {
    let mut types = Types::default();
    assert_eq!(type_of::<Order>(&mut types, Way::Given), "Order");
    assert_eq!(type_of::<Shape>(&mut types, Way::Given), "Shape");
    assert_eq!(
        types.definitions(),
        r#"class Address(TypedDict):
    floor: NotRequired[int | None]
    street: str

class Order(TypedDict):
    items: Sequence[tuple[str, int]]
    number: int
    paid: Paid
    parent: NotRequired[Order | None]
    to: Address

Paid: TypeAlias = Literal["Yes", "No"]

Shape: TypeAlias = 'Literal["Empty"] | Shape2 | Shape3'

class Shape2(TypedDict):
    Circle: Shape2Circle

class Shape2Circle(TypedDict):
    radius: float

class Shape3(TypedDict):
    Named: str

"#
    );
}

#[test]
fn a_type_is_written_once_and_two_of_one_name_apart() {
    let mut types = Types::default();
    assert_eq!(type_of::<Address>(&mut types, Way::Given), "Address");
    assert_eq!(
        type_of::<Vec<Address>>(&mut types, Way::Returned),
        "list[Address]"
    );
    assert_eq!(
        type_of::<Option<Address>>(&mut types, Way::Given),
        "Address | None"
    );
    // Inside another type its schema stands beside it, under its name.
    type_of::<Order>(&mut types, Way::Given);
    let other =
        json!({"title": "Address", "type": "object", "properties": {"ip": {"type": "string"}}});
    assert_eq!(types.annotate(&other, Way::Given, "Hint"), "Address_");
    let definitions = types.definitions();
    assert_eq!(
        definitions.matches("class Address").count(),
        2,
        "{definitions}"
    );
}

#[test]
fn fields_that_python_cannot_name_are_written_as_text() {
    let mut types = Types::default();
    let schema = json!({
        "title": "Range", "type": "object", "required": ["from"],
        "properties": {"from": {"type": "integer"}, "up-to": {"enum": ["a"]}},
    });
    types.annotate(&schema, Way::Given, "Hint");
    assert_eq!(
        types.definitions(),
        r#"Range = TypedDict(
    "Range",
    {
        "from": "int",
        "up-to": "NotRequired[Literal[\"a\"]]",
    },
)

"#
    );
}

//! The shape as JSON Schema and TypeScript: made from the types, compared with what is checked in.

use std::borrow::Cow;
use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

use super::{Fragment, NORMAL_SCHEMA, NORMAL_TYPES, NormalEvent, Number, TYPES, Word};

impl JsonSchema for Fragment<'_> {
    fn schema_name() -> Cow<'static, str> {
        "Fragment".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "JSON as Meta wrote it." })
    }
}

impl JsonSchema for Number<'_> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number" })
    }
}

impl JsonSchema for Word {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Word".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": TYPES })
    }
}

fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<NormalEvent<'static>>().to_value();
    // Serialising leaves out what is absent, so that `null` is never written where a member may be
    // absent.
    without_needless_nulls(&mut schema);
    exclude_data(&mut schema);
    schema
}

/// Says that an event either has `data` or tells its type alone.
fn exclude_data(schema: &mut Value) {
    let members = schema.as_object_mut().unwrap();
    let mut choices = members.remove("anyOf").unwrap();
    choices[1]["properties"]["data"] = Value::Bool(false);
    members.insert("oneOf".to_owned(), choices);
}

/// Takes `null` from the types of members that are not required.
fn without_needless_nulls(schema: &mut Value) {
    match schema {
        Value::Array(all) => all.iter_mut().for_each(without_needless_nulls),
        Value::Object(members) => {
            let required: Vec<Value> =
                members.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
            if let Some(Value::Object(properties)) = members.get_mut("properties") {
                for (name, property) in properties {
                    if !required.contains(&Value::from(name.as_str())) {
                        without_null(property);
                    }
                }
            }
            members.values_mut().for_each(without_needless_nulls);
        }
        _ => {}
    }
}

fn without_null(property: &mut Value) {
    let Value::Object(members) = property else { return };
    if let Some(Value::Array(types)) = members.get("type") {
        let [only, _] = types.as_slice() else { panic!("{types:?}") };
        let only = only.clone();
        members.insert("type".to_owned(), only);
    }
    if let Some(Value::Array(choices)) = members.get("anyOf") {
        let mut choices = choices.iter().filter(|choice| choice["type"] != "null");
        let only = choices.next().and_then(Value::as_object).cloned();
        assert!(choices.next().is_none());
        members.remove("anyOf");
        members.extend(only.into_iter().flatten());
    }
}

/// The same as TypeScript.
fn types(schema: &Value) -> String {
    let mut text = "// Made from the types in src/normal; a test keeps it so.\n".to_owned();
    let mut define = |name: &str, schema: &Value| {
        text.push('\n');
        document(&mut text, schema, 0);
        let mut own = schema.clone();
        own.as_object_mut().map(|own| own.remove("description"));
        let _ = writeln!(text, "export type {name} = {};", expression(&own, 0));
    };
    define("NormalEvent", schema);
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        define(name, definition);
    }
    text
}

fn document(text: &mut String, schema: &Value, depth: usize) {
    if let Some(description) = schema["description"].as_str() {
        let _ = writeln!(text, "{}/** {} */", "  ".repeat(depth), description.replace('\n', " "));
    }
}

fn expression(schema: &Value, depth: usize) -> String {
    if *schema == Value::Bool(false) {
        return "undefined".to_owned();
    }
    let Some(members) = schema.as_object() else { return "unknown".to_owned() };
    let mut parts = Vec::new();
    if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
        parts.push(reference.trim_start_matches("#/$defs/").to_owned());
    }
    if let Some(constant) = members.get("const") {
        parts.push(constant.to_string());
    } else if let Some(properties) = members.get("properties").and_then(Value::as_object) {
        parts.push(object(members, properties, depth));
    } else {
        parts.extend(simple(members, depth));
    }
    for choices in ["oneOf", "anyOf"] {
        if let Some(choices) = members.get(choices).and_then(Value::as_array) {
            parts.push(union(choices, depth));
        }
    }
    if parts.is_empty() { "unknown".to_owned() } else { parts.join(" & ") }
}

fn union(choices: &[Value], depth: usize) -> String {
    let mut text = "(".to_owned();
    for choice in choices {
        text.push('\n');
        document(&mut text, choice, depth + 1);
        let _ = write!(text, "{}| {}", "  ".repeat(depth + 1), expression(choice, depth + 1));
    }
    let _ = write!(text, "\n{})", "  ".repeat(depth));
    text
}

fn object(members: &Map<String, Value>, properties: &Map<String, Value>, depth: usize) -> String {
    let required = members.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut text = "{\n".to_owned();
    for (name, property) in properties {
        document(&mut text, property, depth + 1);
        let mark = if required.contains(&Value::from(name.as_str())) { "" } else { "?" };
        let mut property = property.clone();
        property.as_object_mut().map(|property| property.remove("description"));
        let _ =
            writeln!(text, "{}{name}{mark}: {};", "  ".repeat(depth + 1), expression(&property, depth + 1));
    }
    let _ = write!(text, "{}}}", "  ".repeat(depth));
    text
}

fn simple(members: &Map<String, Value>, depth: usize) -> Option<String> {
    if let Some(Value::Array(words)) = members.get("enum") {
        return Some(words.iter().map(Value::to_string).collect::<Vec<_>>().join(" | "));
    }
    let word = |word: &str| match word {
        "integer" | "number" => "number".to_owned(),
        "array" => {
            format!("{}[]", members.get("items").map_or("unknown".to_owned(), |of| expression(of, depth)))
        }
        "object" => "Record<string, never>".to_owned(),
        other => other.to_owned(),
    };
    match members.get("type")? {
        Value::String(one) => Some(word(one)),
        Value::Array(several) => {
            Some(several.iter().filter_map(Value::as_str).map(word).collect::<Vec<_>>().join(" | "))
        }
        other => panic!("{other}"),
    }
}

/// Compares a file with what it should hold; writes it anew where `WAYPOST_GENERATE` is set.
fn is_current(path: &str, checked_in: &str, made: &str) {
    if std::env::var_os("WAYPOST_GENERATE").is_some() {
        std::fs::write(format!("{}/{path}", env!("CARGO_MANIFEST_DIR")), made).unwrap();
        return;
    }
    assert!(checked_in == made, "{path} is out of date: run the tests once with WAYPOST_GENERATE=1");
}

#[test]
fn the_json_schema_that_is_checked_in_is_that_of_the_types() {
    let made = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    is_current("schema/event.schema.json", NORMAL_SCHEMA, &made);
}

#[test]
fn the_typescript_that_is_checked_in_is_that_of_the_types() {
    is_current("schema/event.d.ts", NORMAL_TYPES, &types(&schema()));
}

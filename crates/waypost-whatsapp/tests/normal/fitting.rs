//! Whether JSON fits the schema that is checked in: only what that schema uses of JSON Schema, but
//! strictly, so that a member it does not name is an error.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value;
use waypost_whatsapp::normal::NORMAL_SCHEMA;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(NORMAL_SCHEMA).unwrap());

/// Whether a normalised event fits.
pub(crate) fn fits(event: &Value) -> Result<(), String> {
    check(&SCHEMA, event)
}

fn check(schema: &Value, value: &Value) -> Result<(), String> {
    let named = names(schema, value)?;
    match (value, named) {
        (Value::Object(members), Some(named)) => match members.keys().find(|name| !named.contains(*name)) {
            Some(name) => Err(format!("{name} is not in the schema")),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// The members a schema names, having checked them. `None` if it names none: anything goes.
fn names(schema: &Value, value: &Value) -> Result<Option<BTreeSet<String>>, String> {
    if *schema == Value::Bool(false) {
        return Err(format!("{value} where nothing may stand"));
    }
    let Some(schema) = schema.as_object() else { return Ok(None) };
    let mut named: Option<BTreeSet<String>> = None;
    let mut add = |more: Option<BTreeSet<String>>| {
        if let Some(more) = more {
            named.get_or_insert_default().extend(more);
        }
    };
    for (keyword, rule) in schema {
        match keyword.as_str() {
            "$ref" => {
                let name = rule.as_str().unwrap_or_default().trim_start_matches("#/$defs/");
                add(names(SCHEMA["$defs"].get(name).ok_or("no such definition")?, value)?);
            }
            "type" => {
                let words: Vec<&str> = match rule {
                    Value::Array(words) => words.iter().filter_map(Value::as_str).collect(),
                    word => word.as_str().into_iter().collect(),
                };
                if !words.iter().any(|word| is_a(word, value)) {
                    return Err(format!("{value} is not of {words:?}"));
                }
            }
            "const" if rule != value => return Err(format!("{value} is not {rule}")),
            "enum" if !rule.as_array().is_some_and(|words| words.contains(value)) => {
                return Err(format!("{value} is none of {rule}"));
            }
            "required" => {
                let missing = rule.as_array().into_iter().flatten().find(|name| {
                    value[name.as_str().unwrap_or_default()].is_null()
                        && !value
                            .as_object()
                            .is_some_and(|members| members.contains_key(name.as_str().unwrap_or_default()))
                });
                if let Some(missing) = missing {
                    return Err(format!("{missing} is missing"));
                }
            }
            "properties" => {
                let rules = rule.as_object().ok_or("properties are an object")?;
                for (name, rule) in rules {
                    if let Some(member) = value.get(name) {
                        check(rule, member).map_err(|error| format!("{name}: {error}"))?;
                    }
                }
                add(Some(rules.keys().cloned().collect()));
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    check(rule, item)?;
                }
            }
            "oneOf" => {
                let choices = rule.as_array().ok_or("choices are an array")?;
                let mut fitting = choices.iter().filter_map(|choice| names(choice, value).ok());
                add(fitting.next().ok_or_else(|| format!("{value} is none of the choices"))?);
                if fitting.next().is_some() {
                    return Err(format!("{value} is several of the choices"));
                }
            }
            "const" | "enum" | "description" | "title" | "$schema" | "$defs" | "format" | "minimum" => {}
            other => return Err(format!("a schema with {other}")),
        }
    }
    Ok(named)
}

fn is_a(word: &str, value: &Value) -> bool {
    match word {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

//! Changes at the level of the account, its numbers, templates and flows.

use std::borrow::Cow;

use serde::Serialize;

use super::reading::{Fragment, Object};

/// A change at the level of the account.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct AccountChange<'a> {
    /// Meta's word for it: an event, a decision, an alert's type, a status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Cow<'a, str>>,
    /// The template it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<Template<'a>>,
    /// The flow it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_id: Option<Cow<'a, str>>,
    /// How it was: a quality, category, status or limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Cow<'a, str>>,
    /// How it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<Cow<'a, str>>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,
    /// All that Meta wrote.
    pub details: Fragment<'a>,
}

/// A message template.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Template<'a> {
    /// Meta's id of it, in digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Cow<'a, str>>,
    /// What it is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Cow<'a, str>>,
    /// Its language.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<Cow<'a, str>>,
    /// Its category.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<Cow<'a, str>>,
}

impl<'a> AccountChange<'a> {
    /// A value, whose event is known by its word.
    pub(super) fn of(value: &Object<'a>, event: &Cow<'a, str>, details: Fragment<'a>) -> Self {
        let first = |names: &[&str]| names.iter().find_map(|name| value.id(name));
        let template = Template {
            id: value.id("message_template_id"),
            name: value.text("message_template_name"),
            language: value.id("message_template_language"),
            category: first(&["message_template_category", "category"]),
        };
        let is_about_template = template.id.is_some() || template.name.is_some();
        let alert = value.object("alert_info");
        let rejection = value.object("rejection_info");
        let within =
            |object: &Option<Object<'a>>, name: &str| object.as_ref().and_then(|object| object.text(name));
        Self {
            event: Some(event.clone()).filter(|event| !event.is_empty()),
            template: is_about_template.then_some(template),
            flow_id: value.id("flow_id"),
            previous: first(&["previous_quality_score", "previous_category", "old_status", "old_limit"]),
            current: first(&[
                "new_quality_score",
                "new_category",
                "new_status",
                "current_limit",
                "max_daily_conversations_per_business",
                "requested_verified_name",
                "username",
                "solution_status",
            ]),
            reason: within(&rejection, "reason")
                .or_else(|| first(&["reason", "rejection_reason", "alert_description"]))
                .or_else(|| within(&alert, "alert_description"))
                .or_else(|| value.text("message")),
            details,
        }
    }
}

/// The type of an event at the level of the account, by its field and Meta's word for it.
pub(super) fn event_type(field: &str, event: &str) -> &'static str {
    match field {
        "phone_number_quality_update" => "account:quality",
        "business_capability_update" => "account:limits",
        "account_review_update" | "phone_number_name_update" => "account:review",
        "account_update" if is_restriction(event) => "account:restriction",
        "account_alerts" => "account:alert",
        "security" => "account:security",
        "flows" => "account:flow",
        field if field.contains("template_") => "account:template",
        _ => "account:updated",
    }
}

/// The words of an `account_update` that mean less may be done than before: violations, restrictions,
/// bans and deletions.
fn is_restriction(event: &str) -> bool {
    matches!(
        event,
        "ACCOUNT_RESTRICTION"
            | "ACCOUNT_VIOLATION"
            | "DISABLED_UPDATE"
            | "ACCOUNT_DELETED"
            | "ACCOUNT_OFFBOARDED"
    )
}

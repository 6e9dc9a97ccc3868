//! What `listen` and `tail` have in common: which part of the stream is meant, and how a frame reads on one line.

use clap::Args;
use serde_json::Value;

use super::query::escaped;
use crate::stream_client::Frame;

/// Which events are meant. Of each kind of condition, one must hold.
#[derive(Args, Debug, Clone)]
pub(crate) struct StreamFilters {
    /// Of this source; repeatable
    #[arg(long = "source", value_name = "NAME")]
    pub(crate) sources: Vec<String>,
    /// Of this number: its id at Meta, or as people write it; repeatable
    #[arg(long = "number", value_name = "NUMBER")]
    pub(crate) numbers: Vec<String>,
    /// Of this conversation; repeatable
    #[arg(long = "conversation", value_name = "KEY")]
    pub(crate) conversations: Vec<String>,
    /// Of this type, such as message:new or message:*; repeatable
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) types: Vec<String>,
    /// Where to begin: the id of a frame, oldest, or now
    #[arg(long, value_name = "CURSOR")]
    pub(crate) since: Option<String>,
    /// End after so many
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
}

impl StreamFilters {
    /// The conditions as parts of a query.
    pub(crate) fn query(&self) -> Vec<String> {
        let lists = [
            ("sources", &self.sources),
            ("numbers", &self.numbers),
            ("conversations", &self.conversations),
            ("types", &self.types),
        ];
        let parts = lists
            .into_iter()
            .flat_map(|(key, values)| values.iter().map(move |value| format!("{key}={}", escaped(value))));
        parts.collect()
    }
}

/// Meta's word for what it is within its type, such as `text` or `delivered`.
pub(crate) fn word(frame: &Frame) -> &str {
    let (data, summary) = (&frame.payload["data"], &frame.payload["summary"]);
    let words =
        [&data["content"]["type"], &data["status"], &data["event"], &data["change"], &summary["word"]];
    words.into_iter().find_map(Value::as_str).unwrap_or_default()
}

/// A member of the payload, or nothing.
pub(crate) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

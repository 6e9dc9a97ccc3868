//! `waypost upgrade`: another process, of the program that stands on disk now, goes on in the running one's place.

use std::time::Duration;

use anyhow::anyhow;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::api_client::ApiClient;
use crate::cli::ServerArguments;
use crate::exit::{Ended, Exit};
use crate::terminal;

const ADDRESS: &str = "/api/v1/upgrade";
/// How long a successor that is prepared may take until it answers: what is under way is finished first, and if it fails,
/// another takes its turn.
const CHANGE_TIME_MAX: Duration = Duration::from_secs(90);
/// How long the answer to one question may take meanwhile.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// How often that is looked at.
const PAUSE: Duration = Duration::from_millis(100);

/// Returns once the new process serves.
pub(crate) async fn run(server: &ServerArguments, as_json: bool) -> anyhow::Result<Exit> {
    let api = ApiClient::new(server)?;
    // Says at once whether the server is one that can be asked.
    let former: Value = api.get(ADDRESS).await.map_err(|error| match error.downcast::<Ended>() {
        Ok(unreachable) => unreachable.into(),
        Err(error) => anyhow::Error::from(Ended::new(
            Exit::Unreachable,
            format!("this server cannot be upgraded while it runs ({error}); restart it instead"),
        )),
    })?;
    let begun: Value = api.post(ADDRESS, &json!({})).await?;
    let wanted = &begun["to"]["process"];
    let changed = timeout(CHANGE_TIME_MAX, async {
        loop {
            // Broken off, or left lying, where the old process is just about to end.
            if let Ok(Ok(current)) = timeout(ANSWER_TIME_MAX, api.get::<Value>(ADDRESS)).await
                && current["process"] != former["process"]
            {
                return current;
            }
            sleep(PAUSE).await;
        }
    });
    let current = changed.await.map_err(|_| {
        anyhow!("the new process {wanted} does not answer yet; the server's log says how it goes on")
    })?;
    if current["process"] != *wanted {
        return Err(anyhow!(
            "the new process {wanted} has failed, and the log says why; version {} goes on as process {}",
            text(&current["version"]),
            current["process"],
        ));
    }
    let said = if as_json {
        json!({ "from": former, "to": current }).to_string()
    } else {
        format!(
            "version {} (process {}) goes on in the place of version {} (process {})",
            text(&current["version"]),
            current["process"],
            text(&former["version"]),
            former["process"],
        )
    };
    terminal::say(&said);
    Ok(Exit::Done)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("unknown")
}

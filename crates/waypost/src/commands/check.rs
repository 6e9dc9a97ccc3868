//! `waypost check`: validates a configuration, touching nothing.

use serde_json::json;

use crate::config::{self, Config, Finding, Inputs};
use crate::exit::Exit;
use crate::terminal;

/// Says all that is wrong, or that nothing is.
pub(crate) fn run(inputs: Inputs, as_json: bool) -> Exit {
    let (faults, more, warnings, held) = match config::load(&inputs) {
        Ok(loaded) => (Vec::new(), 0, loaded.warnings, holds(&loaded.config)),
        Err(refused) => (refused.faults, refused.faults_more, refused.warnings, String::new()),
    };
    for (level, findings) in [("fault", &faults), ("warning", &warnings)] {
        for finding in findings {
            terminal::say(&if as_json {
                as_object(level, finding).to_string()
            } else {
                format!("{level}: {finding}")
            });
        }
    }
    if more > 0 && !as_json {
        terminal::say(&format!("and {more} more faults"));
    }
    if !faults.is_empty() {
        return Exit::WrongConfiguration;
    }
    if !as_json {
        terminal::say(&format!("the configuration stands: {held}"));
    }
    Exit::Done
}

/// What a configuration holds, in one line.
fn holds(config: &Config) -> String {
    let counts = [
        ("upstream", config.upstreams.len()),
        ("source", config.sources.len()),
        ("destination", config.destinations.len()),
        ("route", config.routes.len()),
    ];
    let said = counts.into_iter().filter(|(what, count)| *count > 0 || *what == "upstream");
    let said = said.map(|(what, count)| format!("{count} {what}{}", if count == 1 { "" } else { "s" }));
    said.collect::<Vec<_>>().join(", ")
}

fn as_object(level: &str, finding: &Finding) -> serde_json::Value {
    let place = &finding.place;
    json!({
        "level": level,
        "file": place.file.as_ref().map(|file| file.display().to_string()),
        "line": place.at.map(|at| at.line),
        "column": place.at.map(|at| at.column),
        "key": place.key,
        "what": finding.what,
        "remedy": finding.remedy,
    })
}

//! The demo's screen: redrawn in place on a terminal, a line a second elsewhere.

use std::time::Duration;

use waypost_domain::Clock;

use super::meta::Meta;
use super::receiver::Receiver;
use crate::gateway::Addresses;
use crate::terminal;

/// Between lines where nothing can be redrawn.
const LINE_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Screen {
    callback: String,
    admin: String,
    clock: Clock,
    began: Duration,
    in_place: bool,
    /// Lines drawn last, to go back over.
    drawn: usize,
    last_line: Option<Duration>,
}

impl Screen {
    pub(super) fn new(callback: &str, addresses: &Addresses, clock: Clock) -> Self {
        Self {
            callback: callback.to_owned(),
            admin: format!("http://{}", addresses.admin),
            began: clock.monotonic(),
            clock,
            in_place: terminal::is_person(),
            drawn: 0,
            last_line: None,
        }
    }

    pub(super) fn draw(&mut self, meta: &Meta, receiver: &Receiver, phase: &str, down: bool) {
        let now = self.clock.monotonic();
        if self.in_place {
            self.redraw(&self.panel(now, meta, receiver, phase, down));
        } else if self.last_line.is_none_or(|last| now >= last + LINE_EVERY) {
            self.last_line = Some(now);
            terminal::say(&self.line(now, meta, receiver, phase));
        }
    }

    fn line(&self, now: Duration, meta: &Meta, receiver: &Receiver, phase: &str) -> String {
        let (answered, _) = meta.answered();
        format!(
            "{:>4}s  sent {:>5}  acknowledged {:>5}  events: acknowledged {:>5}, delivered {:>5}, owed {:>5}  duplicates suppressed {:>3}  {phase}",
            now.saturating_sub(self.began).as_secs(),
            meta.sent(),
            answered,
            meta.acknowledged(),
            receiver.received(),
            meta.missing(receiver),
            meta.repeated(),
        )
    }

    fn panel(&self, now: Duration, meta: &Meta, receiver: &Receiver, phase: &str, down: bool) -> Vec<String> {
        let (answered, slowest) = meta.answered();
        let state = match (receiver.is_failing(), down) {
            (true, _) => "\x1b[31mfailing\x1b[0m (answers 503)",
            (false, true) => "\x1b[33mwell again\x1b[0m, not noticed yet",
            (false, false) => "\x1b[32mwell\x1b[0m",
        };
        let gate = if down {
            "\x1b[33mholding\x1b[0m: one probe at growing intervals"
        } else {
            "\x1b[32mopen\x1b[0m"
        };
        let owed = meta.missing(receiver);
        let bar = "█".repeat(usize::try_from(owed / 4).unwrap_or(usize::MAX).min(50));
        let mut lines = vec![
            format!("\x1b[1mwaypost demo\x1b[0m   {} s   {phase}", now.saturating_sub(self.began).as_secs()),
            String::new(),
            format!("  callback   {}", self.callback),
            format!("  admin      {}   (health, metrics)", self.admin),
            String::new(),
            format!(
                "  Meta       sent {:>6}   acknowledged {:>6}   slowest {:.1} ms",
                meta.sent(),
                answered,
                slowest.as_secs_f64() * 1e3
            ),
            format!("  gateway    {gate}"),
            format!("  receiver   {state}; refused {} calls", receiver.refused()),
            String::new(),
            format!(
                "  events     acknowledged {:>6}   delivered {:>6}   owed {:>5}  {bar}",
                meta.acknowledged(),
                receiver.received(),
                owed
            ),
            format!("  duplicates suppressed   {:>6}", meta.repeated()),
            String::new(),
            "  last acknowledged:".to_owned(),
        ];
        lines.extend(meta.recent().into_iter().map(|event| format!("    {event}")));
        lines.push(String::new());
        lines.push("  Ctrl-C ends it, and proves by id that nothing acknowledged is missing.".to_owned());
        lines
    }

    fn redraw(&mut self, lines: &[String]) {
        let mut text = if self.drawn > 0 { format!("\x1b[{}A\x1b[J", self.drawn) } else { String::new() };
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        terminal::say_raw(&text);
        self.drawn = lines.len();
    }
}

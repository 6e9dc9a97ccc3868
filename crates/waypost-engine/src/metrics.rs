//! What the engine counts. Names carry their units; nothing here bears a message id or a phone number.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The destination a figure belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DestinationLabel {
    /// Its name.
    pub destination: String,
}

/// The destination and how an attempt ended: `delivered`, or its error code.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// The destination's name.
    pub destination: String,
    /// `delivered`, or an error code.
    pub outcome: &'static str,
}

/// Whether events were new.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NoveltyLabel {
    /// `new` or `duplicate`.
    pub novelty: &'static str,
}

/// Why a webhook was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// A stable code.
    pub reason: &'static str,
}

/// What an operator did.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ActLabel {
    /// `replay`, `retry`, `discard`, …
    pub act: &'static str,
}

/// The engine's counters. Cheap to clone; all clones count together.
#[derive(Clone)]
pub struct Metrics {
    /// Requests made durable and acknowledged.
    pub acknowledged: Counter,
    /// Requests refused, by reason.
    pub refused: Family<ReasonLabel, Counter>,
    /// Events accepted.
    pub events: Family<NoveltyLabel, Counter>,
    /// Deliveries that operators acted on, by act. Whoever asks the store for the act counts them.
    pub acts: Family<ActLabel, Counter>,
    /// Attempts, by destination and how they ended.
    pub attempts: Family<OutcomeLabels, Counter>,
    /// Probes of destinations that were down.
    pub probes: Family<DestinationLabel, Counter>,
    /// Deliveries given up.
    pub dead: Family<DestinationLabel, Counter>,
    /// Deliveries stepped over in their lane.
    pub overtaken: Family<DestinationLabel, Counter>,
    /// Attempts under way.
    pub in_flight: Family<DestinationLabel, Gauge>,
    /// Conversations with something owed that is in memory.
    pub lanes_waiting: Family<DestinationLabel, Gauge>,
    /// Conversations held up by a delivery that failed.
    pub lanes_held: Family<DestinationLabel, Gauge>,
    /// 1 while a destination counts as down.
    pub down: Family<DestinationLabel, Gauge>,
    /// From acceptance to delivery.
    pub delivery_time: Histogram,
    /// From a complete body to the acknowledgement.
    pub accept_time: Histogram,
    /// Readers of the stream.
    pub stream_readers: Gauge,
    /// Frames made for readers who keep up.
    pub stream_frames: Counter,
    /// Pages read from the store for readers who do not.
    pub stream_catch_ups: Counter,
    /// From acceptance to the frame.
    pub stream_lag: Histogram,
}

impl Metrics {
    /// All at nought.
    pub fn new() -> Self {
        let accept = [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 4.0];
        let delivery =
            [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 3_600.0, 86_400.0];
        let lag = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
        Self {
            acknowledged: Counter::default(),
            refused: Family::default(),
            events: Family::default(),
            acts: Family::default(),
            attempts: Family::default(),
            probes: Family::default(),
            dead: Family::default(),
            overtaken: Family::default(),
            in_flight: Family::default(),
            lanes_waiting: Family::default(),
            lanes_held: Family::default(),
            down: Family::default(),
            delivery_time: Histogram::new(delivery),
            accept_time: Histogram::new(accept),
            stream_readers: Gauge::default(),
            stream_frames: Counter::default(),
            stream_catch_ups: Counter::default(),
            stream_lag: Histogram::new(lag),
        }
    }

    /// Those of one destination, so that they need not be looked for each time.
    pub(crate) fn of(&self, label: DestinationLabel) -> DestinationMetrics {
        DestinationMetrics {
            probes: self.probes.get_or_create(&label).clone(),
            dead: self.dead.get_or_create(&label).clone(),
            overtaken: self.overtaken.get_or_create(&label).clone(),
            in_flight: self.in_flight.get_or_create(&label).clone(),
            lanes_waiting: self.lanes_waiting.get_or_create(&label).clone(),
            lanes_held: self.lanes_held.get_or_create(&label).clone(),
            down: self.down.get_or_create(&label).clone(),
            delivery_time: self.delivery_time.clone(),
            attempts: self.attempts.clone(),
            label,
        }
    }

    /// Puts all of them on the metrics page.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "requests_acknowledged",
            "Webhook requests made durable and answered 200",
            self.acknowledged.clone(),
        );
        registry.register("requests_refused", "Webhook requests refused, by reason", self.refused.clone());
        registry.register("events_accepted", "Events accepted, new or duplicate", self.events.clone());
        registry.register("acts", "Deliveries that operators acted on, by act", self.acts.clone());
        registry.register("attempts", "Delivery attempts by how they ended", self.attempts.clone());
        registry.register("probes", "Probes of destinations that were down", self.probes.clone());
        registry.register("deliveries_dead", "Deliveries given up", self.dead.clone());
        registry.register(
            "deliveries_overtaken",
            "Deliveries stepped over in their lane",
            self.overtaken.clone(),
        );
        registry.register("attempts_in_flight", "Delivery attempts under way", self.in_flight.clone());
        registry.register(
            "lanes_waiting",
            "Conversations with something owed, as far as it is in memory",
            self.lanes_waiting.clone(),
        );
        registry.register(
            "lanes_held",
            "Conversations held up by a delivery that failed",
            self.lanes_held.clone(),
        );
        registry.register("destination_down", "1 while a destination counts as down", self.down.clone());
        let seconds = || Unit::Seconds;
        registry.register_with_unit(
            "delivery_time",
            "From acceptance to delivery",
            seconds(),
            self.delivery_time.clone(),
        );
        registry.register_with_unit(
            "accept_time",
            "From a complete body to its acknowledgement",
            seconds(),
            self.accept_time.clone(),
        );
        registry.register("stream_readers", "Readers of the stream", self.stream_readers.clone());
        registry.register(
            "stream_frames",
            "Frames of the stream made for readers who keep up",
            self.stream_frames.clone(),
        );
        registry.register(
            "stream_catch_ups",
            "Pages read from the store for readers of the stream who are behind",
            self.stream_catch_ups.clone(),
        );
        registry.register_with_unit(
            "stream_lag",
            "From acceptance to the frame in the stream",
            seconds(),
            self.stream_lag.clone(),
        );
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// What is counted of one destination.
pub(crate) struct DestinationMetrics {
    pub(crate) probes: Counter,
    pub(crate) dead: Counter,
    pub(crate) overtaken: Counter,
    pub(crate) in_flight: Gauge,
    pub(crate) lanes_waiting: Gauge,
    pub(crate) lanes_held: Gauge,
    pub(crate) down: Gauge,
    pub(crate) delivery_time: Histogram,
    attempts: Family<OutcomeLabels, Counter>,
    label: DestinationLabel,
}

impl DestinationMetrics {
    /// An attempt ended so.
    pub(crate) fn attempt(&self, outcome: &'static str) {
        let destination = self.label.destination.clone();
        self.attempts.get_or_create(&OutcomeLabels { destination, outcome }).inc();
    }

    /// Nobody works on it any more.
    pub(crate) fn rest(&self) {
        for gauge in [&self.in_flight, &self.lanes_waiting, &self.lanes_held, &self.down] {
            gauge.set(0);
        }
    }
}

//! What is demanded of callers of webhooks besides a signature: Meta's certificate, and an address of Meta's.

use arc_swap::ArcSwapOption;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry as Counters;
use waypost_domain::UnixMillis;
use waypost_edge::{ClientProof, ConnectionInfo, Refusal};

use crate::config::{AddressDemand, Demand, Server};
use crate::registry::Quiet;

/// Judges callers. What is demanded of their addresses can change while it is at work.
pub(crate) struct MetaGate {
    certificates: Option<Demand>,
    addresses: ArcSwapOption<AddressDemand>,
    strangers: Family<StrangerLabels, Counter>,
    quiet: Quiet,
}

/// In what a caller was not shown to be Meta's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StrangerLabels {
    /// `address`, or what its certificate proved.
    reason: &'static str,
}

impl MetaGate {
    /// With the configuration's demands.
    pub(crate) fn of(server: &Server) -> Self {
        Self {
            certificates: server.clients.as_ref().map(|clients| clients.demand),
            addresses: ArcSwapOption::from_pointee(server.addresses.clone()),
            strangers: Family::default(),
            quiet: Quiet::default(),
        }
    }

    /// Demands of addresses what the configuration now demands.
    pub(crate) fn configure(&self, server: &Server) {
        self.addresses.store(server.addresses.clone().map(std::sync::Arc::new));
    }

    /// Puts its counter on the metrics page.
    pub(crate) fn register(&self, registry: &mut Counters) {
        registry.register(
            "callers_not_shown_to_be_meta",
            "Calls of webhooks without Meta's certificate or from other addresses, where that is looked at",
            self.strangers.clone(),
        );
    }

    /// Whether a caller may call webhooks. Whoever may and is not shown to be Meta's is counted and named.
    ///
    /// # Errors
    ///
    /// When what is required is not shown.
    pub(crate) fn judge(&self, caller: &ConnectionInfo, now: UnixMillis) -> Result<(), Refusal> {
        if let Some(demand) = self.certificates
            && caller.client != ClientProof::Proved
        {
            self.stranger(caller.client.code(), demand, caller, now);
            if demand == Demand::Require {
                return Err(Refusal::ClientNotProved);
            }
        }
        if let Some(expected) = &*self.addresses.load()
            && !expected.networks.contains(caller.ip())
        {
            self.stranger("address", expected.demand, caller, now);
            if expected.demand == Demand::Require {
                return Err(Refusal::AddressNotAllowed);
            }
        }
        Ok(())
    }

    fn stranger(&self, reason: &'static str, demand: Demand, caller: &ConnectionInfo, now: UnixMillis) {
        self.strangers.get_or_create(&StrangerLabels { reason }).inc();
        if let Some(times) = self.quiet.is_due(now) {
            let refused = demand == Demand::Require;
            tracing::warn!(caller = %caller.ip(), reason, refused, times, "a caller is not shown to be Meta's");
        }
    }
}

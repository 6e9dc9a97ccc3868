//! Names in filters: one that is nobody's is a mistake, and not an empty list.

use waypost_store::{DeliveryFilter, DeliveryPage, EventFilter, Page};

use super::Admin;
use super::problem::Problem;

/// Whether these names are of something that is there, or of which there is anything on record.
///
/// # Errors
///
/// The answer, where one is nobody's.
pub(super) async fn known(
    admin: &Admin,
    source: Option<&str>,
    destination: Option<&str>,
) -> Result<(), Problem> {
    let table = admin.registry.table_full();
    if let Some(name) = source
        && table.source(name).is_none()
        && table.upstream(name).is_none()
    {
        let filter = EventFilter { source: Some(name.to_owned()), ..EventFilter::default() };
        if admin.store.events(filter, Page { before: None, limit: 1 }).await?.events.is_empty() {
            let remedy = "`waypost source list` and `waypost upstream list` name them";
            return Err(Problem::unknown(format!("there is no source `{name}`; {remedy}")));
        }
    }
    if let Some(name) = destination
        && table.destination(name).is_none()
        && table.upstream(name).is_none()
    {
        let filter = DeliveryFilter { destination: Some(name.to_owned()), ..DeliveryFilter::default() };
        let page = DeliveryPage { before: None, limit: 1 };
        if admin.store.deliveries(filter, page).await?.deliveries.is_empty() {
            let remedy = "`waypost destination list` names them";
            return Err(Problem::unknown(format!("there is no destination `{name}`; {remedy}")));
        }
    }
    Ok(())
}

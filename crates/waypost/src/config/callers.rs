//! Who may call: proxies whose word is taken, and how callers are shown to be Meta's besides their signature.

use std::net::SocketAddr;
use std::path::PathBuf;

use waypost_edge::Prefixes;

use super::CaFile;
use super::forms::Wrong;
use super::loading::Loading;
use super::section::Read;

/// Largest file of networks.
const NETWORKS_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What happens to a caller of webhooks that is not shown to be Meta's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Demand {
    /// It is served, counted and named in the log.
    Report,
    /// It is refused.
    Require,
}

/// Client certificates are asked for.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ClientDemand {
    /// Whose certificates are believed.
    pub(crate) ca_file: CaFile,
    pub(crate) demand: Demand,
}

/// Callers' addresses are looked at.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct AddressDemand {
    /// The file that names the networks.
    pub(crate) path: PathBuf,
    /// Those networks, as they were when the configuration was loaded.
    pub(crate) networks: Prefixes,
    pub(crate) demand: Demand,
}

/// What the file says about callers.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) proxies: Read<Prefixes>,
    /// Given and `None`: off.
    pub(super) certificates: Read<Option<Demand>>,
    pub(super) ca_file: Read<CaFile>,
    pub(super) addresses: Read<Demand>,
    pub(super) addresses_file: Read<(PathBuf, Prefixes)>,
}

/// The same, complete.
pub(super) struct Callers {
    pub(super) proxies: Prefixes,
    pub(super) clients: Option<ClientDemand>,
    pub(super) addresses: Option<AddressDemand>,
}

/// What is to be served to whom; `https` is where certificates can be asked for.
pub(super) fn compose(
    draft: Draft,
    https: Option<&[SocketAddr]>,
    loading: &mut Loading<'_>,
) -> Option<Callers> {
    let Draft { proxies, certificates, ca_file, addresses, addresses_file } = draft;
    let clients = clients(certificates, ca_file, https, loading);
    let addresses = match (addresses, addresses_file) {
        (Read::Faulty, _) | (_, Read::Faulty) => None,
        (Read::Given(_, place), Read::Absent) => {
            loading.fault(place, "nothing says which addresses are Meta's", "Give meta_addresses_file too");
            None
        }
        (demand, file) => {
            let demand = demand.or(Demand::Report)?;
            let file = file.optional()?;
            Some(file.map(|(path, networks)| AddressDemand { path, networks, demand }))
        }
    };
    Some(Callers { proxies: proxies.or(Prefixes::default())?, clients: clients?, addresses: addresses? })
}

fn clients(
    certificates: Read<Option<Demand>>,
    ca_file: Read<CaFile>,
    https: Option<&[SocketAddr]>,
    loading: &mut Loading<'_>,
) -> Option<Option<ClientDemand>> {
    let (demand, place) = match certificates {
        Read::Given(Some(demand), place) => (demand, place),
        Read::Faulty => return None,
        Read::Given(None, _) | Read::Absent => return ca_file.optional().map(|_| None),
    };
    let Some(ca_file) = ca_file.optional()? else {
        let what = "nothing says whose certificates are believed";
        loading.fault(place, what, "Give meta_ca_file too: Meta's page on mTLS for webhooks has the file");
        return None;
    };
    if https?.is_empty() {
        let what = "certificates of callers can only be asked for over HTTPS, and none is served here";
        loading.fault(place, what, "Give server.https an address, or write \"off\"");
        return None;
    }
    Some(Some(ClientDemand { ca_file, demand }))
}

/// A network, or an address.
pub(super) fn network(text: &str) -> Result<String, Wrong> {
    match Prefixes::of([text]) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(Wrong::new(error.to_string(), "Name the proxies' networks, like 10.0.0.0/8")),
    }
}

/// What is demanded.
pub(super) fn demand(text: &str) -> Result<Demand, Wrong> {
    match text {
        "report" => Ok(Demand::Report),
        "require" => Ok(Demand::Require),
        _ => Err(Wrong::new("not a demand", "Write \"report\" or \"require\"")),
    }
}

/// What is demanded, if anything.
pub(super) fn demand_or_off(text: &str) -> Result<Option<Demand>, Wrong> {
    match text {
        "off" => Ok(None),
        "report" => Ok(Some(Demand::Report)),
        "require" => Ok(Some(Demand::Require)),
        _ => Err(Wrong::new("not a demand", "Write \"off\", \"report\" or \"require\"")),
    }
}

/// The networks in the file that `text` names.
pub(super) fn networks(text: &str, loading: &mut Loading<'_>) -> Result<(PathBuf, Prefixes), Wrong> {
    const REMEDY: &str = "Name a file with one network a line, such as Meta's geofeed";
    let path = loading.beside_the_file(text);
    let content = loading
        .disk
        .read(&path, NETWORKS_BYTES_MAX)
        .map_err(|why| Wrong::new(format!("{} cannot be read: {why}", path.display()), REMEDY))?;
    let text = String::from_utf8_lossy(&content.bytes);
    let networks = Prefixes::of_lines(&path, &text).map_err(|error| Wrong::new(error.to_string(), REMEDY))?;
    Ok((path, networks))
}

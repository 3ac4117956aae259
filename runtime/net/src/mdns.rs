//! Finding peers on the local network, and being found (DNS-SD over multicast DNS).
//!
//! Announcements are not signed, so what comes out is a hint: whoever dials it checks the key.

use crate::net::Shared;
use crate::{Event, addrs};
use mdns_sd::{ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use mesh_protocol::key::PublicKey;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::task::AbortHandle;

const SERVICE: &str = "_taskmesh._udp.local.";
/// Names of the fields in the announcement.
const KEY: &str = "key";
const COMMUNITY: &str = "community";
/// Addresses taken from one announcement. 8: a laptop's interfaces; it is anyone's word.
const ADDRESSES: usize = 8;

/// A running announcement.
pub(crate) struct Announced {
    daemon: ServiceDaemon,
    reader: AbortHandle,
}

impl Announced {
    pub(crate) fn stop(&self) {
        self.reader.abort();
        // Says goodbye on the network by itself; there is nobody left to tell if it cannot.
        let _ = self.daemon.shutdown();
    }
}

// spec: NET-5
pub(crate) fn start(shared: &Arc<Shared>, community: &str, local: SocketAddr) -> Option<Announced> {
    match announce(shared, community, local) {
        Ok(announced) => Some(announced),
        Err(error) => {
            tracing::warn!(%error, "peers on the local network will not be found");
            None
        }
    }
}

fn announce(shared: &Arc<Shared>, community: &str, local: SocketAddr) -> Result<Announced, mdns_sd::Error> {
    let key = shared.identity.key.to_string();
    let daemon = ServiceDaemon::new()?;
    // A label holds 63 bytes, so the instance is named by half of the key; the whole is in the record.
    let name = key.get(..32).unwrap_or_default();
    let ips: Vec<_> = addrs::dialable(local).iter().map(SocketAddr::ip).collect();
    let fields = [(KEY, key.as_str()), (COMMUNITY, community)];
    let mut service =
        ServiceInfo::new(SERVICE, name, &format!("{name}.local."), &ips[..], local.port(), &fields[..])?;
    if local.ip().is_unspecified() {
        service = service.enable_addr_auto();
    }
    daemon.register(service)?;
    let found = daemon.browse(SERVICE)?;
    // Weakly: the daemon's queue must not keep the peer alive.
    let (shared, community) = (Arc::downgrade(shared), community.to_owned());
    let reader = tokio::spawn(async move {
        while let Ok(event) = found.recv_async().await {
            let ServiceEvent::ServiceResolved(service) = event else { continue };
            let Some(shared) = shared.upgrade() else { return };
            if let Some((peer, addrs)) =
                read(&service, &community).filter(|(peer, _)| *peer != shared.identity.key)
            {
                shared.tell(Event::Found { peer, addrs }).await;
            }
        }
    });
    Ok(Announced { daemon, reader: reader.abort_handle() })
}

/// What an announcement says, if it is of our kind and community.
fn read(service: &ResolvedService, community: &str) -> Option<(PublicKey, Vec<SocketAddr>)> {
    if service.get_property_val_str(COMMUNITY)? != community {
        return None;
    }
    let peer = parse_key(service.get_property_val_str(KEY)?)?;
    let ips = service.get_addresses().iter().take(ADDRESSES);
    let addrs: Vec<_> = ips.map(|ip| SocketAddr::new(ip.to_ip_addr(), service.get_port())).collect();
    (!addrs.is_empty()).then_some((peer, addrs))
}

fn parse_key(hex: &str) -> Option<PublicKey> {
    let mut key = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (i, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(PublicKey(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn announcement(fields: &[(&str, &str)]) -> ResolvedService {
        ServiceInfo::new(SERVICE, "x", "x.local.", "192.0.2.1", 7, fields).unwrap().as_resolved_service()
    }

    // spec: NET-5
    #[test]
    fn only_announcements_of_the_same_community_with_a_key_count() {
        let key = PublicKey([0xab; 32]);
        let hex = key.to_string();
        let good = announcement(&[(KEY, &hex), (COMMUNITY, "c0")]);
        assert_eq!(read(&good, "c0"), Some((key, vec!["192.0.2.1:7".parse().unwrap()])));
        assert_eq!(read(&good, "c1"), None);
        assert_eq!(read(&announcement(&[(COMMUNITY, "c0")]), "c0"), None);
        assert_eq!(read(&announcement(&[(KEY, "abc"), (COMMUNITY, "c0")]), "c0"), None);
    }

    proptest! {
        #[test]
        fn no_text_upsets_the_key_parser(text in ".{0,70}") {
            if let Some(key) = parse_key(&text) {
                prop_assert_eq!(key.to_string(), text.to_lowercase().replace('+', "0"));
            }
        }
    }
}

//! Finding peers on the local network, and being found (DNS-SD over multicast DNS).
//!
//! Announcements are not signed, so what comes out is a hint: whoever dials it checks the key.

use crate::net::{Shared, lock};
use crate::{Event, addrs};
use mdns_sd::{Metrics, Receiver, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use mesh_protocol::key::PublicKey;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

const SERVICE: &str = "_taskmesh._udp.local.";
/// Names of the fields in the announcement.
const KEY: &str = "key";
const COMMUNITY: &str = "community";
/// Addresses taken from one announcement. 8: a laptop's interfaces; it is anyone's word.
const ADDRESSES: usize = 8;

/// Records of others that are kept, and moments at which one of them is due. A street of a hundred peers and their
/// printers has a thousand; nobody signs them, and most are of services that nobody asked for.
const MOST_KEPT: i64 = 4096;
/// How often that is counted: in a few seconds no more comes than fits into memory with ease.
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// How soon it is told to end again.
const AGAIN: Duration = Duration::from_millis(100);
/// How long nobody is looked for where it was more.
const REST: Duration = Duration::from_secs(60);

/// A running announcement.
pub(crate) struct Announced {
    daemon: Arc<Mutex<ServiceDaemon>>,
    reader: AbortHandle,
}

impl Announced {
    pub(crate) fn stop(&self) {
        self.reader.abort();
        // Says goodbye on the network by itself; there is nobody left to tell if it cannot.
        let _ = lock(&self.daemon).shutdown();
    }
}

// spec: NET-5
pub(crate) fn start(shared: &Arc<Shared>, community: &str, local: SocketAddr) -> Option<Announced> {
    let (daemon, found) = match announce(&shared.identity.key, community, local) {
        Ok(announced) => announced,
        Err(error) => {
            tracing::warn!(%error, "peers on the local network will not be found");
            return None;
        }
    };
    let daemon = Arc::new(Mutex::new(daemon));
    let reader =
        tokio::spawn(listen(Arc::downgrade(shared), community.to_owned(), local, daemon.clone(), found));
    Some(Announced { daemon, reader: reader.abort_handle() })
}

fn announce(
    key: &PublicKey,
    community: &str,
    local: SocketAddr,
) -> Result<(ServiceDaemon, Receiver<ServiceEvent>), mdns_sd::Error> {
    let key = key.to_string();
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
    Ok((daemon, found))
}

/// Reads what is found. Where others fill the memory with records, all of them are forgotten, and it begins anew a while
/// later. The peer is held weakly: the daemon's queue must not keep it alive.
// spec: NET-4, NET-5
async fn listen(
    shared: Weak<Shared>,
    community: String,
    local: SocketAddr,
    daemon: Arc<Mutex<ServiceDaemon>>,
    mut found: Receiver<ServiceEvent>,
) {
    let mut count = tokio::time::interval(COUNT_EVERY);
    count.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let why = tokio::select! {
            event = found.recv_async() => match event {
                Ok(ServiceEvent::ServiceResolved(service)) => {
                    let Some(shared) = shared.upgrade() else { return };
                    if let Some((peer, addrs)) =
                        read(&service, &community).filter(|(peer, _)| *peer != shared.identity.key)
                    {
                        shared.tell(Event::Found { peer, addrs }).await;
                    }
                    continue;
                }
                Ok(_) => continue,
                // It gives up whoever does not keep up with what it hears.
                Err(_) => "more was found than could be read",
            },
            _ = count.tick() => {
                let metrics = lock(&daemon).get_metrics();
                let Ok(metrics) = metrics else { continue };
                match tokio::time::timeout(COUNT_EVERY, metrics.recv_async()).await {
                    Ok(Ok(metrics)) if !is_too_much(&metrics) => continue,
                    Ok(Ok(_)) => "it keeps too many records",
                    // It answers when it has read everything, or is gone.
                    Ok(Err(_)) | Err(_) => "it comes to no end with what it hears",
                }
            }
        };
        tracing::warn!(
            why,
            "somebody floods the local network with records; nobody is looked for there for a minute"
        );
        // It has more to do than it can take up.
        let end = || matches!(lock(&daemon).shutdown(), Err(mdns_sd::Error::Again));
        while end() {
            tokio::time::sleep(AGAIN).await;
        }
        found = loop {
            tokio::time::sleep(REST).await;
            let Some(shared) = shared.upgrade() else { return };
            match announce(&shared.identity.key, &community, local) {
                Ok((new, found)) => {
                    *lock(&daemon) = new;
                    break found;
                }
                Err(error) => tracing::info!(%error, "peers on the local network are not found yet"),
            }
        };
    }
}

fn is_too_much(metrics: &Metrics) -> bool {
    let kept = metrics.iter().filter(|(name, _)| name.starts_with("cached-") || *name == "timer");
    kept.fold(0, |sum: i64, (_, count)| sum.saturating_add(*count)) > MOST_KEPT
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

    // spec: NET-4
    #[test]
    fn records_that_nobody_asked_for_are_counted_by_the_names_that_the_library_gives_them() {
        let daemon = ServiceDaemon::new().unwrap();
        let _found = daemon.browse(SERVICE).unwrap();
        let mut metrics = daemon.get_metrics().unwrap().recv().unwrap();
        daemon.shutdown().unwrap();
        assert!(!is_too_much(&metrics));
        for name in ["cached-ptr", "cached-srv", "cached-txt", "cached-addr", "cached-nsec", "timer"] {
            let before = metrics.insert(name.into(), MOST_KEPT + 1);
            assert!(before.is_some(), "{name} is none: {metrics:?}");
            assert!(is_too_much(&metrics), "{name}");
            metrics.insert(name.into(), 0);
        }
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

//! What to tell others about where we are.

use std::net::{IpAddr, SocketAddr};

/// Addresses under which a socket bound to `local` might be reached.
pub(crate) fn dialable(local: SocketAddr) -> Vec<SocketAddr> {
    if !local.ip().is_unspecified() {
        return vec![local];
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let found: Vec<_> =
        interfaces.iter().map(if_addrs::Interface::ip).filter(|ip| useful(*ip, local.is_ipv6())).collect();
    let with_port = |ip: IpAddr| SocketAddr::new(ip, local.port());
    if found.is_empty() {
        // A machine without a network still has itself.
        return interfaces
            .iter()
            .map(if_addrs::Interface::ip)
            .filter(IpAddr::is_ipv4)
            .map(with_port)
            .collect();
    }
    found.into_iter().map(with_port).collect()
}

/// Those of its addresses that say something to whoever is elsewhere.
pub(crate) fn elsewhere(local: SocketAddr, mut addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    addrs.retain(|addr| !(local.ip().is_unspecified() && addr.ip().is_loopback()));
    addrs
}

/// Loopback helps nobody else, and an IPv6 link-local address says nothing without its interface.
fn useful(ip: IpAddr, v6: bool) -> bool {
    match ip {
        _ if ip.is_loopback() => false,
        IpAddr::V4(_) => true,
        IpAddr::V6(ip) => v6 && !ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_address_is_the_address() {
        let bound = "127.0.0.1:7".parse().unwrap();
        assert_eq!(dialable(bound), vec![bound]);
    }

    // spec: NET-5
    #[test]
    fn loopback_is_told_by_whoever_listens_there_only() {
        let [home, all, there] =
            ["127.0.0.1:7", "0.0.0.0:7", "192.0.2.1:7"].map(|addr| addr.parse::<SocketAddr>().unwrap());
        assert_eq!(elsewhere(home, vec![home]), [home]);
        assert_eq!(elsewhere(all, vec![home, there]), [there]);
        assert!(elsewhere(all, vec![home]).is_empty());
    }

    #[test]
    fn listening_on_all_names_the_interfaces() {
        let all = dialable("0.0.0.0:7".parse().unwrap());
        assert!(all.iter().all(|addr| addr.port() == 7 && !addr.ip().is_unspecified()), "{all:?}");
        assert!(!useful("fe80::1".parse().unwrap(), true));
    }
}

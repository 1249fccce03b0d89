//! How the machine is connected: the interface of its default route, where that is Ethernet or WLAN.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::Path;

use super::text;
use crate::device::{Bearer, Connectivity, Uplink};

/// Hardware type of Ethernet, and of WLAN, which looks like it (`ARPHRD_ETHER`).
const ETHERNET: &str = "1";
/// No default route is a network of its own: what would be sent to an address for documentation (RFC 5737) takes it.
const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);
/// So many addresses of one interface are shown.
const MOST: usize = 8;

pub(super) fn look(root: &Path) -> Option<Uplink> {
    let read = |file: &str| text(&root.join(file)).unwrap_or_default();
    let (v4, v6) = (default_v4(&read("proc/net/route")), default_v6(&read("proc/net/ipv6_route")));
    let interface = v4.as_ref().or(v6.as_ref()).map(|route| route.interface.clone())?;
    let folder = root.join("sys/class/net").join(&interface);
    let wlan = folder.join("wireless").exists() || folder.join("phy80211").exists();
    let bearer = match text(&folder.join("type"))?.trim() {
        ETHERNET if wlan => Bearer::Wlan,
        ETHERNET => Bearer::Ethernet,
        _ => return None,
    };
    let (quality, signal) = reception(&read("proc/net/wireless"), &interface).filter(|_| wlan).unwrap_or_default();
    let here = v4.iter().chain(&v6).filter(|route| route.interface == interface);
    let routers = here.filter_map(|route| route.router).map(|router| router.to_string()).collect();
    let own_v4 = v4.as_ref().and_then(|_| own_address()).map(|address| address.to_string());
    let own_v6 = addresses_v6(&read("proc/net/if_inet6"), &interface);
    let addresses = own_v4.into_iter().chain(own_v6.iter().map(ToString::to_string)).collect();
    Some(Uplink { connectivity: Connectivity { bearer, signal, addresses }, quality, routers })
}

#[derive(Debug, PartialEq, Eq)]
struct Route {
    interface: String,
    router: Option<IpAddr>,
}

/// Of the default routes the one with the smallest metric (`/proc/net/route`).
fn default_v4(table: &str) -> Option<Route> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().take(8).collect();
        let &[interface, to, router, _, _, _, metric, mask] = fields.as_slice() else { return None };
        let address = |hex: &str| u32::from_str_radix(hex, 16).ok();
        // As this machine has them in memory, which is as the network has them.
        let router = Ipv4Addr::from(address(router)?.to_ne_bytes());
        let router = (!router.is_unspecified()).then_some(IpAddr::V4(router));
        let is_default = (address(to)?, address(mask)?) == (0, 0);
        Some((metric.parse::<u32>().ok()?, Route { interface: interface.to_owned(), router })).filter(|_| is_default)
    });
    routes.min_by_key(|(metric, _)| *metric).map(|(_, route)| route)
}

/// The same of IPv6 (`/proc/net/ipv6_route`), where refused routes are on `lo`.
fn default_v6(table: &str) -> Option<Route> {
    let routes = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().take(10).collect();
        let &[to, length, _, _, router, metric, _, _, _, interface] = fields.as_slice() else { return None };
        let router = Some(address_v6(router)?).filter(|router| !router.is_unspecified()).map(IpAddr::V6);
        let is_default = address_v6(to)?.is_unspecified() && length == "00" && interface != "lo";
        let metric = u32::from_str_radix(metric, 16).ok()?;
        Some((metric, Route { interface: interface.to_owned(), router })).filter(|_| is_default)
    });
    routes.min_by_key(|(metric, _)| *metric).map(|(_, route)| route)
}

fn address_v6(hex: &str) -> Option<Ipv6Addr> {
    (hex.len() == 32).then(|| u128::from_str_radix(hex, 16).ok().map(Ipv6Addr::from))?
}

/// Addresses of an interface that reach further than its link (`/proc/net/if_inet6`: scope 00).
fn addresses_v6(table: &str, interface: &str) -> Vec<Ipv6Addr> {
    let addresses = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().take(6).collect();
        let &[address, _, _, scope, _, name] = fields.as_slice() else { return None };
        address_v6(address).filter(|_| name == interface && scope == "00")
    });
    addresses.take(MOST).collect()
}

/// The address that the machine would speak from. Nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(ELSEWHERE).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_unspecified())
}

/// Quality as the driver counts it and signal in dBm (`/proc/net/wireless`).
fn reception(table: &str, interface: &str) -> Option<(Option<u8>, Option<i16>)> {
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'))?;
    let mut numbers = line.split_whitespace().skip(1).map(|number| number.trim_end_matches('.'));
    let quality = numbers.next()?.parse().ok();
    // Some drivers count in their own units, which are not negative.
    let signal = numbers.next()?.parse().ok().filter(|dbm| (-128..0).contains(dbm));
    Some((quality, signal))
}

#[cfg(test)]
mod tests {
    use super::super::tests::made_up;
    use super::*;

    const ROUTES: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
        eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
        eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
    const ROUTES_V6: &str = "\
        00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
        fe80000000000000000000000000abcd 00000064 00000001 00000000 00450003     eth0\n\
        00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
        00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n";
    const ADDRESSES: &str = "fe8000000000000000fc00fffe000001 02 40 20 80     eth0\n\
        20010db8000000000000000000000002 02 40 00 82     eth0\n\
        20010db8000000000000000000000003 03 40 00 82     wlan0\n";

    /// Little-endian, as the kernel writes an address on most machines.
    #[cfg(target_endian = "little")]
    #[test]
    fn the_route_that_counts_leads_to_interface_router_and_addresses() {
        let root = made_up(&[
            ("proc/net/route", ROUTES),
            ("proc/net/ipv6_route", ROUTES_V6),
            ("proc/net/if_inet6", ADDRESSES),
            ("sys/class/net/eth0/type", "1\n"),
        ]);
        let uplink = look(root.path()).expect("an uplink");
        assert_eq!((uplink.connectivity.bearer, uplink.connectivity.signal), (Bearer::Ethernet, None));
        assert_eq!(uplink.routers, ["192.0.2.1", "fe80::abcd"]);
        assert_eq!(uplink.connectivity.addresses.last().map(String::as_str), Some("2001:db8::2"));
    }

    #[test]
    fn wlan_has_a_reception() {
        let wireless = "Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE\n \
            face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22\n \
            wlan0: 0000   54.  -56.  -256        0      0      0      0      0        0\n";
        let root = made_up(&[
            ("proc/net/route", &ROUTES.replace("eth0\t00000000", "eth0\t000000AC")),
            ("proc/net/wireless", wireless),
            ("sys/class/net/wlan0/type", "1\n"),
            ("sys/class/net/wlan0/phy80211/name", "phy0\n"),
        ]);
        let uplink = look(root.path()).expect("an uplink");
        assert_eq!((uplink.connectivity.bearer, uplink.connectivity.signal), (Bearer::Wlan, Some(-56)));
        assert_eq!(uplink.quality, Some(54));
        assert_eq!(reception(&wireless.replace("-56.", "200."), "wlan0"), Some((Some(54), None)));
        assert_eq!(reception(wireless, "wlan"), None);
    }

    #[test]
    fn without_a_default_route_or_by_another_bearer_nothing_is_told() {
        assert_eq!(look(made_up(&[]).path()), None);
        let tunnel = made_up(&[("proc/net/route", ROUTES), ("sys/class/net/eth0/type", "65534\n")]);
        assert_eq!(look(tunnel.path()), None);
        for table in ["", "x", "Iface\neth0 0 0\n", "Iface\neth0 zz 0 0 0 0 0 0\n"] {
            assert_eq!((default_v4(table), default_v6(table)), (None, None), "{table:?}");
        }
    }
}

//! Which hosts take a domain's mail: RFC 5321 5.1 and RFC 7505, names through hickory only.

use crate::config::Relay;
use crate::smtp::Inner;
use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::RData;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::timeout;

/// Most addresses that one attempt tries.
const ADDRESSES_MAX: usize = 8;
/// Most MX hosts that are looked up.
const HOSTS_MAX: usize = 8;
/// Longest wait for one answer of the DNS.
const DNS_TIMEOUT: Duration = Duration::from_secs(30);
const SMTP_PORT: u16 = 25;

/// Where a domain's mail goes.
pub(super) enum Route {
    /// To the first of these that works.
    Hosts(Vec<SocketAddr>),
    /// Nowhere, ever; with what the sender is told.
    Refused(String),
    /// Not known now.
    Later(String),
}

/// Finds routes. Clones share the resolver's cache.
#[derive(Clone)]
pub(super) struct Router {
    relay: Option<Relay>,
    hostname: String,
    resolver: Result<TokioResolver, String>,
}

impl Router {
    /// With the resolvers of `/etc/resolv.conf` as they are now.
    pub(super) fn new(smtp: &Inner) -> Self {
        let resolver = TokioResolver::builder_tokio()
            .and_then(hickory_resolver::ResolverBuilder::build)
            .map_err(|e| format!("451 4.4.3 no DNS resolver: {e}"));
        Self { relay: smtp.config.relay.clone(), hostname: smtp.hostname.clone(), resolver }
    }

    /// Whether all mail goes one way.
    pub(super) fn relays(&self) -> bool {
        self.relay.is_some()
    }

    pub(super) async fn route(&self, domain: &str) -> Route {
        let hosts = match &self.relay {
            Some(relay) => return self.to_relay(relay).await,
            None => match self.exchanges(domain).await {
                Ok(hosts) => hosts,
                Err(route) => return route,
            },
        };
        let mut addresses = Vec::new();
        let mut trouble = None;
        for host in hosts.iter().take(HOSTS_MAX) {
            match self.addresses(host).await {
                Ok(found) => {
                    addresses.extend(found.into_iter().map(|ip| SocketAddr::new(ip, SMTP_PORT)));
                }
                Err(why) => trouble = Some(why),
            }
        }
        addresses.truncate(ADDRESSES_MAX);
        match trouble {
            Some(Missing::Later(why)) if addresses.is_empty() => Route::Later(why),
            Some(Missing::Never(why)) if addresses.is_empty() => Route::Refused(why),
            _ => Route::Hosts(addresses),
        }
    }

    async fn to_relay(&self, relay: &Relay) -> Route {
        if let Ok(ip) = relay.host.parse::<IpAddr>() {
            return Route::Hosts(vec![SocketAddr::new(ip, relay.port)]);
        }
        match self.addresses(&relay.host).await {
            Ok(found) => Route::Hosts(
                found.into_iter().take(ADDRESSES_MAX).map(|ip| (ip, relay.port).into()).collect(),
            ),
            // A relay that is not found is the operator's mistake, not the sender's.
            Err(Missing::Later(why) | Missing::Never(why)) => Route::Later(why),
        }
    }

    /// The names of the domain's hosts, best first.
    async fn exchanges(&self, domain: &str) -> Result<Vec<String>, Route> {
        let resolver = self.resolver.as_ref().map_err(|why| Route::Later(why.clone()))?;
        let query = timeout(DNS_TIMEOUT, resolver.mx_lookup(absolute(domain)));
        let found: Vec<(u16, String)> = match query.await {
            Ok(Ok(lookup)) => lookup.answers().iter().filter_map(|r| exchange(&r.data)).collect(),
            Ok(Err(e)) if e.is_nx_domain() => {
                return Err(Route::Refused("550 5.1.2 the domain does not exist".to_owned()));
            }
            Ok(Err(e)) if e.is_no_records_found() => Vec::new(),
            Ok(Err(e)) => return Err(Route::Later(format!("451 4.4.3 DNS: {e}"))),
            Err(_elapsed) => return Err(Route::Later("451 4.4.3 DNS does not answer".to_owned())),
        };
        order(domain, &self.hostname, found)
    }

    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Missing> {
        let resolver = self.resolver.as_ref().map_err(|why| Missing::Later(why.clone()))?;
        match timeout(DNS_TIMEOUT, resolver.lookup_ip(absolute(host))).await {
            Ok(Ok(lookup)) => Ok(lookup.iter().collect()),
            Ok(Err(e)) => Err(missing(host, &e)),
            Err(_elapsed) => Err(Missing::Later("451 4.4.3 DNS does not answer".to_owned())),
        }
    }
}

/// Why a host has no address.
enum Missing {
    Later(String),
    Never(String),
}

fn missing(host: &str, e: &NetError) -> Missing {
    if e.is_nx_domain() || e.is_no_records_found() {
        Missing::Never(format!("550 5.4.4 {host} has no address"))
    } else {
        Missing::Later(format!("451 4.4.3 DNS: {e}"))
    }
}

fn exchange(data: &RData) -> Option<(u16, String)> {
    let RData::MX(mx) = data else { return None };
    let name = mx.exchange.to_string();
    Some((mx.preference, name.trim_end_matches('.').to_lowercase()))
}

/// RFC 5321 5.1: by preference; without any, the domain itself. Hosts that are not better than
/// ourselves would send it back to us.
fn order(domain: &str, us: &str, mut found: Vec<(u16, String)>) -> Result<Vec<String>, Route> {
    if found.is_empty() {
        return Ok(vec![domain.to_owned()]);
    }
    found.sort();
    // RFC 7505 3: a lone MX with the root as its host.
    if found.iter().all(|(_, host)| host.is_empty()) {
        return Err(Route::Refused("556 5.1.10 the domain takes no mail".to_owned()));
    }
    let ours = found.iter().find(|(_, host)| host.eq_ignore_ascii_case(us)).map(|(p, _)| *p);
    let better = |preference: u16| ours.is_none_or(|ours| preference < ours);
    let hosts: Vec<String> = found
        .into_iter()
        .filter(|(preference, host)| better(*preference) && !host.is_empty())
        .map(|(_, host)| host)
        .collect();
    if hosts.is_empty() {
        return Err(Route::Later("451 4.4.6 the domain's mail host is this one".to_owned()));
    }
    Ok(hosts)
}

/// A name that no search list is applied to.
fn absolute(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::{Route, order};

    fn plan(found: &[(u16, &str)]) -> Result<Vec<String>, String> {
        let found = found.iter().map(|(p, host)| (*p, (*host).to_owned())).collect();
        order("far.example", "mx.here", found).map_err(|route| match route {
            Route::Refused(why) | Route::Later(why) => why,
            Route::Hosts(_) => String::new(),
        })
    }

    #[test]
    fn exchanges_are_tried_in_order() {
        assert_eq!(plan(&[(20, "b"), (10, "a")]).unwrap(), ["a", "b"]);
        // RFC 5321 5.1: the implicit MX.
        assert_eq!(plan(&[]).unwrap(), ["far.example"]);
        // RFC 7505: the null MX.
        assert!(plan(&[(0, "")]).unwrap_err().starts_with("556 5.1.10"));
        // RFC 5321 5.1: what is no better than ourselves is a loop.
        assert_eq!(plan(&[(5, "a"), (10, "MX.here"), (10, "b"), (20, "c")]).unwrap(), ["a"]);
        assert!(plan(&[(10, "mx.here"), (20, "c")]).unwrap_err().starts_with("451 4.4.6"));
    }
}

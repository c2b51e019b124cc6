//! Endpoints that are reached at another address: an operator's tunnel into a VPC, or the sandbox's own PostgreSQL.

/// Which endpoints lead elsewhere. Exact ones win over wildcards, longer wildcards over shorter ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tunnels {
    exact: Vec<(String, String)>,
    suffix: Vec<(String, String)>,
}

/// An entry of the map that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an endpoint; write `host:port`, or `*.suffix:port` on the left side")]
pub struct BadTunnel(pub String);

impl Tunnels {
    /// Reads pairs of `host:port` or `*.suffix:port`, and the `host:port` they lead to.
    ///
    /// # Errors
    /// The first side that is neither.
    pub fn new<A: AsRef<str>, B: AsRef<str>>(pairs: impl IntoIterator<Item = (A, B)>) -> Result<Self, BadTunnel> {
        let mut tunnels = Self::default();
        for (from, to) in pairs {
            let (from, to) = (from.as_ref().to_ascii_lowercase(), to.as_ref());
            split(to).filter(|(host, _)| !host.contains('*')).ok_or_else(|| BadTunnel(to.to_owned()))?;
            split(&from).ok_or_else(|| BadTunnel(from.clone()))?;
            match from.strip_prefix('*') {
                Some(suffix) if suffix.starts_with('.') && !suffix.contains('*') => tunnels.suffix.push((suffix.to_owned(), to.to_owned())),
                None if !from.contains('*') => tunnels.exact.push((from, to.to_owned())),
                _ => return Err(BadTunnel(from)),
            }
        }
        tunnels.suffix.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        Ok(tunnels)
    }

    /// Where the endpoint is really reached; `None` where no tunnel leads.
    pub fn through(&self, endpoint: &str) -> Option<&str> {
        let endpoint = endpoint.to_ascii_lowercase();
        let exact = self.exact.iter().find(|(from, _)| *from == endpoint);
        exact.or_else(|| self.suffix.iter().find(|(suffix, _)| endpoint.ends_with(suffix))).map(|(_, to)| to.as_str())
    }
}

/// `host:port` taken apart.
pub(super) fn split(endpoint: &str) -> Option<(&str, u16)> {
    let (host, port) = endpoint.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let port: u16 = port.parse().ok()?;
    (!host.is_empty() && port > 0).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_tunnel_wins_over_a_wildcard_and_a_longer_wildcard_over_a_shorter_one() {
        let tunnels = Tunnels::new([
            ("*.rds.amazonaws.com:5432", "127.0.0.1:1"),
            ("db1.eu-west-1.rds.amazonaws.com:5432", "127.0.0.1:2"),
            ("*.eu-west-1.rds.amazonaws.com:5432", "127.0.0.1:3"),
        ])
        .unwrap();
        assert_eq!(tunnels.through("DB1.eu-west-1.rds.amazonaws.com:5432"), Some("127.0.0.1:2"));
        assert_eq!(tunnels.through("db2.eu-west-1.rds.amazonaws.com:5432"), Some("127.0.0.1:3"));
        assert_eq!(tunnels.through("db1.us-east-1.rds.amazonaws.com:5432"), Some("127.0.0.1:1"));
        assert_eq!(tunnels.through("db1.us-east-1.rds.amazonaws.com:5433"), None, "another port is another server");
        assert_eq!(tunnels.through("evilrds.amazonaws.com:5432"), None, "the dot belongs to the wildcard");
    }

    #[test]
    fn an_entry_without_a_port_is_refused() {
        for (from, to) in [("db", "127.0.0.1:1"), ("db:5432", "127.0.0.1"), ("*rds:5432", "127.0.0.1:1"), ("db:5432", "*.x:1"), ("db:0", "x:1")] {
            Tunnels::new([(from, to)]).unwrap_err();
        }
    }
}

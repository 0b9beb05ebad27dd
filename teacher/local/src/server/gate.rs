//! Who may ask, by the names in a request's head. A page of another site that a browser shows can reach this machine's own
//! addresses, and a name of that site can be made to point here (DNS rebinding): the browser's `Host` and `Origin` tell.

use super::Refusal;
use hyper::{
    HeaderMap, Uri,
    header::{HOST, HeaderValue, ORIGIN},
    http::uri::Authority,
};
use std::net::IpAddr;

/// The names under which the server answers.
#[derive(Debug)]
pub(super) struct Gate {
    /// Everybody may ask: `*` was allowed.
    open: bool,
    /// Whether addresses count as names: where others than this machine can reach it. An address cannot be rebound.
    addresses: bool,
    /// Origins as browsers write them.
    origins: Vec<String>,
    /// Their hosts, without ports.
    hosts: Vec<String>,
}

impl Gate {
    /// For a server at `address`; `allowed` are origins such as `https://example.org`, or `*`.
    ///
    /// # Errors
    /// When one is no origin: expected and found.
    pub(super) fn new(address: IpAddr, allowed: &[String]) -> Result<Gate, String> {
        let mut gate = Gate {
            open: false,
            addresses: !address.to_canonical().is_loopback(),
            origins: Vec::new(),
            hosts: Vec::new(),
        };
        for origin in allowed {
            if origin == "*" {
                gate.open = true;
                continue;
            }
            let (origin, host) = parse_origin(origin.trim_end_matches('/'))
                .ok_or_else(|| format!("expected an origin such as https://example.org or *, found {origin:?}"))?;
            gate.origins.push(origin);
            gate.hosts.push(host);
        }
        Ok(gate)
    }

    /// Checks the head of a request; the origin that a browser is to be told it may read the answer, if it named one.
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
        let mut hosts = headers.get_all(HOST).iter();
        let (host, second) = (hosts.next(), hosts.next());
        let named = host.and_then(|host| host.to_str().ok()).and_then(host_of);
        let target = uri.authority().map(|authority| host_of(authority.as_str()));
        let known = |host: &Option<String>| host.as_ref().is_some_and(|host| self.knows(host));
        if second.is_some() || !(self.open || known(&named) && target.is_none_or(|target| known(&target))) {
            let found =
                host.map_or("none".to_owned(), |host| format!("{:?}", String::from_utf8_lossy(host.as_bytes())));
            return Err(Refusal {
                status: 403,
                code: "host_not_allowed",
                message: format!(
                    "expected a `Host` of this machine, such as localhost, found {found}\nhint: `--allow-origin http://NAME` lets another name in"
                ),
            });
        }
        let Some(origin) = headers.get(ORIGIN) else { return Ok(None) };
        let parsed = origin.to_str().ok().and_then(parse_origin);
        let ours = parsed.is_some_and(|(origin, host)| is_loopback(&host) || self.origins.contains(&origin));
        if self.open || ours {
            return Ok(Some(origin.clone()));
        }
        let found = String::from_utf8_lossy(origin.as_bytes());
        Err(Refusal {
            status: 403,
            code: "origin_not_allowed",
            message: format!(
                "expected no `Origin`, or one of this machine, found {found:?}\nhint: `--allow-origin ORIGIN` lets pages from there ask"
            ),
        })
    }

    fn knows(&self, host: &str) -> bool {
        is_loopback(host) || self.hosts.iter().any(|known| known == host) || (self.addresses && address(host).is_some())
    }
}

/// The host of `host[:port]`, in lower case, without the dot at its end.
fn host_of(text: &str) -> Option<String> {
    let authority = text.parse::<Authority>().ok()?;
    let port = text.strip_prefix(authority.host())?;
    let plain =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    let host = authority.host().to_ascii_lowercase();
    plain.then(|| host.strip_suffix('.').map(str::to_owned).unwrap_or(host))
}

/// An origin as browsers write it, and its host.
fn parse_origin(text: &str) -> Option<(String, String)> {
    let (scheme, authority) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let usual = match scheme.as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    let host = host_of(authority)?;
    let authority = authority.to_ascii_lowercase();
    let authority = authority.strip_suffix(usual).unwrap_or(&authority);
    Some((format!("{scheme}://{authority}"), host))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || address(host).is_some_and(|address| address.to_canonical().is_loopback())
}

fn address(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn check(gate: &Gate, host: Option<&str>, origin: Option<&str>) -> u16 {
        let mut headers = HeaderMap::new();
        for (name, value) in [(HOST, host), (ORIGIN, origin)] {
            if let Some(value) = value {
                headers.insert(name, value.parse().expect("a header"));
            }
        }
        gate.check(&Uri::from_static("/v1/models"), &headers).map_or_else(|refusal| refusal.status, |_| 200)
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        let gate = Gate::new(Ipv4Addr::LOCALHOST.into(), &[]).expect("a gate");
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "localhost.",
            "127.0.0.1:8080",
            "127.8.9.1",
            "[::1]:80",
            "[::ffff:127.0.0.1]",
        ] {
            assert_eq!(check(&gate, Some(host), None), 200, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "me@localhost",
            "",
            "[::2]",
            "localhost:x",
            "0.0.0.0",
        ] {
            assert_eq!(check(&gate, Some(host), None), 403, "{host}");
        }
        assert_eq!(check(&gate, None, None), 403, "no host");
        let foreign = Uri::from_static("http://evil.example/v1/models");
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        assert!(gate.check(&foreign, &headers).is_err(), "a target that names another host");
        headers.append(HOST, HeaderValue::from_static("localhost"));
        assert!(gate.check(&Uri::from_static("/"), &headers).is_err(), "two hosts");
    }

    #[test]
    fn only_pages_of_this_machine_may_ask_unless_others_were_let_in() {
        let gate = Gate::new(Ipv4Addr::LOCALHOST.into(), &[]).expect("a gate");
        for (origin, status) in [
            ("http://localhost:3000", 200),
            ("https://127.0.0.1", 200),
            ("http://[::1]:5", 200),
            ("http://evil.example", 403),
            ("null", 403),
            ("file://localhost", 403),
            ("http://localhost@evil.example", 403),
        ] {
            assert_eq!(check(&gate, Some("localhost"), Some(origin)), status, "{origin}");
        }
        let allowed = ["https://Desk.example:443/".to_owned(), "http://lab:8000".to_owned()];
        let gate = Gate::new(Ipv4Addr::LOCALHOST.into(), &allowed).expect("a gate");
        assert_eq!(check(&gate, Some("lab:8080"), Some("https://desk.example")), 200);
        assert_eq!(check(&gate, Some("localhost"), Some("http://lab:8000")), 200);
        assert_eq!(check(&gate, Some("localhost"), Some("http://lab:8001")), 403, "another port is another origin");
        let open = Gate::new(Ipv4Addr::LOCALHOST.into(), &["*".to_owned()]).expect("a gate");
        assert_eq!(check(&open, Some("anything"), Some("null")), 200);
        for wrong in ["example.org", "ftp://x", "http://", "http://a/b", ""] {
            assert!(Gate::new(Ipv4Addr::LOCALHOST.into(), &[wrong.to_owned()]).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_server_for_others_answers_to_addresses() {
        let gate = Gate::new(Ipv4Addr::UNSPECIFIED.into(), &[]).expect("a gate");
        assert_eq!(check(&gate, Some("10.0.0.7:8080"), None), 200);
        assert_eq!(check(&gate, Some("rebound.example"), None), 403);
    }
}

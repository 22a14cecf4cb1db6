//! The values of settings as people write them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use axum::http::HeaderValue;
use ipnet::IpNet;

pub(super) fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err("must be from 0 to 1".to_owned()) }
}

pub(super) fn threshold(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    if value.is_finite() && value > 0.0 { Ok(value) } else { Err("must be above 0".to_owned()) }
}

/// Parses an origin as browsers send it.
pub(super) fn origin(text: &str) -> Result<HeaderValue, String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_host = |host: &str| {
        !host.is_empty()
            && host
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-.:[]".contains(&c))
    };
    let value = host.filter(|host| is_host(host)).and_then(|_| HeaderValue::from_str(text).ok());
    value.ok_or_else(|| "must be like https://host or http://host:port, without a path".to_owned())
}

/// Parses a host name, without a port.
pub(super) fn host(text: &str) -> Result<String, String> {
    let valid = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-.".contains(&c);
    if !text.is_empty() && text.bytes().all(valid) {
        Ok(text.to_owned())
    } else {
        Err("must be a name in lower case, without a port".to_owned())
    }
}

/// Parses a network or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| address()).map_err(|_| "must be a network or an address".to_owned())
}

/// Parses an address to listen on. Without a host it is on this machine only; the host may also be a name of this
/// machine.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let wrong = || {
        "must be an address and a port, such as 127.0.0.1:8080 or 0.0.0.0:8080, or a port"
            .to_owned()
    };
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port: u16 = port.parse().map_err(|_| wrong())?;
    match host {
        "" => Ok((Ipv4Addr::LOCALHOST, port).into()),
        "*" => Ok((Ipv4Addr::UNSPECIFIED, port).into()),
        name => {
            let found =
                (name, port).to_socket_addrs().map_err(|error| format!("{name}: {error}"))?;
            // If the name has several addresses, IPv4 is preferred: browsers and clients on the machine try it as well.
            let found: Vec<_> = found.collect();
            let v4 = found.iter().find(|address| address.is_ipv4());
            v4.or(found.first()).copied().ok_or_else(wrong)
        }
    }
}

/// Parses a number of bytes, optionally with K, M, G or T for powers of 1024.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let suffix = text[digits.len()..].trim().to_ascii_uppercase();
    let power = match suffix.trim_end_matches('B').trim_end_matches('I') {
        "" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        _ => 7,
    };
    let bytes = digits
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(1024_u64.checked_pow(power)?));
    bytes.ok_or_else(|| "must be a number of bytes, such as 1048576, 512K, 100M or 2G".to_owned())
}

/// Parses a size from `low` to `high`.
fn size_within(text: &str, low: u64, high: u64) -> Result<u64, String> {
    let bytes = size(text)?;
    if (low..=high).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("must be between {low} and {high} bytes"))
    }
}

/// Parses the longest row: enough for a run with all its tags, but not so much that a few rows fill the memory.
pub(super) fn row_bytes(text: &str) -> Result<u64, String> {
    size_within(text, 1024, 64 << 20)
}

/// Parses the send buffer: 0, or enough for a connection to be useful.
pub(super) fn send_buffer(text: &str) -> Result<u32, String> {
    let bytes = match size(text)? {
        0 => 0,
        _ => size_within(text, 4 * 1024, 64 << 20)?,
    };
    Ok(u32::try_from(bytes).expect("64 MiB fit"))
}

/// Parses the largest headers: enough for a request with a token, but not so much that many connections fill the
/// memory.
pub(super) fn header_bytes(text: &str) -> Result<u64, String> {
    size_within(text, 1024, 1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_send() {
        for text in ["https://a.example.org", "http://localhost:3000", "http://[::1]:8080"] {
            assert_eq!(origin(text).unwrap(), text);
        }
        for text in ["*", "", "null", "https://", "https://a/", "https://A.org", "ftp://a", "a.org"]
        {
            origin(text).unwrap_err();
        }
    }

    #[test]
    fn addresses_are_taken_as_people_write_them() {
        for (text, expected) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("8080", "127.0.0.1:8080"),
            (":8080", "127.0.0.1:8080"),
            ("localhost:0", "127.0.0.1:0"),
            ("*:80", "0.0.0.0:80"),
            ("[::1]:8080", "[::1]:8080"),
        ] {
            assert_eq!(address(text).unwrap(), expected.parse().unwrap(), "{text}");
        }
        for text in
            ["", "127.0.0.1", "localhost", "70000", "127.0.0.1:http", "http://127.0.0.1:8080"]
        {
            address(text).unwrap_err();
        }
    }

    #[test]
    fn sizes_are_taken_as_people_write_them() {
        for (text, expected) in [
            ("1048576", 1 << 20),
            ("512K", 512 << 10),
            ("100M", 100 << 20),
            ("100 mb", 100 << 20),
            ("2GiB", 2 << 30),
            ("1T", 1 << 40),
        ] {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        for text in ["", "M", "-1", "1.5G", "1e6", "10X", "99999999999T"] {
            size(text).unwrap_err();
        }
        row_bytes("1").unwrap_err();
        header_bytes("2M").unwrap_err();
    }

    #[test]
    fn hosts_are_names_without_a_port() {
        assert_eq!(host("planner.example.org").unwrap(), "planner.example.org");
        for text in ["", "*", "a:8080", "A.org", "http://a.org"] {
            host(text).unwrap_err();
        }
    }

    #[test]
    fn an_address_is_a_network_of_one() {
        assert_eq!(network("10.0.0.7").unwrap(), network("10.0.0.7/32").unwrap());
        assert!(network("fd00::/8").unwrap().contains(&"fd00::7".parse::<IpAddr>().unwrap()));
        network("proxy.internal").unwrap_err();
    }
}

//! Replicas: the cluster they belong to, their ids, their starts, and where they answer.
//!
//! `(cluster, generation, replica, incarnation)` tells one start of one replica from everything else that ever
//! answered at its address. Replica ids count from 1 and are never used twice.
//!
//! Not here: roles and states, which change (`api::cluster`).

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use super::digest::{read_hex, write_hex};
use super::newtype::{NumberError, checked_text, parse_number};

/// A random number of 128 bits that names a cluster, shown as a UUID is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(with = "String", extend("pattern" = "^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$"))
)]
pub struct ClusterId([u8; 16]);

impl ClusterId {
    /// The cluster of these bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Where the dashes of a UUID stand among its 36 characters.
const DASHES: [usize; 4] = [8, 13, 18, 23];

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 32];
        let digits = write_hex(&self.0, &mut digits);
        let mut text = String::with_capacity(36);
        for digit in digits.chars() {
            if DASHES.contains(&text.len()) {
                text.push('-');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({self})")
    }
}

/// A text that is no cluster id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cluster id has 32 lower-case hexadecimal digits, with the dashes of a UUID or without")]
pub struct ClusterIdError;

impl FromStr for ClusterId {
    type Err = ClusterIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 16];
        let has_dashes = text.len() == 36 && DASHES.iter().all(|at| text.as_bytes()[*at] == b'-');
        let digits: Vec<u8> = if has_dashes {
            let letters = text.bytes().enumerate();
            letters.filter(|(at, _)| !DASHES.contains(at)).map(|(_, letter)| letter).collect()
        } else {
            text.into()
        };
        read_hex(&digits, &mut bytes).ok_or(ClusterIdError)?;
        Ok(Self(bytes))
    }
}

impl serde::Serialize for ClusterId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for ClusterId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Which replica: counted from 1, never configured, never used twice.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct ReplicaId(NonZeroU64);

impl ReplicaId {
    /// The first replica of every cluster.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// The replica of this number; 0 is none.
    pub const fn new(number: u64) -> Option<Self> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for ReplicaId {
    type Err = NumberError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_number(text).and_then(|number| Self::new(number).ok_or(NumberError))
    }
}

impl From<ReplicaId> for u64 {
    fn from(id: ReplicaId) -> u64 {
        id.get()
    }
}

/// Which history of a cluster: raised, with another random part, by every recovery after the loss
/// of a majority. Ordered by number.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Generation {
    /// Counts recoveries.
    pub number: u32,
    /// Tells apart two recoveries of the same number; 16 hexadecimal digits in JSON.
    #[serde(with = "random_text")]
    #[cfg_attr(feature = "schema", schemars(with = "String", regex(pattern = "^[0-9a-f]{16}$")))]
    pub random: u64,
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.number, self.random)
    }
}

/// One start of a replica: the number of the start, and a random part that tells copies apart.
/// Ordered by start.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Incarnation {
    /// Raised and persisted at every start.
    pub start: u64,
    /// Drawn anew at every start; 16 hexadecimal digits in JSON.
    #[serde(with = "random_text")]
    pub random: u64,
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.start, self.random)
    }
}

/// A text that names no generation and no incarnation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a number and 16 lower-case hexadecimal digits, as in 1-00000000000000ff")]
pub struct NumberedError;

fn read_numbered(text: &str) -> Result<(u64, u64), NumberedError> {
    let (number, random) = text.split_once('-').ok_or(NumberedError)?;
    let number = parse_number(number).map_err(|_| NumberedError)?;
    Ok((number, random_text::read(random).ok_or(NumberedError)?))
}

impl FromStr for Generation {
    type Err = NumberedError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, random) = read_numbered(text)?;
        Ok(Self { number: number.try_into().map_err(|_| NumberedError)?, random })
    }
}

impl FromStr for Incarnation {
    type Err = NumberedError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (start, random) = read_numbered(text)?;
        Ok(Self { start, random })
    }
}

/// 64 random bits as text: numbers of JSON are exact in 53 bits only.
mod random_text {
    use std::borrow::Cow;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::read_hex;

    pub(super) fn read(text: &str) -> Option<u64> {
        let mut bytes = [0; 8];
        read_hex(text.as_bytes(), &mut bytes)?;
        Some(u64::from_be_bytes(bytes))
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands in a reference")]
    pub(super) fn serialize<S: Serializer>(random: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{random:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        read(&text).ok_or_else(|| D::Error::custom("random bits are 16 hexadecimal digits"))
    }
}

/// Longest zone, in bytes.
pub const ZONE_BYTES_MAX: usize = 255;

checked_text! {
    /// Where a replica stands, in the operator's words, to spread replicas: at most 255 bytes without
    /// control characters; empty if nobody said.
    Zone, ZoneError, check_zone, r"^[^\x00-\x1f\x7f-\x9f]*$", 0..=ZONE_BYTES_MAX
}

impl Zone {
    /// Whether nobody said where it stands.
    pub fn is_empty(&self) -> bool {
        self.as_str().is_empty()
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::new("").expect("no zone is a zone")
    }
}

/// Why a text is no zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ZoneError {
    /// Longer than [`ZONE_BYTES_MAX`].
    #[error("a zone may have at most {ZONE_BYTES_MAX} bytes, not {bytes}")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// It would not be shown as it is.
    #[error("a zone may not hold control characters")]
    Control,
}

fn check_zone(text: &str) -> Result<(), ZoneError> {
    if text.len() > ZONE_BYTES_MAX {
        return Err(ZoneError::TooLong { bytes: text.len() });
    }
    if text.chars().any(char::is_control) { Err(ZoneError::Control) } else { Ok(()) }
}

/// An address as a pattern: with a name, four numbers, or an IPv6 address in brackets.
#[cfg(feature = "schema")]
const ADDR_PATTERN: &str = concat!(
    r"^https?://([A-Za-z0-9._-]{1,253}|\[(",
    "([0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}|([0-9A-Fa-f]{1,4}:){1,7}:",
    "|([0-9A-Fa-f]{1,4}:){1,6}:[0-9A-Fa-f]{1,4}|([0-9A-Fa-f]{1,4}:){1,5}(:[0-9A-Fa-f]{1,4}){1,2}",
    "|([0-9A-Fa-f]{1,4}:){1,4}(:[0-9A-Fa-f]{1,4}){1,3}|([0-9A-Fa-f]{1,4}:){1,3}(:[0-9A-Fa-f]{1,4}){1,4}",
    "|([0-9A-Fa-f]{1,4}:){1,2}(:[0-9A-Fa-f]{1,4}){1,5}|[0-9A-Fa-f]{1,4}:(:[0-9A-Fa-f]{1,4}){1,6}",
    r"|:((:[0-9A-Fa-f]{1,4}){1,7}|:))\])",
    "(:(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}))?$",
);

/// Longest address of a replica, in bytes: scheme, a name of 253 bytes, colon and port.
pub const REPLICA_ADDR_BYTES_MAX: usize = 8 + 253 + 1 + 5;

checked_text! {
    /// Where a replica answers: `http://host:port` or `https://host:port`, and nothing behind it. At
    /// most [`REPLICA_ADDR_BYTES_MAX`] bytes.
    ReplicaAddr, ReplicaAddrError, check_addr,
    ADDR_PATTERN, 8..=REPLICA_ADDR_BYTES_MAX
}

impl ReplicaAddr {
    /// Whether connections to it are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.as_str().starts_with("https:")
    }

    /// Host and port, without the scheme.
    pub fn authority(&self) -> &str {
        self.as_str().split_once("://").expect("an address has a scheme").1
    }

    /// The host; an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        split_authority(self.authority()).expect("an address has a host").0
    }

    /// The port; that of the scheme if none is written.
    pub fn port(&self) -> u16 {
        let port = split_authority(self.authority()).expect("an address has a host").1;
        port.unwrap_or(if self.is_encrypted() { 443 } else { 80 })
    }
}

/// Why a text is no address of a replica.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicaAddrError {
    /// Neither `http://` nor `https://`.
    #[error("an address starts with http:// or https://")]
    Scheme,
    /// No host, or no number from 1 to 65535 behind the colon.
    #[error("an address names a host and a port, as in http://127.0.0.1:7001")]
    Authority,
    /// Something behind the port, or a user before the host.
    #[error("an address is host and port alone, without user, path, query or slash at its end")]
    More,
}

fn check_addr(text: &str) -> Result<(), ReplicaAddrError> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let authority = rest.ok_or(ReplicaAddrError::Scheme)?;
    if text.len() > REPLICA_ADDR_BYTES_MAX {
        return Err(ReplicaAddrError::Authority);
    }
    if authority.contains(['/', '?', '#', '@']) {
        return Err(ReplicaAddrError::More);
    }
    split_authority(authority).map(|_| ()).ok_or(ReplicaAddrError::Authority)
}

fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (check_host(host)?, Some(port)),
            None => (check_host(authority)?, None),
        },
    };
    let port = match port {
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|port| *port != 0)?)
        }
        Some(_) => return None,
        None => None,
    };
    Some((host, port))
}

fn check_host(host: &str) -> Option<&str> {
    let is_allowed = |letter: u8| letter.is_ascii_alphanumeric() || b".-_".contains(&letter);
    (!host.is_empty() && host.len() <= 253 && host.bytes().all(is_allowed)).then_some(host)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cluster_id_reads_as_a_uuid_with_and_without_dashes() {
        let text = "00112233-4455-6677-8899-aabbccddeeff";
        let id: ClusterId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(text.replace('-', "").parse(), Ok(id));
        for bad in ["", "00112233", "00112233-4455-6677-8899-aabbccddeefg", "ä"] {
            assert_eq!(bad.parse::<ClusterId>(), Err(ClusterIdError), "{bad}");
        }
    }

    #[test]
    fn no_replica_has_number_zero() {
        assert_eq!(ReplicaId::new(0), None);
        assert!(serde_json::from_str::<ReplicaId>("0").is_err());
        assert!("0".parse::<ReplicaId>().is_err());
        assert_eq!(ReplicaId::new(1), Some(ReplicaId::FIRST));
    }

    #[test]
    fn a_later_start_is_the_greater_incarnation() {
        assert!(Incarnation { start: 2, random: 1 } > Incarnation { start: 1, random: 9 });
        assert_eq!(Incarnation { start: 2, random: 1 }.to_string(), "2-0000000000000001");
    }

    #[test]
    fn random_bits_survive_a_reader_whose_numbers_are_floating() {
        let generation = Generation { number: 1, random: u64::MAX - 1 };
        let json = serde_json::to_string(&generation).unwrap();
        assert_eq!(json, r#"{"number":1,"random":"fffffffffffffffe"}"#);
        assert_eq!(serde_json::from_str::<Generation>(&json).unwrap(), generation);
        assert_eq!(generation.to_string().parse(), Ok(generation));
        let incarnation = Incarnation { start: 7, random: 5 };
        assert_eq!(incarnation.to_string().parse(), Ok(incarnation));
        for text in
            ["", "1", "1-5", "-0000000000000005", "+1-0000000000000005", "1-000000000000000G"]
        {
            assert_eq!(text.parse::<Incarnation>(), Err(NumberedError), "{text}");
        }
    }

    #[test]
    fn an_address_is_scheme_host_and_port() {
        let addr = ReplicaAddr::new("http://[::1]:7001").unwrap();
        assert_eq!((addr.host(), addr.port(), addr.authority()), ("::1", 7001, "[::1]:7001"));
        let addr = ReplicaAddr::new("https://a.example").unwrap();
        assert_eq!((addr.host(), addr.port()), ("a.example", 443));
    }

    #[test]
    fn an_address_with_anything_more_is_refused() {
        let padded = format!("http://a:{}1", "0".repeat(300));
        let cases = [
            ("", ReplicaAddrError::Scheme),
            ("127.0.0.1:7001", ReplicaAddrError::Scheme),
            ("ftp://a:1", ReplicaAddrError::Scheme),
            ("http://", ReplicaAddrError::Authority),
            ("http://:7001", ReplicaAddrError::Authority),
            ("http://a:", ReplicaAddrError::Authority),
            ("http://a:0", ReplicaAddrError::Authority),
            ("http://a:65536", ReplicaAddrError::Authority),
            (&padded, ReplicaAddrError::Authority),
            ("http://a:+1", ReplicaAddrError::Authority),
            ("http://a b:1", ReplicaAddrError::Authority),
            ("http://[::1", ReplicaAddrError::Authority),
            ("http://[x]:1", ReplicaAddrError::Authority),
            ("http://a:1/", ReplicaAddrError::More),
            ("http://u@a:1", ReplicaAddrError::More),
            ("http://a:1?x", ReplicaAddrError::More),
        ];
        for (text, error) in cases {
            assert_eq!(ReplicaAddr::new(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_zone_is_short_and_shown_as_it_is() {
        assert!(Zone::default().is_empty());
        let longest = "é".repeat(127);
        assert_eq!(Zone::new(&longest).unwrap().as_str(), longest);
        assert_eq!(Zone::new(&"z".repeat(256)), Err(ZoneError::TooLong { bytes: 256 }));
        assert_eq!(Zone::new("a\nb"), Err(ZoneError::Control));
        assert!(serde_json::from_str::<Zone>("\"\\u0007\"").is_err());
    }

    #[test]
    fn the_longest_address_is_one() {
        let longest = format!("https://{}:65535", "h".repeat(253));
        assert_eq!(longest.len(), REPLICA_ADDR_BYTES_MAX);
        assert!(ReplicaAddr::new(&longest).is_ok());
    }

    proptest! {
        #[test]
        fn a_cluster_id_survives_text(bytes: [u8; 16]) {
            let id = ClusterId::new(bytes);
            prop_assert_eq!(id.to_string().parse::<ClusterId>(), Ok(id));
        }

        #[test]
        fn no_text_breaks_an_address(text in "(http://)?\\PC{0,20}") {
            if let Ok(addr) = ReplicaAddr::new(&text) {
                prop_assert!(!addr.host().is_empty() && addr.port() > 0);
            }
        }
    }
}

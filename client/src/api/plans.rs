//! Wishes and plans: what is to become of the membership, and what that would mean.
//!
//! A plan changes nothing. It says who votes and how many may fail, now, meanwhile and after, and what
//! sixteen checks found. It belongs to one epoch: a change that is asked for by a plan of an earlier
//! one is refused, and a fresh plan told with the refusal.
//!
//! Not here: carrying a wish out (`changes`).

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::cluster::Joiner;
use super::object::Object;
use crate::types::{Epoch, ReplicaAddr, ReplicaAddrError, ReplicaId};

/// Most members that one list of a wish may name.
pub const WISH_MEMBERS_MAX: usize = 16;

/// What is to become of the membership: body of POST on plans, and part of one on changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(!from, deny_unknown_fields))]
#[serde(rename_all = "snake_case", from = "WishForm")]
pub enum Wish {
    /// Processes that wait to join become replicas.
    Add {
        /// Where each of them answers clients.
        #[cfg_attr(feature = "schema", schemars(length(max = WISH_MEMBERS_MAX)))]
        joiners: Vec<ReplicaAddr>,
        /// They receive everything and do not vote.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        #[cfg_attr(feature = "schema", schemars(default))]
        as_learner: bool,
    },
    /// Replicas leave, for ever.
    Remove {
        /// Which.
        #[cfg_attr(feature = "schema", schemars(length(max = WISH_MEMBERS_MAX)))]
        replicas: Vec<ReplicaId>,
    },
    /// A replica leaves and a process that waits to join takes its place, in one step.
    Replace {
        /// Who leaves.
        replica: ReplicaId,
        /// Where the one who comes answers clients.
        by: ReplicaAddr,
    },
    /// Exactly these are replicas afterwards; whoever is not named leaves.
    Set {
        /// Those who vote.
        #[cfg_attr(feature = "schema", schemars(length(max = WISH_MEMBERS_MAX)))]
        voters: Vec<MemberName>,
        /// Those who receive everything and do not vote.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        #[cfg_attr(feature = "schema", schemars(default, length(max = WISH_MEMBERS_MAX)))]
        learners: Vec<MemberName>,
    },
    /// A voter leads. Nobody's vote changes.
    Lead {
        /// Which.
        replica: ReplicaId,
    },
    /// A replica answers elsewhere from now on. Nobody's vote changes.
    Relocate {
        /// Which.
        replica: ReplicaId,
        /// Where it answers clients from now on.
        addr: ReplicaAddr,
        /// Where it answers replicas from now on.
        peer_addr: ReplicaAddr,
    },
}

/// In the words in which it is typed behind `quorate cluster`.
impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn spaced<T: fmt::Display>(f: &mut fmt::Formatter<'_>, all: &[T]) -> fmt::Result {
            all.iter().try_for_each(|one| write!(f, " {one}"))
        }
        match self {
            Self::Add { joiners, as_learner } => {
                f.write_str("add")?;
                spaced(f, joiners)?;
                f.write_str(if *as_learner { " --learner" } else { "" })
            }
            Self::Remove { replicas } => {
                f.write_str("remove")?;
                spaced(f, replicas)
            }
            Self::Replace { replica, by } => write!(f, "replace {replica} --by {by}"),
            Self::Set { voters, learners } => {
                f.write_str("set")?;
                spaced(f, voters)?;
                learners.iter().try_for_each(|name| write!(f, " --learner {name}"))
            }
            Self::Lead { replica } => write!(f, "lead {replica}"),
            Self::Relocate { replica, addr, peer_addr } => {
                write!(f, "relocate {replica} --addr {addr} --peer-addr {peer_addr}")
            }
        }
    }
}

/// How a wish is read: objects alone, and no longer lists than allowed.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum WishForm {
    Add(Object<AddForm>),
    Remove(Object<RemoveForm>),
    Replace(Object<ReplaceForm>),
    Set(Object<SetForm>),
    Lead(Object<LeadForm>),
    Relocate(Object<RelocateForm>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddForm {
    #[serde(deserialize_with = "few")]
    joiners: Vec<ReplicaAddr>,
    #[serde(default)]
    as_learner: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveForm {
    #[serde(deserialize_with = "few")]
    replicas: Vec<ReplicaId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplaceForm {
    replica: ReplicaId,
    by: ReplicaAddr,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetForm {
    #[serde(deserialize_with = "few")]
    voters: Vec<MemberName>,
    #[serde(default, deserialize_with = "few")]
    learners: Vec<MemberName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LeadForm {
    replica: ReplicaId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RelocateForm {
    replica: ReplicaId,
    addr: ReplicaAddr,
    peer_addr: ReplicaAddr,
}

impl From<WishForm> for Wish {
    fn from(form: WishForm) -> Self {
        match form {
            WishForm::Add(Object(AddForm { joiners, as_learner })) => {
                Self::Add { joiners, as_learner }
            }
            WishForm::Remove(Object(RemoveForm { replicas })) => Self::Remove { replicas },
            WishForm::Replace(Object(ReplaceForm { replica, by })) => Self::Replace { replica, by },
            WishForm::Set(Object(SetForm { voters, learners })) => Self::Set { voters, learners },
            WishForm::Lead(Object(LeadForm { replica })) => Self::Lead { replica },
            WishForm::Relocate(Object(RelocateForm { replica, addr, peer_addr })) => {
                Self::Relocate { replica, addr, peer_addr }
            }
        }
    }
}

/// A list of at most [`WISH_MEMBERS_MAX`].
fn few<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let all = Vec::deserialize(from)?;
    if all.len() > WISH_MEMBERS_MAX {
        return Err(D::Error::custom(format_args!(
            "at most {WISH_MEMBERS_MAX} at once, not {}",
            all.len()
        )));
    }
    Ok(all)
}

/// The same of objects.
pub(super) fn few_objects<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let all: Vec<Object<T>> = few(from)?;
    Ok(all.into_iter().map(|Object(one)| one).collect())
}

/// Who is or will be a replica: by its id, or where it waits to join. A number or a text in JSON.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(untagged))]
pub enum MemberName {
    /// One that is a replica.
    Replica(ReplicaId),
    /// One that waits to join: where it answers clients.
    Joiner(ReplicaAddr),
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replica(id) => fmt::Display::fmt(id, f),
            Self::Joiner(addr) => fmt::Display::fmt(addr, f),
        }
    }
}

/// A text that names no member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither the number of a replica nor an address: {0}")]
pub struct MemberNameError(ReplicaAddrError);

impl FromStr for MemberName {
    type Err = MemberNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(id) => Ok(Self::Replica(id)),
            Err(_) => text.parse().map(Self::Joiner).map_err(MemberNameError),
        }
    }
}

impl Serialize for MemberName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Replica(id) => id.serialize(serializer),
            Self::Joiner(addr) => addr.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for MemberName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrAddress;

        impl serde::de::Visitor<'_> for NumberOrAddress {
            type Value = MemberName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the number of a replica, or the address of a process that waits")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<MemberName, E> {
                let id = ReplicaId::new(number);
                id.map(MemberName::Replica).ok_or_else(|| E::custom("no replica has number 0"))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<MemberName, E> {
                ReplicaAddr::new(text).map(MemberName::Joiner).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(NumberOrAddress)
    }
}

/// Answer to POST on plans: what a wish would mean. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Plan {
    /// What was wished for.
    pub wish: Wish,
    /// The membership it was planned for: a change names it in `If-Match`.
    pub epoch: Epoch,
    /// As it is.
    pub now: Footing,
    /// While old and new voters decide together; none where nobody's vote changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meanwhile: Option<Footing>,
    /// As it will be.
    pub after: Footing,
    /// Who becomes a replica.
    #[serde(default)]
    pub joins: Vec<Newcomer>,
    /// Who leaves, in the order of ids.
    #[serde(default)]
    pub leaves: Vec<ReplicaId>,
    /// Whom leadership is handed to first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand_over_to: Option<ReplicaId>,
    /// Bytes that are copied, to all newcomers together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_bytes: Option<u64>,
    /// How long that takes in milliseconds, at the rate seen lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_ms: Option<u64>,
    /// What was looked at, in the order of their numbers. One may stand there several times, for
    /// several replicas.
    pub checks: Vec<Check>,
    /// What follows from them.
    pub verdict: PlanVerdict,
    /// The same change as a command line.
    pub command: String,
    /// The same change as a call of `curl`.
    pub curl: String,
}

/// Who votes, and how many may fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Footing {
    /// Who votes; of a joint membership, who votes in either set.
    pub voters: Vec<MemberName>,
    /// Who receives everything and does not vote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub learners: Vec<MemberName>,
    /// How many may fail, whichever they are, if all are here and caught up.
    pub tolerates: u32,
    /// How many more may fail, whichever they are, given who is here and caught up now.
    pub may_fail: u32,
    /// Whether those who are here and caught up now are enough to go on at all.
    pub has_majority: bool,
    /// All of it in one sentence.
    pub sentence: String,
}

/// A process that becomes a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Newcomer {
    /// What it told of itself.
    pub joiner: Joiner,
    /// Whether it stays without a vote.
    #[serde(default)]
    pub as_learner: bool,
}

/// What one of the checks found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Check {
    /// Which check.
    pub id: CheckId,
    /// How grave.
    pub level: CheckLevel,
    /// What was found, in one line.
    pub line: String,
    /// What would help, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// What an operator has to type to override it; none: it does not block, or cannot be overridden.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub type_to_override: Option<String>,
}

macro_rules! check_ids {
    ($($(#[$doc:meta])* $id:ident),* $(,)?) => {
        /// Which of the checks of a plan: a closed set, each with a stable name from `P1` to `P16`.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub enum CheckId {
            $($(#[$doc])* $id,)*
        }

        impl CheckId {
            /// All of them, in order.
            pub const ALL: &[Self] = &[$(Self::$id),*];

            /// The stable name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$id => stringify!($id),)*
                }
            }
        }
    };
}

check_ids! {
    /// Afterwards at least one may fail.
    P1,
    /// A majority of those who vote now answers and is caught up.
    P2,
    /// A majority of those who will vote answers and will be caught up.
    P3,
    /// Whoever leaves does not lead, or hands over first.
    P4,
    /// The number of voters is odd: one more to make it even tolerates no more failures.
    P5,
    /// Every voter reaches who comes, and is reached by it.
    P6,
    /// Versions fit.
    P7,
    /// Who comes is empty, or one of ours; neither foreign nor a former member.
    P8,
    /// Who comes shares neither host nor zone with another replica.
    P9,
    /// The disk of who comes holds the data.
    P10,
    /// Clocks agree.
    P11,
    /// No other change is under way.
    P12,
    /// Leadership was stable for a minute.
    P13,
    /// What it costs: bytes to copy, and the time.
    P14,
    /// Who stays is spread over hosts and zones.
    P15,
    /// Whoever leaves answers.
    P16,
}

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no check.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a check is named P1 to P16")]
pub struct CheckIdError;

impl FromStr for CheckId {
    type Err = CheckIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().find(|id| id.as_str() == text).copied().ok_or(CheckIdError)
    }
}

/// How grave what a check found is. Later ones are graver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CheckLevel {
    /// As it should be.
    Pass,
    /// Good to know.
    Note,
    /// Better otherwise; nothing has to be done.
    Warn,
    /// The change is refused, unless this is overridden where that is possible.
    Block,
}

impl fmt::Display for CheckLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Note => "note",
            Self::Warn => "warn",
            Self::Block => "block",
        })
    }
}

/// What follows from the checks of a plan. Later ones are worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PlanVerdict {
    /// It can be carried out.
    Ready,
    /// It can be carried out if every check that blocks is overridden.
    NeedsOverride,
    /// It cannot be carried out.
    Blocked,
}

impl PlanVerdict {
    /// What follows from these checks.
    pub fn of(checks: &[Check]) -> Self {
        let blocks = checks.iter().filter(|check| check.level == CheckLevel::Block);
        let verdicts = blocks.map(|check| match check.type_to_override {
            Some(_) => Self::NeedsOverride,
            None => Self::Blocked,
        });
        verdicts.max().unwrap_or(Self::Ready)
    }
}

impl fmt::Display for PlanVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ready => "ready",
            Self::NeedsOverride => "needs an override",
            Self::Blocked => "blocked",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Wish, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn a_wish_is_read_strictly() {
        for text in [
            r#"{"add":{"joiners":["http://d:7001"],"as_lerner":true}}"#,
            r#"{"add":[["http://d:7001"]]}"#,
            r#"{"add":{"joiners":["d:7001"]}}"#,
            r#"{"add":{}}"#,
            r#"{"remove":{"replicas":[0]}}"#,
            r#"{"remove":{"replicas":[3]},"lead":{"replica":2}}"#,
            r#"{"set":{"voters":[1.5]}}"#,
            r#"{"set":{"voters":["3"]}}"#,
            r#"{"grow":{}}"#,
            r#""add""#,
            "{}",
        ] {
            assert!(read(text).is_err(), "{text}");
            assert!(serde_json::from_str::<Object<Wish>>(text).is_err(), "{text}");
        }
        let text = r#"{"lead":{"replica":2}}"#;
        let Object(wish): Object<Wish> = serde_json::from_str(text).unwrap();
        assert_eq!(wish, read(text).unwrap());
    }

    #[test]
    fn a_list_of_a_wish_has_a_limit() {
        let remove = |count: usize| {
            let ids: Vec<_> = (1..=count).map(|id| id.to_string()).collect();
            read(&format!(r#"{{"remove":{{"replicas":[{}]}}}}"#, ids.join(",")))
        };
        assert!(remove(WISH_MEMBERS_MAX).is_ok());
        let error = remove(WISH_MEMBERS_MAX + 1).unwrap_err().to_string();
        assert!(error.contains("at most 16 at once, not 17"), "{error}");
    }

    #[test]
    fn a_member_is_named_by_number_or_address() {
        let id = MemberName::Replica(ReplicaId::new(3).unwrap());
        let addr = MemberName::Joiner(ReplicaAddr::new("http://d:7001").unwrap());
        for name in [id, addr] {
            assert_eq!(name.to_string().parse().as_ref(), Ok(&name));
        }
        assert!("0".parse::<MemberName>().is_err());
        assert!("d:7001".parse::<MemberName>().is_err());
    }

    #[test]
    fn checks_are_numbered_through() {
        for (at, id) in CheckId::ALL.iter().enumerate() {
            assert_eq!(id.to_string(), format!("P{}", at + 1));
            assert_eq!(id.as_str().parse(), Ok(*id));
            assert_eq!(serde_json::to_value(id).unwrap(), id.as_str());
        }
        assert_eq!("P17".parse::<CheckId>(), Err(CheckIdError));
    }

    #[test]
    fn the_worst_check_decides() {
        let check = |level, type_to_override: Option<&str>| Check {
            id: CheckId::P1,
            level,
            line: String::new(),
            fix: None,
            type_to_override: type_to_override.map(str::to_owned),
        };
        let warn = check(CheckLevel::Warn, None);
        let forced = check(CheckLevel::Block, Some("3"));
        let never = check(CheckLevel::Block, None);
        assert_eq!(PlanVerdict::of(&[]), PlanVerdict::Ready);
        assert_eq!(PlanVerdict::of(std::slice::from_ref(&warn)), PlanVerdict::Ready);
        assert_eq!(PlanVerdict::of(&[warn, forced.clone()]), PlanVerdict::NeedsOverride);
        assert_eq!(PlanVerdict::of(&[never, forced]), PlanVerdict::Blocked);
    }
}

//! A wish as it stands in the address of its plan, and in words.
//!
//! Not here: what it would mean (`plan`).

use client::api::plans::Wish;

use crate::fields::{Fields, query};
use crate::format::{list, visible};

/// The page of a plan; its query says which.
pub(crate) const PLAN: &str = "/changes/new";

/// The page of the plan for this; none for a wish that the dashboard does not make.
pub(crate) fn plan_of(wish: &Wish) -> Option<String> {
    let fields: Vec<(&str, String)> = match wish {
        Wish::Add { joiners, as_learner } => {
            let learner = as_learner.then(|| ("learner", "yes".to_owned()));
            joiners.iter().map(|joiner| ("add", joiner.to_string())).chain(learner).collect()
        }
        Wish::Remove { replicas } => {
            replicas.iter().map(|replica| ("remove", replica.to_string())).collect()
        }
        Wish::Replace { replica, by } => {
            vec![("replace", replica.to_string()), ("by", by.to_string())]
        }
        Wish::Lead { replica } => vec![("lead", replica.to_string())],
        Wish::Set { .. } | Wish::Relocate { .. } => return None,
    };
    let fields = fields.iter().map(|(name, value)| (*name, value.as_str()));
    Some(format!("{PLAN}?{}", query(fields)))
}

/// What an address says is to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wished {
    /// Something to plan.
    Wish(Wish),
    /// Something that lacks a choice: what is to be done, and with which replica.
    Unfinished {
        /// Whose place is to be taken, if anybody's.
        replaced: Option<String>,
    },
    /// Nothing that makes sense, and why not.
    Senseless(String),
}

impl Wished {
    /// What these fields say.
    pub(crate) fn of(fields: &Fields) -> Self {
        let wish = if let Some(replaced) = fields.get("replace") {
            let Some(by) = fields.get("by") else {
                return Self::Unfinished { replaced: Some(visible(replaced)) };
            };
            read("replace", replaced)
                .and_then(|replica| Ok(Wish::Replace { replica, by: read("by", by)? }))
        } else if let Some(leader) = fields.get("lead") {
            read("lead", leader).map(|replica| Wish::Lead { replica })
        } else if fields.get("remove").is_some() {
            let replicas = fields.all("remove").map(|id| read("remove", id));
            replicas.collect::<Result<_, _>>().map(|replicas| Wish::Remove { replicas })
        } else if fields.get("add").is_some() {
            let joiners = fields.all("add").map(|addr| read("add", addr));
            let as_learner = fields.get("learner").is_some();
            joiners.collect::<Result<_, _>>().map(|joiners| Wish::Add { joiners, as_learner })
        } else {
            return Self::Unfinished { replaced: None };
        };
        wish.map_or_else(Self::Senseless, Self::Wish)
    }
}

fn read<T: std::str::FromStr<Err: std::fmt::Display>>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|wrong| format!("{name}: {wrong}"))
}

/// The wish in a few words, as the headline of a page. Visible whatever it holds.
pub(crate) fn in_words(wish: &Wish) -> String {
    let words = match wish {
        Wish::Add { joiners, as_learner } => {
            let learner = if *as_learner { " as learner" } else { "" };
            format!("Add {}{learner}", list(joiners))
        }
        Wish::Remove { replicas } => format!("Remove {}", named(replicas)),
        Wish::Replace { replica, by } => format!("Replace replica {replica} by {by}"),
        Wish::Set { voters, learners } if learners.is_empty() => {
            format!("Let {} vote, and nobody else be there", list(voters))
        }
        Wish::Set { voters, learners } => {
            format!("Let {} vote, {} learn, and nobody else be there", list(voters), list(learners))
        }
        Wish::Lead { replica } => format!("Let replica {replica} lead"),
        Wish::Relocate { replica, addr, peer_addr: _ } => {
            format!("Find replica {replica} at {addr}")
        }
    };
    visible(&words)
}

fn named(replicas: &[impl std::fmt::Display]) -> String {
    let noun = if replicas.len() == 1 { "replica" } else { "replicas" };
    format!("{noun} {}", list(replicas))
}

/// What the button says that carries it out.
pub(crate) fn on_a_button(wish: &Wish) -> String {
    let words = match wish {
        Wish::Add { joiners, as_learner: false } if joiners.len() == 1 => "Add replica".to_owned(),
        Wish::Add { joiners, as_learner: true } if joiners.len() == 1 => "Add learner".to_owned(),
        Wish::Add { joiners, as_learner: _ } => format!("Add {} replicas", joiners.len()),
        Wish::Remove { replicas } => format!("Remove {}", named(replicas)),
        Wish::Replace { replica, .. } => format!("Replace replica {replica}"),
        Wish::Set { .. } => "Change the membership".to_owned(),
        Wish::Lead { replica } => format!("Make replica {replica} leader"),
        Wish::Relocate { replica, .. } => format!("Relocate replica {replica}"),
    };
    visible(&words)
}

#[cfg(test)]
mod tests {
    use client::types::{ReplicaAddr, ReplicaId};

    use super::*;

    fn wished(query: &str) -> Wished {
        Wished::of(&Fields::of_body(query.as_bytes()))
    }

    fn id(number: u64) -> ReplicaId {
        ReplicaId::new(number).unwrap()
    }

    #[test]
    fn an_address_says_every_wish_of_the_dashboard() {
        let addr = ReplicaAddr::new("http://127.0.0.1:7004").unwrap();
        for (query, wish, words) in [
            (
                "add=http://127.0.0.1:7004",
                Wish::Add { joiners: vec![addr.clone()], as_learner: false },
                "Add http://127.0.0.1:7004",
            ),
            (
                "add=http%3A%2F%2F127.0.0.1%3A7004&learner=yes",
                Wish::Add { joiners: vec![addr.clone()], as_learner: true },
                "Add http://127.0.0.1:7004 as learner",
            ),
            (
                "remove=2&remove=3",
                Wish::Remove { replicas: vec![id(2), id(3)] },
                "Remove replicas 2 and 3",
            ),
            (
                "replace=3&by=http://127.0.0.1:7004",
                Wish::Replace { replica: id(3), by: addr },
                "Replace replica 3 by http://127.0.0.1:7004",
            ),
            ("lead=2", Wish::Lead { replica: id(2) }, "Let replica 2 lead"),
        ] {
            assert_eq!(in_words(&wish), words);
            let address = plan_of(&wish).unwrap();
            for query in [query, address.split_once('?').unwrap().1] {
                assert_eq!(wished(query), Wished::Wish(wish.clone()), "{query}");
            }
        }
    }

    #[test]
    fn what_lacks_a_choice_is_told_from_what_makes_no_sense() {
        assert_eq!(wished("replace=3"), Wished::Unfinished { replaced: Some("3".to_owned()) });
        assert_eq!(wished("add="), Wished::Unfinished { replaced: None });
        for senseless in ["remove=0", "remove=x", "lead=-1", "add=nowhere", "replace=3&by=x"] {
            assert!(matches!(wished(senseless), Wished::Senseless(_)), "{senseless}");
        }
    }
}

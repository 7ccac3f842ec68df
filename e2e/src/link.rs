//! Links between replicas that the test can cut: partitions of every shape, whole or one way.
//!
//! Every replica dials every other one through a relay of its own, to both of its doors, so that what
//! is cut between two replicas is cut for forwarded requests, too. Callers reach all replicas
//! directly. What is cut is silent, as a cut wire is; what was under way arrives when it is mended.
//!
//! Not here: what a link is (`server::cli::demo::relay`).

use crate::cluster::{CALM, Cluster};
use crate::process::Recipe;
use anyhow::Result;
use server::cli::demo::relay::{Flow, Relay, Way};
use std::net::SocketAddr;

/// Which replicas do not hear which others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One hears nobody and is heard by nobody.
    Alone(usize),
    /// All hear the one in the middle, and it hears all; the others do not hear each other.
    Bridge(usize),
    /// Each hears only the one before it and the one behind it.
    Ring,
    /// One is heard by nobody, but hears all.
    Mute(usize),
    /// One hears nobody, but is heard by all.
    Deaf(usize),
    /// One does not hear one other.
    OneWay {
        /// Who is not heard.
        from: usize,
        /// By whom.
        to: usize,
    },
}

impl Shape {
    /// In this shape of `count` replicas, does `to` not hear `from`?
    fn is_cut(self, from: usize, to: usize, count: usize) -> bool {
        match self {
            Self::Alone(alone) => from == alone || to == alone,
            Self::Bridge(middle) => from != middle && to != middle,
            Self::Ring => (from + 1) % count != to && (to + 1) % count != from,
            Self::Mute(mute) => from == mute,
            Self::Deaf(deaf) => to == deaf,
            Self::OneWay { from: unheard, to: by } => (from, to) == (unheard, by),
        }
    }
}

/// The relay by which one replica reaches one door of another.
#[derive(Debug)]
struct Link {
    dialler: usize,
    dialled: usize,
    relay: Relay,
}

/// All links of a group.
#[derive(Debug)]
pub struct Links {
    links: Vec<Link>,
    count: usize,
}

impl Links {
    /// A group of `count` replicas behind links, all of them whole.
    pub async fn start(count: usize) -> Result<(Cluster, Self)> {
        Self::start_with(count, |_recipe| {}).await
    }

    /// The same, with timings under which a busy machine elects nobody.
    pub async fn calm(count: usize) -> Result<(Cluster, Self)> {
        Self::start_with(count, |recipe| recipe.arguments.extend(CALM.map(str::to_owned))).await
    }

    /// The same, each replica started as `changed` says.
    pub async fn start_with(
        count: usize,
        changed: impl FnMut(&mut Recipe),
    ) -> Result<(Cluster, Self)> {
        let mut cluster = Cluster::empty()?;
        let mut recipes = cluster.recipes(count, &[])?;
        recipes.iter_mut().for_each(changed);
        let links = Self::between(&mut recipes).await?;
        for recipe in recipes {
            cluster.add(recipe).await?;
        }
        cluster.healed().await?;
        Ok((cluster, links))
    }

    /// A group whose replicas reach each other directly: there is nothing to be cut.
    pub fn none() -> Self {
        Self { links: Vec::new(), count: 0 }
    }

    /// Opens the relays, and tells each replica to dial them.
    async fn between(recipes: &mut [Recipe]) -> Result<Self> {
        let doors: Vec<[SocketAddr; 2]> =
            recipes.iter().map(|recipe| [recipe.listen, recipe.peer_listen]).collect();
        let mut links = Vec::new();
        for (dialler, recipe) in recipes.iter_mut().enumerate() {
            let mut pairs = Vec::new();
            for (dialled, doors) in doors.iter().enumerate().filter(|(other, _)| *other != dialler)
            {
                for door in doors {
                    let relay = Relay::open(*door).await?;
                    pairs.push(format!("{door}={}", relay.addr()));
                    links.push(Link { dialler, dialled, relay });
                }
            }
            recipe.arguments.extend(["--peer-map".to_owned(), pairs.join(",")]);
        }
        Ok(Self { links, count: doors.len() })
    }

    /// Cuts the group into this shape.
    pub fn cut(&self, shape: Shape) {
        for link in &self.links {
            let flow = |is_cut| if is_cut { Flow::Stalled } else { Flow::Open };
            let forth = shape.is_cut(link.dialler, link.dialled, self.count);
            let back = shape.is_cut(link.dialled, link.dialler, self.count);
            link.relay.set(Way::Forth, flow(forth));
            link.relay.set(Way::Back, flow(back));
        }
    }

    /// What one replica asks of another one is not heard any more. What that one asks is heard and answered.
    pub fn sever(&self, from: usize, to: usize) {
        self.between_doors(from, to).for_each(|link| link.relay.cut());
    }

    /// What one replica asks of another one is heard again.
    pub fn mend(&self, from: usize, to: usize) {
        self.between_doors(from, to).for_each(|link| link.relay.heal());
    }

    /// How many bytes a replica was answered with by all others, over all its starts.
    pub fn answered(&self, dialler: usize) -> u64 {
        let links = self.links.iter().filter(|link| link.dialler == dialler);
        links.map(|link| link.relay.moved(Way::Back)).sum()
    }

    fn between_doors(&self, from: usize, to: usize) -> impl Iterator<Item = &Link> {
        self.links.iter().filter(move |link| (link.dialler, link.dialled) == (from, to))
    }

    /// Mends every link.
    pub fn heal(&self) {
        self.links.iter().for_each(|link| link.relay.heal());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pairs (from, to) of three replicas between which nothing is heard.
    fn cuts(shape: Shape, count: usize) -> Vec<(usize, usize)> {
        let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
        pairs.filter(|(from, to)| from != to && shape.is_cut(*from, *to, count)).collect()
    }

    #[test]
    fn a_shape_cuts_what_its_name_says() {
        assert_eq!(cuts(Shape::Alone(0), 3), [(0, 1), (0, 2), (1, 0), (2, 0)]);
        assert_eq!(cuts(Shape::Bridge(1), 3), [(0, 2), (2, 0)]);
        assert_eq!(cuts(Shape::Mute(2), 3), [(2, 0), (2, 1)]);
        assert_eq!(cuts(Shape::Deaf(2), 3), [(0, 2), (1, 2)]);
        assert_eq!(cuts(Shape::OneWay { from: 0, to: 2 }, 3), [(0, 2)]);
        assert_eq!(cuts(Shape::Ring, 4), [(0, 2), (1, 3), (2, 0), (3, 1)]);
    }
}

//! Links between replicas that the test can cut: partitions of every shape, whole or one way.
//!
//! Every replica dials every other one through a relay of its own, to both of its doors, so that what
//! is cut between two replicas is cut for forwarded requests, too; and so does whoever comes later, into a
//! place that was kept for it, from its first question on. Callers reach all replicas directly, and so do those
//! who only try whether an address can be reached. What is cut is silent, as a cut wire is; what was under way
//! arrives when it is mended.
//!
//! Not here: what a link is (`server::cli::demo::relay`).

use crate::cluster::{CALM, Cluster};
use crate::process::{Process, Recipe};
use anyhow::{Context, Result};
use server::cli::demo::relay::{Flow, Relay, Way};
use std::{net::SocketAddr, time::Duration};

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
    /// Two sides do not hear each other: those whose bit is set, counted from the lowest, and the rest.
    Sides(u32),
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
            Self::Sides(side) => (side >> from) & 1 != (side >> to) & 1,
            Self::OneWay { from: unheard, to: by } => (from, to) == (unheard, by),
        }
    }
}

/// The relay by which one replica reaches one door of another.
#[derive(Debug)]
struct Link {
    dialler: usize,
    dialled: usize,
    door: SocketAddr,
    relay: Relay,
}

/// All links of a group. Each replica stands in a place; as long as nobody came or went, that is its number.
#[derive(Debug)]
pub struct Links {
    links: Vec<Link>,
    /// How to start whoever stands there.
    places: Vec<Recipe>,
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
        Self::start_with_room(count, 0, changed).await
    }

    /// The same, with places for so many more who come later.
    pub async fn start_with_room(
        count: usize,
        room: usize,
        changed: impl FnMut(&mut Recipe),
    ) -> Result<(Cluster, Self)> {
        let mut cluster = Cluster::empty()?;
        let mut recipes = cluster.recipes(count, &[])?;
        for number in 0..room {
            recipes.push(Recipe::in_folder(cluster.folder().join(format!("place-{number}")))?);
        }
        recipes.iter_mut().for_each(changed);
        let links = Self::between(recipes).await?;
        for recipe in links.places.iter().take(count) {
            cluster.add(recipe.clone()).await?;
        }
        cluster.healed().await?;
        Ok((cluster, links))
    }

    /// A group whose replicas reach each other directly: there is nothing to be cut.
    pub fn none() -> Self {
        Self { links: Vec::new(), places: Vec::new() }
    }

    /// Opens the relays, and tells each replica to dial them.
    async fn between(mut places: Vec<Recipe>) -> Result<Self> {
        let doors: Vec<[SocketAddr; 2]> =
            places.iter().map(|recipe| [recipe.listen, recipe.peer_listen]).collect();
        let mut links = Vec::new();
        for (dialler, recipe) in places.iter_mut().enumerate() {
            let mut pairs = Vec::new();
            for (dialled, doors) in doors.iter().enumerate().filter(|(other, _)| *other != dialler)
            {
                for door in doors {
                    let relay = Relay::open(*door).await?;
                    pairs.push(format!("{door}={}", relay.addr()));
                    links.push(Link { dialler, dialled, door: *door, relay });
                }
            }
            recipe.arguments.extend(["--peer-map".to_owned(), pairs.join(",")]);
        }
        Ok(Self { links, places })
    }

    /// Where a process stands.
    pub fn place_of(&self, process: &Process) -> Result<usize> {
        let doors = process.recipe().listen;
        let place = self.places.iter().position(|recipe| recipe.listen == doors);
        place.with_context(|| format!("{doors} is in no place"))
    }

    /// The first place in which none of these processes stands.
    pub fn free_place<'a>(&self, taken: impl IntoIterator<Item = &'a Process>) -> Result<usize> {
        let taken = taken.into_iter().map(|process| process.recipe().listen).collect::<Vec<_>>();
        let mut places = self.places.iter();
        places.position(|place| !taken.contains(&place.listen)).context("all places are taken")
    }

    /// How to start a process in this place, in a folder of this name, that asks all replicas to let it in.
    pub fn spare(&self, cluster: &Cluster, place: usize, name: &str) -> Result<Recipe> {
        let mut recipe = self.places[place].clone();
        recipe.folder = cluster.folder().join(name);
        recipe.first_start = Vec::new();
        for number in 0..cluster.len() {
            let front = cluster.replica(number).recipe().listen;
            let mut links = self.links.iter();
            let link = links.find(|link| link.dialler == place && link.door == front);
            let link = link.with_context(|| format!("{front} is in no other place"))?;
            let door = format!("http://{}", link.relay.addr());
            recipe.first_start.extend(["--join".to_owned(), door]);
        }
        Ok(recipe)
    }

    /// Cuts the group into this shape.
    pub fn cut(&self, shape: Shape) {
        self.cut_among(&(0..self.places.len()).collect::<Vec<_>>(), shape);
    }

    /// Cuts those in these places into this shape, in which they are counted in this order.
    pub fn cut_among(&self, places: &[usize], shape: Shape) {
        let at = |place| places.iter().position(|other| *other == place);
        for link in &self.links {
            let ends = at(link.dialler).zip(at(link.dialled));
            let flow = |is_cut| if is_cut { Flow::Stalled } else { Flow::Open };
            let is_cut = |from, to| shape.is_cut(from, to, places.len());
            let forth = ends.is_some_and(|(dialler, dialled)| is_cut(dialler, dialled));
            let back = ends.is_some_and(|(dialler, dialled)| is_cut(dialled, dialler));
            link.relay.set(Way::Forth, flow(forth));
            link.relay.set(Way::Back, flow(back));
        }
    }

    /// Whatever whoever stands there tells others arrives so much later.
    pub fn slow_down(&self, from: usize, delay: Duration) {
        for link in &self.links {
            let flow = Flow::Slow { delay, bytes_per_second_max: None };
            if link.dialler == from {
                link.relay.set(Way::Forth, flow);
            } else if link.dialled == from {
                link.relay.set(Way::Back, flow);
            }
        }
    }

    /// Breaks every connection that one replica has to others.
    pub fn reset(&self, dialler: usize) {
        let links = self.links.iter().filter(|link| link.dialler == dialler);
        links.for_each(|link| link.relay.reset());
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
        assert_eq!(cuts(Shape::Sides(0b010), 3), cuts(Shape::Alone(1), 3));
        let sides = cuts(Shape::Sides(0b00101), 5);
        assert!(sides.contains(&(0, 1)) && !sides.contains(&(0, 2)) && !sides.contains(&(1, 4)));
        assert_eq!(sides.len(), 12);
        assert_eq!(cuts(Shape::Ring, 4), [(0, 2), (1, 3), (2, 0), (3, 1)]);
    }
}

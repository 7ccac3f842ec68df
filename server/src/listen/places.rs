//! The places of a listener: how many connections there may be, in all and from one address.
//!
//! When all places are taken, the connections that have waited longest without a request make room:
//! keeping one open is a courtesy, and a flood of idle ones must not shut out those who work. Only
//! when every connection has a request under way is a new one refused.
//!
//! Not here: deadlines, which end connections whether anybody needs their place or not (`pulse`).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ListenOptions;
use super::pulse::{Asked, Pulse};
use crate::metrics::ConnectionLoss;
use crate::world::{Clock, Instant};

/// How many make room at once: choosing costs a walk over all connections.
const EVICTED_AT_ONCE: usize = 32;

#[derive(Debug)]
pub(super) struct Places {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    taken: Mutex<Taken>,
    connections_max: usize,
    per_address_max: usize,
    clock: Clock,
    began: Instant,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    connections: HashMap<u64, Arc<Pulse>>,
    by_address: HashMap<IpAddr, usize>,
}

impl Places {
    pub(super) fn new(options: &ListenOptions, clock: Clock) -> Self {
        let shared = Shared {
            taken: Mutex::default(),
            connections_max: options.connections_max,
            per_address_max: options.connections_per_address_max,
            began: clock.now(),
            clock,
        };
        Self { shared: Arc::new(shared) }
    }

    /// A place for a connection from there, or why there is none.
    pub(super) fn take(&self, from: IpAddr) -> Result<Place, ConnectionLoss> {
        let address = neighbourhood(from);
        let mut taken = self.shared.lock();
        if taken.of(address) >= self.shared.per_address_max
            && taken.evict(EVICTED_AT_ONCE, Some(address)) == 0
        {
            return Err(ConnectionLoss::AddressFull);
        }
        if taken.connections.len() >= self.shared.connections_max
            && taken.evict(EVICTED_AT_ONCE, None) == 0
        {
            return Err(ConnectionLoss::Full);
        }
        let pulse = Arc::new(Pulse::new(self.shared.clock.clone(), self.shared.began, address));
        let number = taken.next;
        taken.next += 1;
        taken.connections.insert(number, pulse.clone());
        *taken.by_address.entry(address).or_default() += 1;
        Ok(Place { shared: self.shared.clone(), number, pulse })
    }

    /// Lets go of up to `count` connections without a request; tells how many.
    pub(super) fn evict_idle(&self, count: usize) -> usize {
        self.shared.lock().evict(count, None)
    }

    /// Asks every connection to finish.
    pub(super) fn drain(&self) {
        for pulse in self.shared.lock().connections.values() {
            pulse.ask(Asked::DRAIN);
        }
    }

    /// Ends every connection; tells how many there were.
    pub(super) fn cut(&self) -> usize {
        let taken = self.shared.lock();
        for pulse in taken.connections.values() {
            pulse.ask(Asked::CUT);
        }
        taken.connections.len()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn of(&self, address: IpAddr) -> usize {
        self.by_address.get(&address).copied().unwrap_or(0)
    }

    /// Takes the places of the longest quiet connections away at once; their tasks end soon after.
    fn evict(&mut self, count: usize, address: Option<IpAddr>) -> usize {
        let mut quiet: Vec<(u64, u64)> = self
            .connections
            .iter()
            .filter(|(_, pulse)| address.is_none_or(|address| address == pulse.address))
            .filter_map(|(number, pulse)| pulse.quiet_since().map(|since| (since, *number)))
            .collect();
        if quiet.len() > count {
            quiet.select_nth_unstable(count);
            quiet.truncate(count);
        }
        for (_, number) in &quiet {
            if let Some(pulse) = self.remove(*number) {
                pulse.ask(Asked::EVICT);
            }
        }
        quiet.len()
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Pulse>> {
        let pulse = self.connections.remove(&number)?;
        if let Some(count) = self.by_address.get_mut(&pulse.address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&pulse.address);
            }
        }
        Some(pulse)
    }
}

/// The place of one connection, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
    number: u64,
    pub(super) pulse: Arc<Pulse>,
}

impl Place {
    /// How its connection is named where no request has a name.
    pub(super) fn name(&self) -> String {
        format!("connection-{}", self.number)
    }

    /// Takes the place again after it was taken away, because a request came in at that moment.
    pub(super) fn keep(&self) {
        let mut taken = self.shared.lock();
        if taken.connections.insert(self.number, self.pulse.clone()).is_none() {
            *taken.by_address.entry(self.pulse.address).or_default() += 1;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.shared.lock().remove(self.number));
    }
}

/// What counts as one address: of IPv6, everybody has at least a /64.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

//! Commands on their way: who carries them, and what became of one of which that is not known.
//!
//! A producer ends with its first error, and another life of it goes on. The first record of that life is a barrier:
//! once it is stored, nothing of the lives before it can be stored any more. So a command of unknown outcome that was
//! not seen before the barrier is certainly not done.
//!
//! Not here: how a batch is sent (`producer`), whose turn it is to apply (`instance`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::time::sleep;

use super::error::{ReplicatedError, ReplicatedFailure};
use super::instance::Instance;
use super::machine::StateMachine;
use super::tag::barrier;
use crate::sdk::error::Outcome;
use crate::sdk::producer::{ProduceError, Producer, ProducerBuilder, Ticket};
use crate::types::{ProducerEpoch, ProducerId};

/// How many epochs one life of the producer may use up by itself.
const EPOCHS_OF_A_LIFE: u64 = 1 << 32;
/// Room for the largest record that there is by default, and what a command carries beside its body.
const BATCH_BYTES_MAX: usize = (1 << 20) + (8 << 10);
/// Shortest time between two lives of which the first stored nothing.
const PAUSE: Duration = Duration::from_millis(200);

/// One life of the producer of an instance.
#[derive(Debug)]
pub(super) struct Life {
    number: u64,
    pub(super) producer: Producer,
    /// What shuts out the lives before it.
    barrier: Option<Ticket>,
}

/// A command that was taken in.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) number: u64,
    pub(super) life: Arc<Life>,
    pub(super) ticket: Ticket,
}

/// Who carries commands.
pub(super) struct Ledger<S: StateMachine> {
    instance: Arc<Instance<S>>,
    producer: ProducerId,
    deadline: Duration,
    life: Mutex<Arc<Life>>,
}

impl<S: StateMachine> Ledger<S> {
    /// A command is tried for two thirds of the deadline; the rest is for finding out what became of it.
    pub(super) fn new(instance: Arc<Instance<S>>, deadline: Duration) -> Self {
        let deadline = deadline / 3 * 2;
        let producer = ProducerId::new(&format!("rsm-{}", instance.id));
        let producer = producer.expect("a short text of letters is an id");
        let first = Life {
            number: 0,
            producer: carrier(&instance, producer.clone(), 0).deadline(deadline).start(),
            barrier: None,
        };
        Self { instance, producer, deadline, life: Mutex::new(Arc::new(first)) }
    }

    /// The life that goes on.
    pub(super) async fn life(&self) -> Arc<Life> {
        Arc::clone(&*self.life.lock().await)
    }

    /// A life after this one, which has failed.
    pub(super) async fn after(&self, failed: &Life) -> Result<Arc<Life>, ProduceError> {
        let mut life = self.life.lock().await;
        if life.number > failed.number {
            return Ok(Arc::clone(&life));
        }
        let number = life.number + 1;
        let carrier = carrier(&self.instance, self.producer.clone(), number);
        let producer = carrier.deadline(self.deadline).start();
        let barrier = producer.submit(barrier(&self.instance.id)).await?;
        tracing::debug!(instance = %self.instance.id, life = number, "commands go on in a new life");
        *life = Arc::new(Life { number, producer, barrier: Some(barrier) });
        Ok(Arc::clone(&life))
    }

    /// Finds out what becomes of commands, in the order in which they were taken in.
    pub(super) async fn run(self: Arc<Self>, mut sent: mpsc::UnboundedReceiver<Sent>) {
        while let Some(Sent { number, life, ticket }) = sent.recv().await {
            match ticket.await {
                Ok(stored) => self.instance.want(stored.position.advance(1)),
                Err(error) if error.outcome() == Outcome::NotDone => self.refute(number, error),
                Err(error) => self.resolve(number, life, error).await,
            }
        }
    }

    /// Waits until it is known what became of a command of unknown outcome.
    async fn resolve(&self, number: u64, mut life: Arc<Life>, error: ProduceError) {
        while self.instance.is_open(number) {
            if let Ok(next) = self.after(&life).await {
                let ticket = next.barrier.clone().expect("only the first life has no barrier");
                if let Ok(stored) = ticket.await {
                    // If the instance ends first, it tells all who wait.
                    if self.instance.reach(stored.position.advance(1)).await.is_ok() {
                        self.refute(number, error);
                    }
                    return;
                }
                life = next;
            }
            if self.instance.is_complete() {
                return self.refute(number, error);
            }
            sleep(PAUSE).await;
        }
    }

    /// The command is not done, and will not be.
    fn refute(&self, number: u64, error: ProduceError) {
        let failure = ReplicatedFailure::Produce(error);
        self.instance.settle(number, Err(ReplicatedError::new(failure, Outcome::NotDone)));
    }
}

/// The producer of a life.
fn carrier<S: StateMachine>(instance: &Instance<S>, id: ProducerId, life: u64) -> ProducerBuilder {
    let epoch = ProducerEpoch::new(life * EPOCHS_OF_A_LIFE);
    let builder = instance.log.producer().life(instance.log_id, id, epoch);
    builder.batch_bytes_max(BATCH_BYTES_MAX)
}

//! [`StateMachine`]: what the user brings, and how its commands and its state become bytes.
//!
//! Not here: who calls it, and when (`instance`).

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why bytes are no command or no state, or a value cannot become bytes: whatever the user's code says.
pub type CodecError = Box<dyn std::error::Error + Send + Sync>;

/// The user's own state, which every process computes by itself from the same commands in the same order.
///
/// [`apply`](Self::apply), [`decode`](Self::decode) and [`restore`](Self::restore) have to come to the same result in
/// every process, today and when the log is read again: from nothing but the state and the command. So they may use
///
/// - no clock and no chance: put the time or the number into the command, where it is decided once;
/// - no order of a `HashMap` or a `HashSet`, which differs between processes: take a `BTreeMap`;
/// - no environment, file, address, locale or network, and no state outside of `self`;
/// - no floating-point function whose last digit depends on the platform;
/// - no code that differs between the versions of the program that run at the same time: a changed rule needs a new
///   command.
///
/// A command that is not allowed is no reason to panic: say so in the output. A panic ends the instance, in every
/// process, at the same command.
///
/// ```
/// use bytes::Bytes;
/// use quorate_client::codec::{from_json, to_json};
/// use quorate_client::{CodecError, StateMachine};
///
/// #[derive(Default)]
/// struct Counter(u64);
///
/// impl StateMachine for Counter {
///     type Command = u64;
///     type Output = u64;
///
///     fn apply(&mut self, command: u64) -> u64 {
///         self.0 = self.0.wrapping_add(command);
///         self.0
///     }
///
///     fn encode(command: &u64) -> Result<Bytes, CodecError> {
///         to_json(command)
///     }
///
///     fn decode(bytes: &[u8]) -> Result<u64, CodecError> {
///         from_json(bytes)
///     }
///
///     fn snapshot(&self) -> Result<Bytes, CodecError> {
///         to_json(&self.0)
///     }
///
///     fn restore(bytes: &[u8]) -> Result<Self, CodecError> {
///         Ok(Self(from_json(bytes)?))
///     }
/// }
///
/// let mut counter = Counter::restore(b"40").unwrap();
/// assert_eq!(counter.apply(Counter::decode(b"2").unwrap()), 42);
/// ```
pub trait StateMachine: Sized + Send + Sync + 'static {
    /// What is done to the state.
    type Command: Send;
    /// What comes of it, for the process whose command it was.
    type Output: Send + 'static;

    /// Does it. All that is to be known of whether it succeeded stands in the output.
    fn apply(&mut self, command: Self::Command) -> Self::Output;

    /// The command as the body of a record: at most 1 MiB, or what the log takes, if that is less.
    fn encode(command: &Self::Command) -> Result<Bytes, CodecError>;

    /// The command of a record. An error ends the instance, as a panic of [`apply`](Self::apply) does: a later version
    /// of the program has to understand what an earlier one wrote.
    fn decode(bytes: &[u8]) -> Result<Self::Command, CodecError>;

    /// The whole state. No command is applied meanwhile, and queries go on. It had better take less than 10 s: after 15 s
    /// without a word of it, another instance begins one of its own, and the earlier one is given up.
    fn snapshot(&self) -> Result<Bytes, CodecError>;

    /// The state that a snapshot holds.
    fn restore(bytes: &[u8]) -> Result<Self, CodecError>;
}

/// Anything serde knows as JSON: a convenience for [`StateMachine::encode`] and [`StateMachine::snapshot`].
///
/// ```
/// # fn run() -> Result<(), quorate_client::CodecError> {
/// use quorate_client::codec::{from_json, to_json};
///
/// let bytes = to_json(&("deposit", 17))?;
/// assert_eq!(from_json::<(String, u64)>(&bytes)?, ("deposit".to_owned(), 17));
/// # Ok(())
/// # }
/// # run().unwrap();
/// ```
pub fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, CodecError> {
    Ok(serde_json::to_vec(value)?.into())
}

/// The other way, for [`StateMachine::decode`] and [`StateMachine::restore`].
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    Ok(serde_json::from_slice(bytes)?)
}

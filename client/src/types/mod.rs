//! The vocabulary: what the words of Quorate mean, as types.
//!
//! A value of one of these types was checked when it was made and is trusted from then on. All of
//! them are cheap to clone: numbers are copied, texts and bytes are shared.
//!
//! Not here: the bodies and headers of requests and answers (`api`), which have versions.

mod newtype;
mod token;

mod log;
mod position;
mod time;

mod headers;
mod record;

mod batch;

mod producer;

mod cursor;

mod checkpoint;

mod change;

mod digest;

mod replica;

mod entry;

pub use batch::{Batch, BatchBuilder, BatchError, BatchLimits, RecordError};
pub use change::{
    ChangeId, REASON_BYTES_MAX, REASON_BYTES_MIN, Reason, ReasonError, TYPED_BYTES_MAX, Typed,
    TypedError,
};
pub use checkpoint::{CHECKPOINT_LABEL_BYTES_MAX, CheckpointLabel, CheckpointLabelError};
pub use cursor::{CURSOR_NAME_BYTES_MAX, CursorName, CursorNameError, Fence, OrderKey};
pub use digest::{Digest, DigestError};
pub use entry::{EntryId, EntryIndex, Epoch, Term};
pub use headers::{HEADER_NAME_BYTES_MAX, Headers, HeadersError, HeadersIter};
pub use log::{LOG_NAME_BYTES_MAX, LogId, LogName, LogNameError, LogSettings};
pub use newtype::{NumberError, parse_number};
pub use position::{Position, PositionRange, PositionRangeError};
pub use producer::{IdempotencyKey, ProducerEpoch, ProducerId, Sequence};
pub use record::{NewRecord, Record};
pub use replica::{
    ClusterId, ClusterIdError, Generation, Incarnation, NumberedError, REPLICA_ADDR_BYTES_MAX,
    ReplicaAddr, ReplicaAddrError, ReplicaId, ZONE_BYTES_MAX, Zone, ZoneError,
};
pub use time::{Timestamp, TimestampError};
pub use token::{TOKEN_BYTES_MAX, TokenError};

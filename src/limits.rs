//! Every bound, with its reason. Sizes that an operator may choose are in `config.rs`; what stands
//! here is fixed by the protocol, by the format, or by what one turn of the loop may cost.

use crate::vocabulary::units::Nanos;

/// Largest frame in either direction of a client link (ruling F31).
pub const FRAME_BYTES_MAX: usize = 2048;
/// Largest frame before a session is established (ruling F23): a logon with credentials fits.
pub const FRAME_BYTES_MAX_LOGON: usize = 512;
/// Receive buffer of a connection: what one `recv` may bring, and always room for a whole frame.
pub const RECV_BUFFER_BYTES: usize = 8192;
const _: () = assert!(RECV_BUFFER_BYTES >= 2 * FRAME_BYTES_MAX);

/// Frames taken from one connection in one turn, so that a flood cannot hold the others up.
pub const FRAMES_A_CONNECTION_MAX: u32 = 64;
/// Frames taken in one turn.
pub const FRAMES_A_TURN_MAX: u32 = 1024;
/// Messages of side threads taken in one turn.
pub const SIDE_MESSAGES_A_TURN_MAX: u32 = 64;
const _: () = assert!(FRAMES_A_CONNECTION_MAX <= FRAMES_A_TURN_MAX);

/// Events that one `apply` or `resume` may emit before it returns `More`.
pub const OUTBOX_EVENTS_MAX: usize = 4096;
/// Events that the smallest step of the engine emits at most: both sides of a trade, and slack for
/// the NotApplied, the acceptance and the end of the order around it.
pub const STEP_EVENTS_MAX: usize = 8;
const _: () = assert!(STEP_EVENTS_MAX <= OUTBOX_EVENTS_MAX);

/// Largest encoded report: SOFH, SBE header and the longest block (ExecutionReportStatus).
pub const REPORT_BYTES_MAX: usize = 4 + 8 + 132;

/// How far above the expected number a client may jump (ruling F11).
pub const SEQ_JUMP_MAX: u64 = 1_000_000;
/// Inbound numbers remembered over all sessions: 9 GiB, and no more from a damaged journal.
pub const REMEMBERED_COUNT_MAX: u64 = 1 << 30;
/// Expired keys removed at each apply.
pub const KEYS_EXPIRED_A_STEP_MAX: u32 = 2;
/// Records between two StateHash records.
pub const STATE_HASH_INTERVAL: u64 = 65_536;

/// Accepted keep-alive intervals in milliseconds (ruling F24).
pub const KEEPALIVE_MS_MIN: u32 = 100;
/// See [`KEEPALIVE_MS_MIN`].
pub const KEEPALIVE_MS_MAX: u32 = 60_000;
/// The longest interval the server announces for itself.
pub const KEEPALIVE_MS_SERVER_MAX: u32 = 10_000;
/// Longest window of cancel on disconnect in milliseconds (ruling F09).
pub const COD_WINDOW_MS_MAX: u32 = 60_000;
/// Least time that a client has to come back after a leader was activated (ruling F09).
pub const COD_FAILOVER_GRACE: Nanos = Nanos(2 * Nanos::SECOND.0);
/// Timers that one Tick fires at most: it is one record, and others wait for it.
pub const TIMERS_A_TICK_MAX: u32 = 1024;
/// Orders after whose cancellation a Tick fires no further timer: a takeover makes the windows of
/// all sessions end together.
pub const CANCELS_A_TICK_MAX: u32 = 4096;
/// Active time after which an unused session without open orders is forgotten (ruling F37).
pub const SESSION_UNUSED_MAX: Nanos = Nanos(7 * 24 * 3600 * Nanos::SECOND.0);
/// Active time for which the id of a final session is kept, so that a client that uses it again by
/// mistake is told DuplicateId; far longer than a recorded logon is good for.
pub const SESSION_FINAL_KEPT: Nanos = Nanos(24 * 3600 * Nanos::SECOND.0);
const _: () = assert!(SESSION_FINAL_KEPT.0 > 2 * LOGON_CLOCK_SKEW_MAX.0);
/// How far a logon's timestamp may be from the node's wall clock.
pub const LOGON_CLOCK_SKEW_MAX: Nanos = Nanos(5 * Nanos::SECOND.0);
/// From accept to a whole first frame, and from NegotiationResponse to Establish.
pub const LOGON_DEADLINE: Nanos = Nanos(5 * Nanos::SECOND.0);
/// Connections without an established session; the oldest is dropped for a new one.
pub const LOGON_CONNECTIONS_MAX: u32 = 256;
/// Credentials checked in one turn: an HMAC costs microseconds that others wait for.
pub const CREDENTIAL_CHECKS_A_TURN_MAX: u32 = 4;
/// Octets a second that the file of failed logons may grow by.
pub const AUDIT_BYTES_A_SECOND_MAX: u64 = 4 << 10;
/// Octets that it may grow by at once, after a quiet time.
pub const AUDIT_BYTES_BURST_MAX: u64 = 64 << 10;
/// Networks of one list of who may come.
pub const NETWORK_COUNT_MAX: usize = 64;
/// Answers to a logon leave on this grid, so that their time tells nothing about the cause.
pub const LOGON_ANSWER_GRID: Nanos = Nanos(10 * Nanos::MILLI.0);
/// Refusals of a logon leave on this coarser grid (ruling F23).
pub const LOGON_REFUSAL_GRID: Nanos = Nanos(50 * Nanos::MILLI.0);
/// After a Terminate was sent: read and discard this long for the peer's answer.
pub const TERMINATE_LINGER: Nanos = Nanos::SECOND;

/// Least time between two ReplicationStatus of one session while only positions move (ruling F10).
pub const STATUS_INTERVAL: Nanos = Nanos(100 * Nanos::MILLI.0);
/// ReplicationStatus messages made in one turn.
pub const STATUSES_A_TURN_MAX: u32 = 256;

/// Reports of a RetransmitRequest at most (ruling F14).
pub const RETRANSMIT_COUNT_MAX: u32 = 65_536;
/// Reports of one Retransmission batch.
pub const RETRANSMIT_BATCH_MAX: u32 = 256;

/// Logical sessions of one engine.
pub const SESSION_COUNT_MAX: u32 = 1 << 16;
/// Owners, instruments and accounts of one engine.
pub const OWNER_COUNT_MAX: usize = 1024;
/// See [`OWNER_COUNT_MAX`].
pub const INSTRUMENT_COUNT_MAX: usize = 1024;
/// See [`OWNER_COUNT_MAX`].
pub const ACCOUNT_COUNT_MAX: usize = 4096;

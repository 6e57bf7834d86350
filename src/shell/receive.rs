//! From sockets to the journal: receive, cut frames, admit, append.

use super::clock;
use super::connection::Received;
use super::downs::DOWNS_A_TURN_MAX;
use super::side::Notice;
use super::turn::Node;
use crate::limits::{FRAMES_A_CONNECTION_MAX, FRAMES_A_TURN_MAX};
use crate::session::act::{Act, Down, Dropped, How};
use crate::session::bindings::ConnectionIdx;
use crate::session::node_view::{Closing, FailedLogon, NodeView};
use crate::telemetry::counters::Counter;
use crate::vocabulary::fix::{GateCause, TerminationCode};
use crate::vocabulary::network::Address;
use crate::vocabulary::record::{DownCause, RecordBody};
use crate::vocabulary::units::{Index, Nanos, SessionIdx, Text};
use crate::wire::decode::{CANONICAL_BYTES_MAX, canonical, keys_named};
use crate::wire::frame::split;
use crate::wire::layout;

const NEGOTIATE: u16 = layout::negotiate::TEMPLATE;
const ESTABLISH: u16 = layout::establish::TEMPLATE;
const RETRANSMIT_REQUEST: u16 = layout::retransmit_request::TEMPLATE;
const TERMINATE: u16 = layout::terminate::TEMPLATE;

/// What became of the frame at the front of a buffer.
enum Front {
    /// So many octets were taken.
    Taken(usize),
    /// It is not whole yet, or waits for a later turn.
    Waits,
    /// Nothing more is taken from this connection.
    Ended,
}

impl Node {
    /// One `recv` from each connection that may have input, and its frames, within the bounds.
    pub(super) fn receive(&mut self, now: Nanos) -> u32 {
        let count = self.connections.ready_len();
        let mut served = 0;
        let mut frames_left = FRAMES_A_TURN_MAX;
        let mut work = 0;
        while served < count && frames_left > 0 {
            let connection = self.connections.ready_at(served);
            let frames = self.receive_from(now, connection, frames_left);
            frames_left -= frames;
            work += frames;
            served += 1;
        }
        self.connections.end_ready(served);
        work
    }

    fn receive_from(&mut self, now: Nanos, connection: ConnectionIdx, frames_left: u32) -> u32 {
        let (slot, bindings, _) = self.connections.split(connection);
        let received = slot.receive();
        let octets = match received {
            Received::More(octets) | Received::Last(octets) => octets,
            Received::Closed => 0,
        };
        if octets > 0 {
            slot.transport.on_received(now, bindings);
            self.counters.add(Counter::BytesIn, octets as u64);
        }
        let frames_max = FRAMES_A_CONNECTION_MAX.min(frames_left);
        let (frames, has_more) = self.take_frames(now, connection, frames_max);
        // It leaves the list on a short read, never before: readiness is told once. Frames that
        // wait for a later turn keep it there too.
        let is_last = matches!(received, Received::Last(_) | Received::Closed);
        if is_last && !has_more {
            self.connections.get_mut(connection).is_ready = false;
        }
        if received == Received::Closed && !has_more {
            self.on_peer_closed(now, connection);
        }
        frames
    }

    /// Takes whole frames from the buffer. True in the second place when some are left for later.
    fn take_frames(
        &mut self,
        now: Nanos,
        connection: ConnectionIdx,
        frames_max: u32,
    ) -> (u32, bool) {
        let mut frames = 0;
        while self.connections.get(connection).is_open() {
            if frames == frames_max {
                return (frames, !self.connections.get(connection).input.pending().is_empty());
            }
            match self.take_frame(now, connection) {
                Front::Taken(octets) => {
                    frames += 1;
                    self.connections.get_mut(connection).input.consume(octets);
                }
                Front::Waits => return (frames, self.has_whole_frame(connection)),
                Front::Ended => break,
            }
        }
        (frames, false)
    }

    fn has_whole_frame(&self, connection: ConnectionIdx) -> bool {
        let slot = self.connections.get(connection);
        !matches!(split(slot.input.pending(), slot.transport.frame_bytes_max()), Ok(None))
    }

    fn take_frame(&mut self, now: Nanos, connection: ConnectionIdx) -> Front {
        if self.sequencer.check_space() {
            self.notify(Notice::GateShut { cause: GateCause::Space });
        }
        let gate = self.sequencer.gate;
        let cause = gate.cause().or_else(|| self.downs.cause());
        let closing = cause.map(|cause| Closing { cause, count: gate.closings() });
        let (slot, bindings, _) = self.connections.split(connection);
        let bytes_max = slot.transport.frame_bytes_max();
        let (frame, octets) = match split(slot.input.pending(), bytes_max) {
            Ok(Some(whole)) => whole,
            Ok(None) => return Front::Waits,
            Err(error) => {
                let act = slot.transport.on_frame_error(now, error, &mut slot.outgoing, bindings);
                self.count_end(connection, None, act);
                self.on_end(now, connection, act);
                return Front::Ended;
            }
        };
        let is_established = slot.transport.session().is_some();
        let wall = if is_established { Nanos(0) } else { clock::wall() };
        if let Some(session) = slot.transport.session() {
            // Before the frame is judged and journaled, so that all of it hides the wait.
            self.sequencer.machine.prefetch(session, keys_named(&frame));
        }
        let released = self.sequencer.commit.released();
        let mut failed = None;
        let mut view = NodeView {
            sessions: self.sequencer.machine.sessions_mut(),
            keys: &self.keys,
            bindings,
            out: &mut slot.outgoing,
            log: &self.sequencer.log,
            released,
            gate: closing,
            is_primary: true,
            credential_checks_left: &mut self.credential_checks_left,
            peer: slot.peer.map(|peer| Address::of(peer.ip())).unwrap_or_default(),
            failed: &mut failed,
        };
        let act = slot.transport.on_frame(now, wall, &frame, &mut view);
        if let Act::AppendMessage { session } = act {
            let mut scratch = [0; CANONICAL_BYTES_MAX];
            let sbe = canonical(&frame, &mut scratch);
            let appended = self.sequencer.append_message(now, session, sbe);
            assert!(appended.is_ok(), "the gate was open, so the reserve was untouched");
            self.counters.add(Counter::Messages, 1);
            return Front::Taken(octets);
        }
        let template = frame.template;
        if let Some(FailedLogon { key_id, cause }) = failed {
            let peer = self.connections.get(connection).peer;
            self.notify(Notice::LogonFailed { peer, key_id, cause });
        }
        self.count_end(connection, Some(template), act);
        if template == RETRANSMIT_REQUEST && act == Act::Nothing {
            self.counters.add(Counter::Retransmissions, 1);
        }
        self.connections.mark_sending(connection);
        self.on_act(now, connection, act, octets)
    }

    /// Everything a frame can ask for but the usual message.
    fn on_act(&mut self, now: Nanos, connection: ConnectionIdx, act: Act, octets: usize) -> Front {
        match act {
            Act::Later => return Front::Waits,
            Act::Nothing | Act::AppendMessage { .. } | Act::Drop(Dropped::Ended) => {}
            Act::Drop(Dropped::Repeat) => self.counters.add(Counter::Repeats, 1),
            Act::Drop(Dropped::GateShut) => self.counters.add(Counter::GateDrops, 1),
            Act::AppendOpen { session, id, owner, key_id, timestamp } => {
                let body = RecordBody::SessionOpen { session, id, owner, key_id, timestamp };
                self.append_admitted(now, &body);
                self.connections.opening.push((session, connection));
            }
            Act::AppendBind {
                session,
                key_id,
                timestamp,
                next_seq_no,
                keepalive_interval,
                cod,
                report_level,
                displaces,
            } => {
                if let Some(old) = displaces {
                    self.displace(now, old, session);
                }
                let body = RecordBody::SessionBind {
                    session,
                    key_id,
                    timestamp,
                    next_seq_no,
                    keepalive_interval,
                    cod_type: cod.cod_type,
                    cod_window: cod.window_ms,
                    report_level,
                };
                let bound_at = self.append_admitted(now, &body);
                let slot = self.connections.get_mut(connection);
                (slot.bound, slot.bound_at) = (Some(session), bound_at);
            }
            Act::AppendGap { session, next } => {
                self.append_admitted(now, &RecordBody::SessionGap { session, next_seq_no: next });
            }
            Act::AppendFinishing { session, next } => {
                let body = RecordBody::SessionFinishing { session, next_seq_no: next };
                self.append_admitted(now, &body);
            }
            Act::AppendFinal { session } => {
                self.append_admitted(now, &RecordBody::SessionFinal { session });
                let slot = self.connections.get_mut(connection);
                assert!(slot.bound.take() == Some(session), "who finishes a session holds it");
                self.counters.add(Counter::Finals, 1);
            }
            Act::End { .. } => {
                self.on_end(now, connection, act);
                return Front::Ended;
            }
        }
        self.note_deadline(now, connection);
        Front::Taken(octets)
    }

    /// Appends what was admitted: the gate was open, so there is room.
    fn append_admitted(&mut self, now: Nanos, body: &RecordBody<'_>) -> Index {
        match self.sequencer.append(now, body) {
            Ok(index) => index,
            Err(full) => panic!("the gate was open, so the reserve was untouched: {full}"),
        }
    }

    /// A frame ended its connection: by Terminate, a refused logon, or a breach of the protocol.
    fn count_end(&mut self, connection: ConnectionIdx, template: Option<u16>, act: Act) {
        let Act::End { down, .. } = act else { return };
        match (template, down) {
            (_, Some(Down { cause: DownCause::Terminate, .. })) | (Some(TERMINATE), None) => {}
            // Told already, with its cause.
            (Some(NEGOTIATE | ESTABLISH), None) => self.counters.add(Counter::LogonRefusals, 1),
            (Some(_) | None, Some(_)) => self.counters.add(Counter::Breaches, 1),
            (Some(_) | None, None) => {
                self.counters.add(Counter::Breaches, 1);
                self.notify_refused(connection, "a breach of the protocol");
            }
        }
    }

    /// A connection ends before it had a session.
    pub(super) fn notify_refused(&mut self, connection: ConnectionIdx, why: &str) {
        let peer = self.connections.get(connection).peer;
        self.notify(Notice::Refused { peer, why: Text::new(why) });
    }

    /// An old transport gives way to a new one of the same session: its end is journaled first.
    fn displace(&mut self, now: Nanos, old: ConnectionIdx, session: SessionIdx) {
        let (slot, bindings, _) = self.connections.split(old);
        assert!(slot.bound == Some(session), "a binding names the connection that holds it");
        let act = slot.transport.on_displaced(now, &mut slot.outgoing, bindings);
        self.on_end(now, old, act);
        assert!(self.connections.get(old).bound.is_none(), "a displaced transport is down");
    }

    /// Carries an end out: the session is journaled as down, the socket flushed or closed.
    pub(super) fn on_end(&mut self, now: Nanos, connection: ConnectionIdx, act: Act) {
        let Act::End { down, how } = act else { return };
        self.journal_down(now, connection, down);
        let slot = self.connections.get_mut(connection);
        match how {
            How::Linger => slot.begin_end(false),
            How::Flush => slot.begin_end(true),
            How::Now => {
                self.close(connection);
                return;
            }
        }
        // What comes from now on is discarded, and must be read for that.
        self.connections.mark_ready(connection);
        self.connections.mark_sending(connection);
        self.note_deadline(now, connection);
    }

    /// Journals that the session of a connection is down, once for each time it was bound.
    fn journal_down(&mut self, now: Nanos, connection: ConnectionIdx, down: Option<Down>) {
        let Some(session) = self.connections.get_mut(connection).bound.take() else { return };
        let Some(Down { cause, .. }) = down else {
            panic!("a connection that holds a session says how it ends");
        };
        self.counters.add(Counter::Ends, 1);
        let shut = self.sequencer.gate.cause().or_else(|| self.downs.cause());
        if let Some(gate) = shut {
            self.downs.push(Down { session, cause }, gate);
        } else if self.sequencer.append(now, &RecordBody::SessionDown { session, cause }).is_err() {
            self.shut(GateCause::Space);
            self.downs.push(Down { session, cause }, GateCause::Space);
        }
        let why = match cause {
            DownCause::Terminate => "terminated by the client",
            DownCause::Disconnect => "disconnected",
        };
        if let Some(known) = self.sequencer.machine.sessions().get(session) {
            let session = known.id;
            self.notify(Notice::Ended { session, why: Text::new(why) });
        }
    }

    /// Once the gate is open: journals the ends that waited for it.
    pub(super) fn journal_waiting_downs(&mut self, now: Nanos) -> u32 {
        let mut count = 0;
        while count < DOWNS_A_TURN_MAX
            && self.sequencer.gate.cause().is_none()
            && let Some(Down { session, cause }) = self.downs.first()
        {
            if self.sequencer.append(now, &RecordBody::SessionDown { session, cause }).is_err() {
                self.shut(GateCause::Space);
                break;
            }
            self.downs.pop();
            count += 1;
        }
        count
    }

    fn on_peer_closed(&mut self, now: Nanos, connection: ConnectionIdx) {
        let (slot, bindings, _) = self.connections.split(connection);
        if slot.is_free() {
            return;
        }
        let act = slot.transport.on_peer_closed(bindings);
        self.on_end(now, connection, act);
        // Nothing more can come; a socket that is still to be flushed is not read again.
        self.connections.get_mut(connection).is_ready = false;
    }

    /// The line is dead or given up.
    pub(super) fn lose(&mut self, now: Nanos, connection: ConnectionIdx) {
        let (slot, bindings, _) = self.connections.split(connection);
        let act = slot.transport.on_line_lost(bindings);
        self.on_end(now, connection, act);
    }

    fn close(&mut self, connection: ConnectionIdx) {
        let slot = self.connections.get_mut(connection);
        slot.is_ready = false;
        slot.is_sending = false;
        let peer = slot.peer;
        if let Some(mut stream) = slot.close() {
            self.sockets.deregister(&mut stream);
        }
        if let Some(peer) = peer {
            self.addresses.remove(Address::of(peer.ip()));
        }
        self.connections.give_back(connection);
        self.count_connections();
    }

    /// Ends every transport: the node stops.
    pub(super) fn stop_all(&mut self, now: Nanos) {
        for index in 0..self.connections.slot_count() {
            let connection = ConnectionIdx(index);
            let (slot, bindings, _) = self.connections.split(connection);
            if slot.is_free() {
                continue;
            }
            let code = TerminationCode::AdminAction;
            let act =
                slot.transport.on_stop(now, code, "the node stops", &mut slot.outgoing, bindings);
            self.on_end(now, connection, act);
        }
    }
}

//! A node on the test's own thread, and clients on real loopback sockets beside it.
//!
//! Nothing here waits for a thread: a test turns the node and lets its peers look at their sockets,
//! one after the other, until something holds or a bounded number of turns is used up. The node
//! parks, so a turn without work costs at most a millisecond of sleep and no spinning.

#![allow(dead_code, reason = "each test file compiles the bench and uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot be built ends the test")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use crossbeam_channel::{Receiver, Sender, bounded};
use tidegate::client::event::{ClientEvent, ClientIdentity, SessionOptions};
use tidegate::client::session::ClientSession;
use tidegate::config::{Config, Idle};
use tidegate::session::auth::{Key, Keys};
use tidegate::session::credentials::Key as ClientKey;
use tidegate::session::report_log::ReportLog;
use tidegate::shell::activate::{StartError, activate};
use tidegate::shell::clock::{Clock, wall};
use tidegate::shell::poll::Sockets;
use tidegate::shell::sequencer::{Rebuild, Sequencer};
use tidegate::shell::side::{Notice, SideMessage};
use tidegate::shell::turn::{Links, Node};
use tidegate::telemetry::counters::{Counter, Counters};
use tidegate::vocabulary::event::{Report, ReportBody};
use tidegate::vocabulary::message::{
    ClientMessage, NULL_I64, NULL_U64, NewOrderSingle, OrderCancelRequest, OrderStatusRequest,
    SessionMessage,
};
use tidegate::vocabulary::units::{ClOrdId, Nanos, Seq, SessionId};
use tidegate::wire::encode::{CLIENT_BYTES_MAX, encode_client, encode_session};
use tidegate::wire::frame::split;

/// Turns after which a test gives up: each is short, or sleeps at most a millisecond.
const TURNS_MAX: u32 = 5_000;
/// One cent as a raw price.
pub(crate) const CENT: i64 = 1_000_000;
/// Octets of a NewOrderSingle as a peer sends it.
pub(crate) const ORDER_BYTES: usize = 84;

/// A small node: parks, 4 MiB of rings, 16 connections.
pub(crate) fn small(dir: &Path) -> Config {
    let mut config = Config::demo();
    let local = &mut config.local;
    local.listen = "127.0.0.1:0".parse().unwrap();
    dir.clone_into(&mut local.data_dir);
    local.idle = Idle::Park;
    local.journal_ring_bytes = 4 << 20;
    local.report_ring_bytes = 4 << 20;
    local.connection_count_max = 16;
    local.logon_connections_max = 16;
    local.connections_per_address_rate = 0;
    let capacities = &mut config.logical.capacities;
    capacities.session_count_max = 64;
    capacities.resend_window = 1024;
    capacities.key_count_max = 1 << 12;
    capacities.order_count_max = 1 << 11;
    for owner in &mut config.logical.owners {
        owner.orders_max = 1 << 10;
    }
    config
}

/// A node and its channels.
pub(crate) struct Rig {
    pub(crate) node: Node,
    pub(crate) address: SocketAddr,
    pub(crate) side: Sender<SideMessage>,
    pub(crate) notices: Receiver<Notice>,
    pub(crate) counters: Counters,
    pub(crate) recovery: journal::Recovery,
    /// Digest of all reports when the node began to serve.
    pub(crate) output_digest: u64,
}

impl Rig {
    /// Starts a node as the program does it.
    pub(crate) fn try_start(config: &Config) -> Result<Self, StartError> {
        let local = &config.local;
        let keys = local
            .keys
            .iter()
            .map(|key| Key::new(&key.id, key.owner, key.secret.octets(), key.not_after).unwrap());
        let keys = Keys::new(keys.collect()).unwrap().with_networks(&local.owner_addresses);
        let report_bytes = usize::try_from(local.report_ring_bytes).unwrap();
        let mut log = ReportLog::new(report_bytes, config.logical.capacities.session_count_max);
        let activated = activate(config, &mut Rebuild(&mut log))?;
        let recovery = activated.recovery.clone();
        let output_digest = activated.machine.output_digest();
        let sockets = Sockets::listen(local.listen).unwrap();
        let address = sockets.local_addr().unwrap();
        let (side, side_of_node) = bounded(64);
        let (notices_of_node, notices) = bounded(1024);
        let counters = Counters::new();
        let links =
            Links { side: side_of_node, notices: notices_of_node, counters: counters.clone() };
        let node = Node::new(config, activated, log, keys, sockets, links);
        Ok(Self { node, address, side, notices, counters, recovery, output_digest })
    }

    pub(crate) fn start(config: &Config) -> Self {
        Self::try_start(config).unwrap()
    }

    pub(crate) fn turn(&mut self) -> u32 {
        self.node.turn().unwrap()
    }

    pub(crate) fn get(&self, counter: Counter) -> u64 {
        self.counters.get(counter)
    }

    /// Turns, and lets each peer look at its socket, until `done`.
    pub(crate) fn until(
        &mut self,
        peers: &mut [&mut Peer],
        what: &str,
        mut done: impl FnMut(&Self, &[&mut Peer]) -> bool,
    ) {
        for _ in 0..TURNS_MAX {
            for peer in &mut *peers {
                peer.pump();
            }
            if done(self, peers) {
                return;
            }
            self.turn();
        }
        let seen: Vec<_> = peers.iter().map(|peer| peer.events.last()).collect();
        panic!("never happened: {what}; last events {seen:?}");
    }

    /// Turns for at least this long.
    pub(crate) fn idle_for(&mut self, peers: &mut [&mut Peer], span: Nanos) {
        let clock = Clock::activate(Nanos(0));
        let until = clock.now().saturating_add(span);
        self.until(peers, "time passes", |_, _| clock.now() >= until);
    }

    /// All notices so far.
    pub(crate) fn notices(&self) -> Vec<Notice> {
        self.notices.try_iter().collect()
    }

    /// Asks the node to stop and turns until every connection is gone.
    pub(crate) fn stop(mut self, peers: &mut [&mut Peer]) -> Sequencer {
        self.side.send(SideMessage::Shutdown).unwrap();
        self.turn();
        self.until(peers, "all connections end", |rig, _| rig.get(Counter::Connections) == 0);
        self.node.run().unwrap()
    }
}

/// A client: the library's session on a socket of the test's own.
pub(crate) struct Peer {
    pub(crate) session: ClientSession,
    pub(crate) events: Vec<ClientEvent>,
    /// Every frame that came, as it came.
    pub(crate) frames: Vec<Vec<u8>>,
    /// Whether the other side closed.
    pub(crate) is_closed: bool,
    /// Whether the session has left this line: refused or terminated.
    pub(crate) has_left: bool,
    stream: Option<TcpStream>,
    out: Vec<u8>,
    inbox: Vec<u8>,
    clock: Clock,
    account: u32,
}

impl Peer {
    /// A session that is not connected; the number tells session id and firm.
    pub(crate) fn new(number: u8) -> Self {
        Self::with(number, SessionOptions { keepalive_interval: 60_000, ..Default::default() })
    }

    pub(crate) fn with(number: u8, options: SessionOptions) -> Self {
        let firm = number % 2;
        let (id, octet) = if firm == 0 { ("firm-a", 0xa1) } else { ("firm-b", 0xb2) };
        let key = ClientKey::try_new(id, &[octet; 32]).unwrap();
        let mut session_id = [0x5e; 16];
        session_id[15] = number;
        let identity = ClientIdentity { session_id: SessionId(session_id), key };
        Self {
            session: ClientSession::new(identity, options),
            events: Vec::new(),
            frames: Vec::new(),
            is_closed: true,
            has_left: false,
            stream: None,
            out: Vec::new(),
            inbox: Vec::new(),
            clock: Clock::activate(Nanos(0)),
            account: 1001 + 1000 * u32::from(firm),
        }
    }

    /// A peer that is live.
    pub(crate) fn live(rig: &mut Rig, number: u8) -> Self {
        let mut peer = Self::new(number);
        peer.log_on(rig);
        peer
    }

    /// Opens a line and says nothing.
    pub(crate) fn open(&mut self, rig: &Rig) {
        let stream = TcpStream::connect(rig.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        (self.stream, self.is_closed, self.has_left) = (Some(stream), false, false);
        self.inbox.clear();
        self.out.clear();
    }

    /// Opens a line and begins to log on.
    pub(crate) fn connect(&mut self, rig: &Rig) {
        self.open(rig);
        self.session.on_connected(self.clock.now(), wall(), &mut self.out);
        self.flush();
    }

    pub(crate) fn log_on(&mut self, rig: &mut Rig) {
        self.connect(rig);
        rig.until(&mut [self], "a peer is live", |_, peers| peers[0].session.is_live());
    }

    /// Closes the line; the session lives on.
    pub(crate) fn hang_up(&mut self) {
        self.stream = None;
        self.is_closed = true;
        self.session.on_disconnected(self.clock.now());
    }

    /// Says that nothing more will be sent; what comes is still read.
    pub(crate) fn half_close(&self) {
        self.stream.as_ref().unwrap().shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// Leaves the line in order.
    pub(crate) fn finish(&mut self) {
        self.session.on_finish(self.clock.now(), &mut self.out);
        self.flush();
    }

    /// Queues a request under the next number; `flush` or `pump` sends it.
    pub(crate) fn queue(&mut self, mut message: ClientMessage) -> Seq {
        self.session.on_send(self.clock.now(), &mut message, &mut self.out).unwrap()
    }

    pub(crate) fn send(&mut self, message: ClientMessage) -> Seq {
        let seq = self.queue(message);
        self.flush();
        seq
    }

    /// Buys one AAA at 10.00 unless changed.
    pub(crate) fn order(&self, cl_ord_id: u64) -> NewOrderSingle {
        NewOrderSingle {
            msg_seq_num: Seq(0),
            sending_time: Nanos(5),
            cl_ord_id: ClOrdId(cl_ord_id),
            price: 1_000 * CENT,
            order_qty: 1,
            security_id: 0,
            account: self.account,
            side: b'1',
            ord_type: b'2',
            time_in_force: b'0',
            post_only: 0,
            poss_resend: 0,
            self_match: 0,
            sender_sub_id: 3,
            stop_px: NULL_I64,
            expire_time: NULL_U64,
        }
    }

    pub(crate) fn buy(&mut self, cl_ord_id: u64) -> Seq {
        self.send(ClientMessage::NewOrder(self.order(cl_ord_id)))
    }

    pub(crate) fn sell(&mut self, cl_ord_id: u64) -> Seq {
        self.send(ClientMessage::NewOrder(NewOrderSingle { side: b'2', ..self.order(cl_ord_id) }))
    }

    pub(crate) fn cancel(cl_ord_id: u64, orig_cl_ord_id: u64) -> ClientMessage {
        ClientMessage::Cancel(OrderCancelRequest {
            msg_seq_num: Seq(0),
            sending_time: Nanos(5),
            cl_ord_id: ClOrdId(cl_ord_id),
            orig_cl_ord_id: ClOrdId(orig_cl_ord_id),
            security_id: 0,
            side: b'1',
            poss_resend: 0,
            sender_sub_id: 3,
        })
    }

    pub(crate) fn status(id: u64, cl_ord_id: u64) -> ClientMessage {
        ClientMessage::Status(OrderStatusRequest {
            msg_seq_num: Seq(0),
            sending_time: Nanos(5),
            ord_status_req_id: id,
            cl_ord_id: ClOrdId(cl_ord_id),
        })
    }

    /// A signed Establish of the session with this number that asks for status messages.
    pub(crate) fn establish_with_status(number: u8) -> Vec<u8> {
        let mut session_id = [0x5e; 16];
        session_id[15] = number;
        let (id, octet) =
            if number.is_multiple_of(2) { ("firm-a", 0xa1) } else { ("firm-b", 0xb2) };
        let key = ClientKey::try_new(id, &[octet; 32]).unwrap();
        let timestamp = wall();
        let encode = |credentials: &[u8]| {
            let message = SessionMessage::Establish {
                session_id: SessionId(session_id),
                timestamp,
                keepalive_interval: 60_000,
                next_seq_no: NULL_U64,
                cancel_on_disconnect_type: 0,
                cod_timeout_window: 0,
                report_level: 1,
                credentials,
            };
            let mut octets = vec![0; 512];
            let len = encode_session(&message, &mut octets).unwrap();
            octets.truncate(len);
            octets
        };
        let bare = encode(&[]);
        let (frame, _) = split(&bare, 2048).unwrap().unwrap();
        encode(key.sign(frame.template, frame.block()).as_bytes())
    }

    /// Octets that the session knows nothing of.
    pub(crate) fn raw(&mut self, octets: &[u8]) {
        self.out.extend_from_slice(octets);
        self.flush();
    }

    /// What is queued and not sent.
    pub(crate) fn take_queued(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Hands what is queued to the socket.
    pub(crate) fn flush(&mut self) {
        while let Some(stream) = self.stream.as_mut().filter(|_| !self.out.is_empty()) {
            match stream.write(&self.out) {
                Ok(sent) => drop(self.out.drain(..sent)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.is_closed = true;
                    return;
                }
            }
        }
    }

    /// Sends, receives and keeps time, without waiting.
    pub(crate) fn pump(&mut self) {
        if self.is_closed {
            return;
        }
        let now = self.clock.now();
        if let Some(event) = self.session.on_timer(now, &mut self.out) {
            self.take(event);
        }
        self.flush();
        self.receive();
        let mut inbox = std::mem::take(&mut self.inbox);
        let mut at = 0;
        while let Ok(Some((frame, octets))) = split(&inbox[at..], 2048) {
            self.frames.push(inbox[at..at + octets].to_vec());
            if let Some(event) = self.session.on_frame(now, &frame, &mut self.out) {
                self.take(event);
            }
            at += octets;
        }
        inbox.drain(..at);
        self.inbox = inbox;
        self.flush();
        if self.is_closed || self.has_left {
            self.hang_up();
        }
    }

    fn take(&mut self, event: ClientEvent) {
        self.has_left |=
            matches!(event, ClientEvent::Terminated { .. } | ClientEvent::Rejected { .. });
        self.events.push(event);
    }

    /// Receives without the session: frames are kept, nothing is answered.
    pub(crate) fn read_frames(&mut self) {
        self.receive();
        let mut at = 0;
        while let Ok(Some((_, octets))) = split(&self.inbox[at..], 2048) {
            self.frames.push(self.inbox[at..at + octets].to_vec());
            at += octets;
        }
        self.inbox.drain(..at);
    }

    fn receive(&mut self) {
        let mut room = [0; 16 << 10];
        while let Some(stream) = &mut self.stream {
            match stream.read(&mut room) {
                Ok(0) => self.is_closed = true,
                Ok(came) => {
                    self.inbox.extend_from_slice(&room[..came]);
                    continue;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.is_closed = true,
            }
            return;
        }
    }

    /// The reports so far.
    pub(crate) fn reports(&self) -> Vec<Report> {
        let report = |event: &ClientEvent| match event {
            ClientEvent::Report(report) => Some(*report),
            ClientEvent::Established { .. }
            | ClientEvent::Live
            | ClientEvent::NotAccepting { .. }
            | ClientEvent::Rejected { .. }
            | ClientEvent::Terminated { .. }
            | ClientEvent::Stopped(_) => None,
        };
        self.events.iter().filter_map(report).collect()
    }

    /// Template numbers of the reports so far.
    pub(crate) fn templates(&self) -> Vec<u16> {
        self.reports().iter().map(|report| report.body.template()).collect()
    }

    pub(crate) fn count(&self, is_meant: impl Fn(&ReportBody) -> bool) -> usize {
        self.reports().iter().filter(|report| is_meant(&report.body)).count()
    }

    /// Code and reason of the last Terminate that the server sent first.
    pub(crate) fn terminated(&self) -> Option<(u8, String)> {
        self.events.iter().rev().find_map(|event| match event {
            ClientEvent::Terminated { code, reason, .. } => Some((*code, reason.to_string())),
            ClientEvent::Established { .. }
            | ClientEvent::Live
            | ClientEvent::Report(_)
            | ClientEvent::NotAccepting { .. }
            | ClientEvent::Rejected { .. }
            | ClientEvent::Stopped(_) => None,
        })
    }

    /// Frames of application reports as they came, in order.
    pub(crate) fn report_frames(&self) -> Vec<&[u8]> {
        let is_report = |frame: &&[u8]| match split(frame, 2048) {
            Ok(Some((frame, _))) => frame.template == 18 || frame.template >= 200,
            Ok(None) | Err(_) => false,
        };
        self.frames.iter().map(Vec::as_slice).filter(is_report).collect()
    }
}

/// A request as octets, under a number of the caller's choice.
pub(crate) fn octets_of(message: &ClientMessage) -> Vec<u8> {
    let mut octets = vec![0; CLIENT_BYTES_MAX];
    let len = encode_client(message, &mut octets);
    octets.truncate(len);
    octets
}

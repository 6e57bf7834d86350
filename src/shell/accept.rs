//! New connections: who may have one before anybody knows who it is.
//!
//! ```text
//! accepted  a few a turn                      -> a flood does not hold orders up
//! allowed   the node's list of networks       -> closed at once
//! counted   each address: how many, how fast  -> closed at once
//! waiting   without a logon: not too many     -> the oldest is closed
//! slot      one for each connection           -> closed at once
//! ```
//!
//! What is closed at once is not answered: a stranger costs one accept and one close.

use std::net::SocketAddr;

use mio::net::TcpStream;

use super::addresses::AddressRefusal;
use super::poll::ACCEPTS_A_TURN_MAX;
use super::side::Notice;
use super::turn::Node;
use crate::telemetry::counters::Counter;
use crate::vocabulary::network::{Address, is_allowed};
use crate::vocabulary::units::{Nanos, Text};

impl Node {
    /// Takes waiting connections, as many as a turn may and as there are slots.
    pub(super) fn accept(&mut self, now: Nanos) -> u32 {
        let mut accepted = 0;
        while accepted < ACCEPTS_A_TURN_MAX
            && self.sockets.may_accept()
            && let Some((stream, peer)) = self.sockets.accept()
        {
            accepted += 1;
            if let Err(why) = self.try_open(now, stream, peer) {
                self.counters.add(Counter::AcceptRefusals, 1);
                self.notify(Notice::Refused { peer: Some(peer), why: Text::new(why) });
            }
        }
        accepted
    }

    fn try_open(
        &mut self,
        now: Nanos,
        mut stream: TcpStream,
        peer: SocketAddr,
    ) -> Result<(), &'static str> {
        let address = Address::of(peer.ip());
        if !is_allowed(&self.listen_allow, address) {
            return Err("not from an allowed network");
        }
        self.addresses.try_add(now, address).map_err(|refusal| match refusal {
            AddressRefusal::TooMany => "too many connections of its address",
            AddressRefusal::TooFast => "its address connects too fast",
            AddressRefusal::Full => "too many addresses",
        })?;
        let oldest = self.connections.take_oldest_waiting(self.logon_connections_max);
        if let Some(oldest) = oldest {
            self.counters.add(Counter::LogonDrops, 1);
            self.notify_refused(oldest, "it gave way to a newer connection");
            self.lose(now, oldest);
        }
        let Some(connection) = self.connections.take_free() else {
            self.addresses.remove(address);
            return Err("no free slot");
        };
        if self.sockets.register(&mut stream, connection).is_err() {
            self.connections.give_back(connection);
            self.addresses.remove(address);
            return Err("its socket cannot be watched");
        }
        self.connections.get_mut(connection).open(stream, peer, now);
        self.count_connections();
        self.connections.mark_ready(connection);
        self.note_deadline(now, connection);
        self.counters.add(Counter::Accepts, 1);
        self.connections.note_waiting(connection);
        Ok(())
    }
}

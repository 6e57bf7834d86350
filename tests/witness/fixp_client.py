"""A FIXP client that shares nothing with the engine but the schema.

The codec is the package `sbe` 0.4.3 (with `bitstring<5`), which reads src/wire/tidegate.xml; framing,
credentials, numbers and recovery are written here, from the protocol's text, with the standard
library alone. It logs in, trades, sends twice, loses its line, recovers, is terminated, comes back.
Each step prints one line; the first thing that is not as the protocol says ends the program with 1.

    fixp_client.py SCHEMA HOST PORT       (started by tests/witness.rs)
"""

import hashlib
import hmac
import os
import socket
import struct
import sys
import time

import sbe

ENCODING = 0xEB50
NULL_PRICE = -(2**63)
NULL_U64 = 2**64 - 1
KEYS = {"firm-a": b"\xa1" * 32, "firm-b": b"\xb2" * 32}
WAIT_MAX = 20.0
NUMBERED = set(range(200, 210)) | {18}


def check(what, came, expected):
    if came != expected:
        raise SystemExit(f"FAILED {what}: expected {expected!r}, came {came!r}")


def say(what):
    print(f"ok {what}", flush=True)


class Session:
    """One logical session and, at most, one line of it."""

    def __init__(self, schema, address, key, account):
        self.schema = schema
        self.names = {message.name: message for message in schema.messages.values()}
        self.address = address
        self.key = key
        self.account = account
        self.id = os.urandom(16)
        self.next_out = 1
        # The next number of the server's flow; also what the next message on the line counts as.
        self.next_in = 1
        self.stamp = 0
        self.sock = None
        self.buffer = b""

    # ---- Octets ----------------------------------------------------------------------------------

    def frame(self, name, fields, text=None, block=None):
        """The whole frame. `text` is var data, appended by hand; `block` cuts the block to a length
        that an older client would send."""
        message = self.names[name]
        if text is not None:
            data = {"Negotiate": "Credentials", "Establish": "Credentials", "Terminate": "Reason"}
            fields = {**fields, data[name]: {"length": 0, "varData": ""}}
        encoded = self.schema.encode(message, fields)
        header, body = encoded[:8], encoded[8:]
        length = message.blockLength
        body = body[:length]
        if block is not None:
            body = body[:block]
            # blockLength, and the version whose writer knew no more.
            header = struct.pack("<H", block) + header[2:6] + struct.pack("<H", 0)
        if text is not None:
            text = self.credentials(message.id, body) if text is True else text
            body += struct.pack("<H", len(text)) + text
        whole = header + body
        return struct.pack("<HH", 4 + len(whole), ENCODING) + whole

    def credentials(self, template, block):
        signed = b"TIDEGATE-1" + struct.pack("<H", template) + block
        mac = hmac.new(KEYS[self.key], signed, hashlib.sha256).hexdigest()
        return f"{self.key}|{mac}".encode()

    def uuid(self):
        w0, w1 = struct.unpack("<QQ", self.id)
        return {"w0": w0, "w1": w1}

    def now(self):
        """The wall clock, later than every time before (no logon is taken twice)."""
        self.stamp = max(self.stamp + 1, time.time_ns())
        return self.stamp

    # ---- The line --------------------------------------------------------------------------------

    def connect(self):
        self.close()
        self.sock = socket.create_connection(self.address, WAIT_MAX)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(WAIT_MAX)
        self.buffer = b""

    def close(self):
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def send(self, octets):
        self.sock.sendall(octets)

    def receive(self):
        """The next message as (name, fields); None when the server closed the line."""
        while True:
            if len(self.buffer) >= 4:
                length, encoding = struct.unpack_from("<HH", self.buffer)
                check("the encoding type", encoding, ENCODING)
                if len(self.buffer) >= length:
                    octets, self.buffer = self.buffer[4:length], self.buffer[length:]
                    decoded = self.schema.decode(octets)
                    template = decoded.header["templateId"]
                    if template in NUMBERED:
                        # NotApplied takes a number and carries none.
                        number = decoded.value.get("MsgSeqNum", self.next_in)
                        check("MsgSeqNum is the count", number, self.next_in)
                        self.next_in += 1
                    return decoded.message_name, decoded.value
            came = self.sock.recv(4096)
            if not came:
                return None
            self.buffer += came

    def expect(self, name):
        """The next message of this name; heartbeats in between are skipped."""
        while True:
            came = self.receive()
            if came is not None and came[0] == "Sequence" and name != "Sequence":
                check("a heartbeat names the next number", came[1]["NextSeqNo"], self.next_in)
                continue
            check("the next message", came and came[0], name)
            return came[1]

    # ---- Session ---------------------------------------------------------------------------------

    def negotiate(self):
        stamp = self.now()
        fields = {"SessionId": self.uuid(), "Timestamp": stamp, "ClientFlow": "Idempotent"}
        self.send(self.frame("Negotiate", fields, text=True))
        answer = self.expect("NegotiationResponse")
        check("the answered time", answer["RequestTimestamp"], stamp)
        check("the server's flow", answer["ServerFlow"], "Recoverable")

    def establish_frame(self, block=None):
        fields = {
            "SessionId": self.uuid(),
            "Timestamp": self.now(),
            "KeepaliveInterval": 10_000,
            "NextSeqNo": self.next_out,
            "CancelOnDisconnectType": "DoNotCancel",
            "CODTimeoutWindow": 0,
            "ReportLevel": "None",
        }
        return self.frame("Establish", fields, text=True, block=block)

    def establish(self, block=None):
        """Binds the session to a line; the server's next number and the last one it took."""
        self.send(self.establish_frame(block))
        ack = self.expect("EstablishmentAck")
        check("the answered time", ack["RequestTimestamp"], self.stamp)
        return ack["NextSeqNo"], ack["LastIncomingSeqNo"]

    def establish_when_free(self):
        """As establish, while the server may still believe in the line before."""
        for _ in range(100):
            self.send(self.establish_frame())
            came = self.receive()
            if came[0] == "EstablishmentAck":
                return came[1]["NextSeqNo"], came[1]["LastIncomingSeqNo"]
            check("the refusal", (came[0], came[1].get("Code")),
                  ("EstablishmentReject", "AlreadyEstablished"))
            time.sleep(0.1)
            self.connect()
        raise SystemExit("FAILED the session never became free")

    def log_on(self, block=None):
        self.connect()
        self.negotiate()
        check("a fresh session's numbers", self.establish(block), (1, 0))

    def terminate(self):
        fields = {"SessionId": self.uuid(), "Code": "Finished"}
        self.send(self.frame("Terminate", fields, text=b""))
        check("the answer to Terminate", self.expect("Terminate")["Code"], "Finished")
        check("the end of the line", self.receive(), None)
        self.close()

    # ---- Requests --------------------------------------------------------------------------------

    def order(self, cl_ord_id, side, price, quantity=1, number=None, poss_resend="N"):
        if number is None:
            number, self.next_out = self.next_out, self.next_out + 1
        return self.frame("NewOrderSingle", {
            "MsgSeqNum": number,
            "SendingTime": 0,
            "ClOrdID": cl_ord_id,
            "Price": {"mantissa": price},
            "OrderQty": quantity,
            "SecurityID": 0,
            "Account": self.account,
            "Side": side,
            "OrdType": "Limit",
            "TimeInForce": "Day",
            "PostOnly": "N",
            "PossResend": poss_resend,
            "SelfMatchPreventionInstruction": "NoPrevention",
            "SenderSubID": 7,
            "StopPx": {"mantissa": NULL_PRICE},
            "ExpireTime": None,
        })

    def status(self, request_id, cl_ord_id):
        number, self.next_out = self.next_out, self.next_out + 1
        return self.frame("OrderStatusRequest", {
            "MsgSeqNum": number,
            "SendingTime": 0,
            "OrdStatusReqID": request_id,
            "ClOrdID": cl_ord_id,
        })

    def cancel(self, cl_ord_id, orig, side):
        number, self.next_out = self.next_out, self.next_out + 1
        return self.frame("OrderCancelRequest", {
            "MsgSeqNum": number,
            "SendingTime": 0,
            "ClOrdID": cl_ord_id,
            "OrigClOrdID": orig,
            "SecurityID": 0,
            "Side": side,
            "PossResend": "N",
            "SenderSubID": 7,
        })


def trades(a, b):
    """Two firms, one price: both see the trade, the resting side as passive."""
    a.send(a.order(1, "Buy", 1_000_000_000, quantity=5))
    new = a.expect("ExecutionReportNew")
    check("the accepted order", (new["ClOrdID"], new["OrdStatus"], new["SenderSubID"]),
          (1, "New", 7))
    check("its price", new["Price"]["mantissa"], 1_000_000_000)
    check("no stop, no expiry", (new["StopPx"]["mantissa"], new["ExpireTime"]), (None, None))
    b.send(b.order(1, "Sell", 1_000_000_000, quantity=2))
    check("the other order", b.expect("ExecutionReportNew")["ClOrdID"], 1)
    sides = [a.expect("ExecutionReportTrade"), b.expect("ExecutionReportTrade")]
    for trade, aggressor, leaves in zip(sides, ["N", "Y"], [3, 0]):
        figures = (trade["LastQty"], trade["LastPx"]["mantissa"], trade["LeavesQty"],
                   trade["AggressorIndicator"])
        check("the trade", figures, (2, 1_000_000_000, leaves, aggressor))
    check("one trade", sides[0]["TrdMatchID"], sides[1]["TrdMatchID"])
    say("two firms trade")


def sends_twice(a):
    # Under the old number: silence. The status behind it is the next that is heard.
    a.send(a.order(1, "Buy", 1_000_000_000, quantity=5, number=1))
    a.send(a.status(77, 1))
    state = a.expect("ExecutionReportStatus")
    check("the status", (state["OrdStatusReqID"], state["CumQty"], state["LeavesQty"]), (77, 2, 3))
    # Under a new number: the state, and no second execution.
    a.send(a.order(1, "Buy", 1_000_000_000, quantity=5, poss_resend="Y"))
    state = a.expect("ExecutionReportStatus")
    known = (state["OrdStatusReqID"], state["ClOrdID"], state["PossResend"], state["CumQty"])
    check("the known order", known, (0, 1, "Y", 2))
    # The same id for another order: refused, and the first is as it was.
    a.send(a.order(1, "Buy", 900_000_000, quantity=5))
    reject = a.expect("ExecutionReportReject")
    check("another order under the same id", (reject["OrdRejReason"], reject["Retryable"]),
          (6, "N"))
    say("what is sent twice is executed once")


def loses_its_line(a):
    """The line breaks with a request and its answer on the way; both are found again by number."""
    seen, number = a.next_in, a.next_out
    a.send(a.order(2, "Buy", 800_000_000))
    # What was sent before a close arrives before it; the answer finds nobody.
    a.close()
    time.sleep(0.3)
    a.connect()
    next_in, last_incoming = a.establish_when_free()
    check("the request arrived", last_incoming, number)
    check("the answer is waiting", next_in > seen, True)
    stamp = a.now()
    a.send(a.frame("RetransmitRequest", {
        "SessionId": a.uuid(),
        "Timestamp": stamp,
        "FromSeqNo": seen,
        "Count": next_in - seen,
    }))
    batch = a.expect("Retransmission")
    check("the batch", (batch["RequestTimestamp"], batch["NextSeqNo"], batch["Count"]),
          (stamp, seen, next_in - seen))
    a.next_in = seen
    check("the lost answer", a.expect("ExecutionReportNew")["ClOrdID"], 2)
    check("the live flow goes on", a.expect("Sequence")["NextSeqNo"], next_in)
    say("a lost line loses nothing")


def is_terminated(a):
    """Another order under a used number ends the line, and only the line."""
    a.send(a.order(3, "Buy", 700_000_000, number=1))
    goodbye = a.expect("Terminate")
    check("the code", goodbye["Code"], "UnspecifiedError")
    a.send(a.frame("Terminate", {"SessionId": a.uuid(), "Code": "Finished"}, text=b""))
    check("the end of the line", a.receive(), None)
    say("a number that is used for another order ends the line")
    a.connect()
    next_in, last_incoming = a.establish()
    check("it comes back where it was", (next_in, last_incoming), (a.next_in, a.next_out - 1))
    a.send(a.cancel(4, 2, "Buy"))
    canceled = a.expect("ExecutionReportCanceled")
    ids = (canceled["ClOrdID"], canceled["OrigClOrdID"], canceled["OrdStatus"])
    check("the cancelled order", ids, (4, 2, "Canceled"))
    say("a terminated session comes back")


def is_refused(a):
    """Credentials of another key, and a logon that was heard on the way and is sent again."""
    stranger = Session(a.schema, a.address, a.key, a.account)
    stranger.connect()
    fields = {"SessionId": stranger.uuid(), "Timestamp": stranger.now(), "ClientFlow": "Idempotent"}
    wrong = b"firm-a|" + b"0" * 64
    stranger.send(stranger.frame("Negotiate", fields, text=wrong))
    check("a wrong MAC", stranger.expect("NegotiationReject")["Code"], "Credentials")
    check("the end of the line", stranger.receive(), None)
    recorded = a.establish_frame()
    a.connect()
    a.send(recorded)
    a.expect("EstablishmentAck")
    a.terminate()
    a.connect()
    a.send(recorded)
    check("a replayed logon", a.expect("EstablishmentReject")["Code"], "Credentials")
    check("the end of the line", a.receive(), None)
    say("wrong and replayed credentials are refused")


def main():
    path, host, port = sys.argv[1:]
    with open(path, encoding="utf-8") as schema:
        schema = sbe.Schema.parse(schema)
    address = (host, int(port))
    a = Session(schema, address, "firm-a", 1001)
    b = Session(schema, address, "firm-b", 2001)
    a.log_on()
    say("logs on with a block of 42 octets")
    b.log_on(block=36)
    say("logs on with the standard's block of 36 octets")
    trades(a, b)
    sends_twice(a)
    loses_its_line(a)
    is_terminated(a)
    a.terminate()
    b.terminate()
    say("Terminate is answered")
    is_refused(a)
    print("witness: all as the protocol says", flush=True)


if __name__ == "__main__":
    main()

//! A message of any kind, with its way to the wire and back.

use tidegate::limits::{FRAME_BYTES_MAX, REPORT_BYTES_MAX};
use tidegate::vocabulary::event::Report;
use tidegate::vocabulary::message::{ClientMessage, SessionMessage};
use tidegate::wire::decode::{DecodeError, Inbound, Outbound, decode_inbound, decode_outbound};
use tidegate::wire::encode::{CLIENT_BYTES_MAX, encode_client, encode_report, encode_session};
use tidegate::wire::frame::{Frame, split};

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Message<'a> {
    Session(SessionMessage<'a>),
    Request(ClientMessage),
    Report(Report),
}

impl<'a> Message<'a> {
    /// The whole frame.
    pub(crate) fn encode(&self) -> Vec<u8> {
        self.encode_over(0)
    }

    /// The whole frame, written into a buffer full of `octet`.
    pub(crate) fn encode_over(&self, octet: u8) -> Vec<u8> {
        let mut out = vec![octet; FRAME_BYTES_MAX];
        let len = match self {
            Self::Session(message) => encode_session(message, &mut out).expect("it fits"),
            Self::Request(message) => encode_client(message, &mut out[..CLIENT_BYTES_MAX]),
            Self::Report(report) => encode_report(report, &mut out[..REPORT_BYTES_MAX]),
        };
        assert!(
            out[len..].iter().all(|&behind| behind == octet),
            "written behind the frame"
        );
        out.truncate(len);
        out
    }

    /// The message in a frame, whichever direction it belongs to.
    pub(crate) fn decode(frame: &Frame<'a>) -> Result<Self, DecodeError> {
        match decode_inbound(frame) {
            Ok(Inbound::Session(message)) => Ok(Self::Session(message)),
            Ok(Inbound::Application(message)) => Ok(Self::Request(message)),
            Err(DecodeError::UnknownTemplate { .. }) => match decode_outbound(frame)? {
                Outbound::Session(message) => Ok(Self::Session(message)),
                Outbound::Report(report) => Ok(Self::Report(report)),
            },
            Err(error) => Err(error),
        }
    }
}

/// The only frame of `octets`.
#[track_caller]
pub(crate) fn whole(octets: &[u8]) -> Frame<'_> {
    let (frame, len) = split(octets, FRAME_BYTES_MAX)
        .expect("a frame")
        .expect("a whole one");
    assert_eq!(len, octets.len());
    frame
}

/// The frame that a sender of another version writes: `octets` with its block made `len` long,
/// by cutting it or by octets of 0xEE.
pub(crate) fn with_block(octets: &[u8], len: u16, version: u16) -> Vec<u8> {
    let frame = whole(octets);
    let mut block = frame.block().to_vec();
    block.resize(usize::from(len), 0xEE);
    let mut out = vec![0; 4];
    out.extend(len.to_le_bytes());
    out.extend(frame.template.to_le_bytes());
    out.extend(frame.schema_id.to_le_bytes());
    out.extend(version.to_le_bytes());
    out.extend(block);
    out.extend(frame.rest());
    let length = u16::try_from(out.len()).expect("a short frame");
    out[..2].copy_from_slice(&length.to_le_bytes());
    out[2..4].copy_from_slice(&octets[2..4]);
    out
}

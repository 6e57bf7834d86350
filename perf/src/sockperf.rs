//! The referee: sockperf's ping-pong beside our F0.
//!
//! A floor we wrote ourselves could be slow, and everything measured against it would look good.
//! So sockperf, which others wrote and trust, runs in the same run over the same loopback, TCP,
//! both sides non-blocking and spinning on the same cores. Its messages have one size both ways;
//! [`MESSAGE_BYTES`] is the mean of our request and reply, so both move the same total.
//!
//! sockperf prints *half* a round trip as "latency"; all its figures are doubled here. It counts
//! by seconds, not by messages, at least one, and exits with 0 when it could not connect, so the
//! percentiles in its output are the only sign of success. It cannot yield: in a yielding run it
//! is left out and the report says so.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::time::Duration;

use crate::contenders::{Contender, Settings, Start};
use crate::error::PerfError;
use crate::floor::Sizes;
use crate::idle::Idle;
use crate::probe::Slice;
use crate::process::Process;

const PROGRAM: &str = "sockperf";
const MESSAGE_BYTES: usize =
    usize::midpoint(Sizes::ORDER_PATH.request_bytes, Sizes::ORDER_PATH.reply_bytes);
/// The server says it is ready within this, and a ping-pong of one second ends within this.
const ANSWER_MAX: Duration = Duration::from_secs(10);
const SPINNING: [&str; 2] = ["--nonblocked", "--recv_looping_num=-1"];

/// A running sockperf server.
struct Sockperf {
    server: Process,
    port: u16,
    client_core: Option<usize>,
}

/// Starts the server, or says why there is none.
pub(crate) fn start(settings: &Settings) -> Result<Start, PerfError> {
    if settings.idle != Idle::Spin {
        return Ok(Start::Absent("sockperf cannot yield; run with --idle spin".to_owned()));
    }
    if !is_installed()? {
        return Ok(Start::Absent("sockperf is not installed (Debian: sockperf)".to_owned()));
    }
    let port = free_port()?;
    let mut arguments = common_arguments("server", port);
    if let Some(cores) = settings.cores {
        arguments.push(format!("--cpu-affinity={}", cores.server));
    }
    let server = Process::start("sockperf server", OsStr::new(PROGRAM), &arguments)?;
    server.await_line(ANSWER_MAX, |line| line.contains("block on socket").then_some(()))?;
    let client_core = settings.cores.map(|cores| cores.client);
    Ok(Start::Ready(Box::new(Sockperf { server, port, client_core })))
}

impl Contender for Sockperf {
    fn measure(&mut self, _settings: &Settings) -> Result<Slice, PerfError> {
        self.server.resume()?;
        let mut arguments = common_arguments("ping-pong", self.port);
        arguments.push("--time=1".to_owned());
        if let Some(core) = self.client_core {
            arguments.push(format!("--sender-affinity={core}"));
            arguments.push(format!("--receiver-affinity={core}"));
        }
        let client = Process::start("sockperf ping-pong", OsStr::new(PROGRAM), &arguments)?;
        let lines = client.collect(ANSWER_MAX)?;
        self.server.pause()?;
        parse(&lines)
    }

    fn pause(&mut self) -> Result<(), PerfError> {
        self.server.pause()
    }
}

fn common_arguments(mode: &str, port: u16) -> Vec<String> {
    let mut arguments: Vec<String> =
        [mode, "--tcp", "--ip", "127.0.0.1", "--port"].map(str::to_owned).to_vec();
    arguments.push(port.to_string());
    arguments.push(format!("--msg-size={MESSAGE_BYTES}"));
    arguments.extend(SPINNING.map(str::to_owned));
    arguments
}

fn is_installed() -> Result<bool, PerfError> {
    let quiet = std::process::Stdio::null;
    let status = std::process::Command::new(PROGRAM)
        .arg("--version")
        .stdout(quiet())
        .stderr(quiet())
        .status();
    match status {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(PerfError::io("starting sockperf")(error)),
    }
}

/// A port that was free a moment ago; sockperf cannot choose one itself.
fn free_port() -> Result<u16, PerfError> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(PerfError::io("looking for a free port"))
}

/// The percentiles of a ping-pong's output, as full round trips.
fn parse(lines: &[String]) -> Result<Slice, PerfError> {
    let find = |label: &str| {
        lines.iter().find_map(|line| {
            let (before, value) = line.split_once('=')?;
            before.trim_end().ends_with(label).then(|| round_trip(value))?
        })
    };
    let count = lines.iter().find_map(|line| {
        let (_, rest) = line.split_once("Total ")?;
        rest.split_once(" observations")?.0.parse().ok()
    });
    let found = (|| {
        Some(Slice {
            count: count?,
            p50: find("percentile 50.000")?,
            p90: find("percentile 90.000")?,
            p99: find("percentile 99.000")?,
            p999: find("percentile 99.900")?,
            max: find("<MAX> observation")?,
        })
    })();
    found.ok_or_else(|| {
        let last = lines.last().map_or("nothing", String::as_str);
        PerfError::unexpected("sockperf ping-pong", "a table of percentiles", last)
    })
}

/// Microseconds of half a round trip, such as `3.640`, to a round trip.
fn round_trip(half_us: &str) -> Option<Duration> {
    let half_us: f64 = half_us.trim().parse().ok()?;
    Duration::try_from_secs_f64(2.0 * half_us / 1e6).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
sockperf: [2;35m== version #3.7-no.git == [0m
sockperf: [Total Run] RunTime=1.000 sec; Warm up time=400 msec; SentMessages=132287
sockperf: Summary: Latency is 3.724 usec
sockperf: [2;35mTotal 73647 observations[0m; each percentile contains 736.47 observations
sockperf: ---> <MAX> observation =  463.929
sockperf: ---> percentile 99.999 =   65.046
sockperf: ---> percentile 99.900 =   17.991
sockperf: ---> percentile 99.000 =    4.541
sockperf: ---> percentile 90.000 =    3.815
sockperf: ---> percentile 50.000 =    3.640
sockperf: ---> <MIN> observation =    3.420";

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn half_round_trips_are_doubled() {
        let slice = parse(&lines(OUTPUT)).unwrap();
        let expected = Slice {
            count: 73_647,
            p50: Duration::from_nanos(7_280),
            p90: Duration::from_nanos(7_630),
            p99: Duration::from_nanos(9_082),
            p999: Duration::from_nanos(35_982),
            max: Duration::from_nanos(927_858),
        };
        assert_eq!(slice, expected);
    }

    #[test]
    fn an_output_without_its_figures_is_refused() {
        let check = |text: &str, came: &str| {
            let said = parse(&lines(text)).unwrap_err().to_string();
            assert!(said.contains("expected a table of percentiles"), "{said}");
            assert!(said.contains(came), "{said}");
        };
        check("", "nothing");
        check("sockperf: ERROR: Can`t connect socket (errno=111)", "errno=111");
        check(&OUTPUT.replace("3.640", "fast"), "3.420");
        check(&OUTPUT.replace("3.640", "-1"), "3.420");
        check(&OUTPUT.replace("3.640", "1e400"), "3.420");
        check(&OUTPUT.replace("Total 73647", "Total many"), "3.420");
        check(&OUTPUT.replace("percentile 99.000", "percentile 98.000"), "3.420");
    }
}

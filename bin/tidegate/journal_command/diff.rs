//! `tidegate journal diff`: whether two journals tell the same, record by record.
//!
//! Nothing in a record depends on the node that wrote it, and each record's checksum covers the one
//! before it. So two journals agree up to an index if the checksums there are equal, and the first
//! pair that differs is where their histories part.

use std::path::Path;

use journal::Reader;
use serde_json::{Map, Value};

use super::{Report, dump};

/// Compares two journals from their first record to the end of the shorter one.
pub(super) fn diff(left: &Path, right: &Path) -> Result<Report, String> {
    let open = |dir: &Path| Reader::open(dir).map_err(|e| format!("{}: {e}", dir.display()));
    let (mut a, mut b) = (open(left)?, open(right)?);
    let mut equal = 0_u64;
    let mut parted = None;
    let (more_left, more_right) = loop {
        let from_left = a.next().map_err(|e| e.to_string())?;
        let from_right = b.next().map_err(|e| e.to_string())?;
        match (from_left, from_right) {
            (Some((at, x)), Some((_, y))) => {
                let same = x.crc == y.crc && x.index == y.index && x.payload == y.payload;
                if same {
                    equal = x.index;
                    continue;
                }
                parted = Some((dump::line(at.get(), &x, false), dump::line(at.get(), &y, false)));
                break (false, false);
            }
            (one, other) => break (one.is_some(), other.is_some()),
        }
    };
    let mut fields = Map::new();
    let mut put = |key: &str, value: Value| drop(fields.insert(key.to_owned(), value));
    put("equal_up_to_index", equal.into());
    put("more_in_first", more_left.into());
    put("more_in_second", more_right.into());
    let is_good = parted.is_none();
    put("differ", (!is_good).into());
    if let Some((x, y)) = parted {
        put("first", x.into());
        put("second", y.into());
    }
    Ok(Report { is_good, fields })
}

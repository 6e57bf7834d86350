//! The site of a run: a fresh directory with a configuration, the journal and the histories.
//!
//! ```text
//! DIR/tidegate.toml   the demo market, with rings and tables large enough for the run
//! DIR/data/           the journal; its ring is in a directory of its own in memory
//! DIR/histories/      what each client sent and received; NAME.hdr beside it
//! DIR/engine.log      what the engine logged, before and after the kill
//! ```

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use tidegate::config::EXAMPLE;

/// Small enough to go round in a run of 200,000 orders, which take some 30 MiB, and large enough
/// for what a disk may be behind.
const JOURNAL_RING_BYTES: u64 = 32 << 20;
/// Report bytes an order: New, both sides of its trades, Canceled; about 420 are used.
const REPORT_BYTES_AN_ORDER: u64 = 640;
/// Where a file system in memory is on every Linux.
const MEMORY: &str = "/dev/shm";
const REPORT_RING_BYTES_MIN: u64 = 64 << 20;
/// What is missed lies at the young end: old reports may be overwritten.
const REPORT_RING_BYTES_MAX: u64 = 1 << 30;
/// The smallest tables; the configuration's own defaults.
const KEYS_MIN: u64 = 1 << 20;
const OPEN_ORDERS_MIN: u64 = 1 << 18;

/// A directory; removed when dropped, unless it is to be kept.
pub(crate) struct Site {
    dir: PathBuf,
    /// For the ring: in memory where that can be. A site that is kept has it in itself, so that all
    /// of the evidence is in one place, whoever was killed.
    hot: PathBuf,
    is_kept: bool,
}

impl Site {
    /// A new directory among the temporary ones, or `keep`, which must not hold anything yet.
    pub(crate) fn create(keep: Option<&Path>) -> Result<Self, String> {
        let dir = match keep {
            Some(dir) => dir.to_owned(),
            None => temporary()?,
        };
        let what = if keep.is_some() { "--keep " } else { "" };
        let failed = |e: std::io::Error| format!("{what}{}: {e}", dir.display());
        if dir.exists() && fs::read_dir(&dir).map_err(failed)?.next().is_some() {
            return Err(format!("{what}{}: expected a new or empty directory", dir.display()));
        }
        // A temporary directory that is missing is somebody's mistake, not to be made here.
        builder().recursive(keep.is_some()).create(&dir).map_err(failed)?;
        // An absolute path means the same in a message read later.
        let dir = fs::canonicalize(&dir).map_err(failed)?;
        let hot = Path::new(MEMORY).join(name()?);
        let is_hot = keep.is_none() && builder().create(&hot).is_ok();
        let hot = if is_hot { hot } else { dir.clone() };
        let site = Self { dir, hot, is_kept: keep.is_some() };
        fs::create_dir(site.histories()).map_err(|e| format!("{}: {e}", site.dir.display()))?;
        Ok(site)
    }

    /// Removes everything in it, for a run that is made again.
    pub(crate) fn renew(&self) -> Result<(), String> {
        fs::remove_dir_all(&self.dir)
            .and_then(|()| builder().create(&self.dir))
            .and_then(|()| fs::create_dir(self.histories()))
            .map_err(|e| format!("{}: {e}", self.dir.display()))?;
        if self.hot != self.dir {
            fs::remove_dir_all(&self.hot)
                .and_then(|()| builder().create(&self.hot))
                .map_err(|e| format!("{}: {e}", self.hot.display()))?;
        }
        Ok(())
    }

    /// Writes the configuration for a run of `orders`.
    pub(crate) fn write_config(&self, orders: u64) -> Result<(), String> {
        let text = config(orders, &self.data(), &self.hot)?;
        let path = self.config();
        fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Opens the engine's log to be appended to.
    pub(crate) fn log(&self) -> Result<File, String> {
        let path = self.log_path();
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.map_err(|e| format!("{}: {e}", path.display()))
    }

    /// The last line of the engine's log.
    pub(crate) fn last_log_line(&self) -> String {
        let log = fs::read_to_string(self.log_path()).unwrap_or_default();
        log.lines().next_back().unwrap_or("").to_owned()
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("tidegate.toml")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub(crate) fn histories(&self) -> PathBuf {
        self.dir.join("histories")
    }

    pub(crate) fn hdr(&self, client: u32) -> PathBuf {
        self.histories().join(format!("client-{}.hdr", client + 1))
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("engine.log")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if self.hot != self.dir {
            let _ = fs::remove_dir_all(&self.hot);
        }
        if !self.is_kept {
            // What cannot be removed is the system's to clean up.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// What is inside is the user's alone.
fn builder() -> fs::DirBuilder {
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o700);
    builder
}

fn temporary() -> Result<PathBuf, String> {
    Ok(std::env::temp_dir().join(name()?))
}

/// A name that nobody else has.
fn name() -> Result<String, String> {
    let mut octets = [0; 8];
    getrandom::fill(&mut octets).map_err(|e| format!("no random numbers: {e}"))?;
    Ok(format!("tidegate-{:016x}", u64::from_le_bytes(octets)))
}

/// The example's market with sizes for `orders`, each of which is a live key.
fn config(orders: u64, data: &Path, hot: &Path) -> Result<String, String> {
    let ring = |bytes_an_order: u64, min: u64| {
        orders.saturating_mul(bytes_an_order).max(min).next_power_of_two()
    };
    let keys = orders.saturating_mul(5).div_ceil(4).max(KEYS_MIN).next_power_of_two();
    let open_orders = orders.div_ceil(4).max(OPEN_ORDERS_MIN).next_power_of_two();
    let reports = ring(REPORT_BYTES_AN_ORDER, REPORT_RING_BYTES_MIN).min(REPORT_RING_BYTES_MAX);
    let mut file: toml::Table = toml::from_str(EXAMPLE).map_err(|e| e.to_string())?;
    for (key, path) in [("data_dir", data), ("hot_dir", hot)] {
        let path = path.to_str().ok_or_else(|| format!("{}: not UTF-8", path.display()))?;
        set(&mut file, "local", key, path.into());
    }
    for (table, key, value) in [
        ("local", "journal_ring_bytes", JOURNAL_RING_BYTES),
        ("local", "report_ring_bytes", reports),
        ("capacities", "key_count_max", keys),
        ("capacities", "order_count_max", open_orders),
    ] {
        set(&mut file, table, key, i64::try_from(value).map_err(|e| e.to_string())?.into());
    }
    for owner in file.get_mut("owner").and_then(toml::Value::as_array_mut).into_iter().flatten() {
        if let Some(owner) = owner.as_table_mut() {
            let open_orders = i64::try_from(open_orders).map_err(|e| e.to_string())?;
            owner.insert("orders_max".to_owned(), open_orders.into());
        }
    }
    toml::to_string(&file).map_err(|e| e.to_string())
}

fn set(file: &mut toml::Table, table: &str, key: &str, value: toml::Value) {
    if let Some(table) = file.get_mut(table).and_then(toml::Value::as_table_mut) {
        table.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate::config::Config;

    #[test]
    fn the_engine_accepts_the_configuration_and_the_run_fits_in() {
        for orders in [1, 200_000, 1_000_000, 5_000_000] {
            let site = Site::create(None).unwrap();
            site.write_config(orders).unwrap();
            let config = Config::load(&site.config()).unwrap();
            assert_eq!(config.local.data_dir, site.data());
            assert_eq!(config.local.hot_dir, site.hot);
            assert!(config.local.report_ring_bytes >= REPORT_RING_BYTES_MIN);
            assert!(u64::from(config.logical.capacities.key_count_max) > orders);
            assert!(config.has_demo_keys());
            site.renew().unwrap();
            assert!(site.histories().is_dir() && !site.config().exists());
            let (dir, hot) = (site.dir().to_owned(), site.hot.clone());
            drop(site);
            assert!(!dir.exists() && !hot.exists(), "a temporary site is removed");
        }
    }

    #[test]
    fn a_directory_with_something_in_it_is_refused_and_kept() {
        let outer = Site::create(None).unwrap();
        let refused = Site::create(Some(outer.dir())).err().unwrap();
        assert!(refused.contains("expected a new or empty directory"), "{refused}");
        let kept = outer.dir().join("kept");
        drop(Site::create(Some(&kept)).unwrap());
        assert!(kept.join("histories").is_dir());
    }
}

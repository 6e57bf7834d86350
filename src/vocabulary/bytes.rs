//! Little-endian fields one after another, for payloads and snapshots: writing never reallocates
//! without being asked to, reading never passes the end. And memory that is there before its use.

/// `count` times `value`, in memory whose pages are all there: `other` is written first, as memory
/// that was only ever zero is mapped by the kernel at its first use, which would be an order's.
#[must_use]
pub fn present<T: Copy>(count: usize, value: T, other: T) -> Box<[T]> {
    let mut all: Box<[T]> = vec![other; count].into();
    // Without this the compiler joins both writes, and may leave zeros to the kernel again.
    std::hint::black_box(&mut all);
    all.fill(value);
    all
}

/// Takes fields from the front; `None` once they run out.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `N` octets.
    pub fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*front)
    }

    /// The next `len` octets, borrowed.
    pub fn slice(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(front)
    }

    /// The next octet.
    pub fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[octet]| octet)
    }

    /// The next octet as yes or no: 1 or 0, and nothing else.
    pub fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// The next `u16`.
    pub fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    /// The next `u32`.
    pub fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    /// The next `u64`.
    pub fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// The next `i64`.
    pub fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }

    /// Whether everything was taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Appends fields to a growing buffer; for snapshots, never on the hot path.
#[derive(Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    /// Appends octets.
    pub fn put(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }

    /// Appends an octet.
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    /// Appends a `u16`.
    pub fn u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    /// Appends a `u32`.
    pub fn u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    /// Appends a `u64`.
    pub fn u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    /// Appends an `i64`.
    pub fn i64(&mut self, value: i64) {
        self.put(&value.to_le_bytes());
    }
}

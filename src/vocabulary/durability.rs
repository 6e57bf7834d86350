//! What must hold of a record before its answers may leave a node that is alone.

use super::fix::AckLevel;

/// When a lone node acknowledges.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// As soon as the mapped ring holds the record whole: a killed process loses nothing, a power
    /// cut may take what was not yet on disk.
    #[default]
    LocalMmap,
    /// Once the disk has it: a power cut loses nothing, an answer waits for a group's sync.
    LocalFsync,
}

impl Durability {
    /// Both.
    pub const ALL: [Self; 2] = [Self::LocalMmap, Self::LocalFsync];

    /// The name as configured.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LocalMmap => "local-mmap",
            Self::LocalFsync => "local-fsync",
        }
    }

    /// The value that is configured as `name`, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|durability| durability.name() == name)
    }

    /// What an acknowledgement promises.
    #[must_use]
    pub const fn level(self) -> AckLevel {
        match self {
            Self::LocalMmap => AckLevel::LocalMmap,
            Self::LocalFsync => AckLevel::LocalFsync,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for durability in Durability::ALL {
            assert_eq!(Durability::from_name(durability.name()), Some(durability));
        }
        assert_eq!(Durability::from_name("LocalMmap"), None);
        assert_eq!(Durability::ALL.map(|d| d.level().wire()), [0, 1]);
    }
}

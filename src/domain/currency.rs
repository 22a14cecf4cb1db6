//! In what a training cost may be said.

/// In what a training cost may be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Currency {
    /// FLOPs.
    Compute,
    /// Hours of one device of the hardware profile.
    DeviceHours,
    /// Days of all its devices together.
    Days,
    /// What these hours cost.
    Cost,
}

impl Currency {
    /// All of them, in the order in which they are named.
    pub const ALL: [Self; 4] = [Self::Compute, Self::DeviceHours, Self::Days, Self::Cost];

    /// The field of a question.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::DeviceHours => "device_hours",
            Self::Days => "days",
            Self::Cost => "cost",
        }
    }

    /// The currency of this name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|currency| currency.as_str() == name)
    }
}

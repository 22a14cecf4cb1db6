//! In what a training cost may be said.

use sparsity_law::named;

named! {
    /// In what a training cost may be said.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Currency {
        /// FLOPs.
        Compute = "compute",
        /// Hours of one device of the hardware profile.
        DeviceHours = "device_hours",
        /// Days of all its devices together.
        Days = "days",
        /// What these hours cost.
        Cost = "cost",
    }
}

//! Units of a training cost.

use sparsity_law::named;

named! {
    /// The unit of a training cost.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Currency {
        /// FLOPs.
        Compute = "compute",
        /// Hours of one device of the hardware profile.
        DeviceHours = "device_hours",
        /// Days of all devices of the hardware profile together.
        Days = "days",
        /// Price of the device hours.
        Cost = "cost",
    }
}

//! The groups of operations in the OpenAPI document.

/// Tag of the operations on families.
pub const TAG_FAMILIES: &str = "families";
/// Tag of the operations on runs.
pub const TAG_RUNS: &str = "runs";
/// Tag of the operations on refits.
pub const TAG_REFITS: &str = "refits";
/// Tag of the operations on laws.
pub const TAG_LAWS: &str = "laws";
/// Tag of the questions to laws.
pub const TAG_QUESTIONS: &str = "questions";
/// Tag of the operations on forecasts.
pub const TAG_FORECASTS: &str = "forecasts";
/// Tag of the operations on hardware profiles.
pub const TAG_PROFILES: &str = "hardware-profiles";
/// Tag of the operations on access: keys, the audit log and the caller itself.
pub const TAG_ACCESS: &str = "access";
/// Tag of the operations on the service itself.
pub const TAG_SERVICE: &str = "service";

//! The groups of operations in the OpenAPI document.

/// Tag of the families' operations.
pub const TAG_FAMILIES: &str = "families";
/// Tag of the runs' operations.
pub const TAG_RUNS: &str = "runs";
/// Tag of the refits' operations.
pub const TAG_REFITS: &str = "refits";
/// Tag of the laws' operations.
pub const TAG_LAWS: &str = "laws";
/// Tag of the questions.
pub const TAG_QUESTIONS: &str = "questions";
/// Tag of the forecasts.
pub const TAG_FORECASTS: &str = "forecasts";
/// Tag of the hardware profiles.
pub const TAG_PROFILES: &str = "hardware-profiles";
/// Tag of who may use the service.
pub const TAG_ACCESS: &str = "access";
/// Tag of what is about the service itself.
pub const TAG_SERVICE: &str = "service";

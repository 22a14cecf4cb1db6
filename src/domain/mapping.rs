//! Kept mappings: what the columns of a family's tables mean, said once under a name.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::text::MappingName;

/// What is said of tables, each part by its name among the options of an upload; what is left out is not said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MappingSettings {
    /// Where fields come from: an expression by the name of the field.
    pub map: BTreeMap<String, String>,
    /// Factors of numbers, by the name of the field.
    pub scale: BTreeMap<String, f64>,
    /// Columns that become tags.
    pub tag_columns: Vec<String>,
    /// Whose export it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What sparsities are given in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sparsity_unit: Option<String>,
    /// What names a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A condition for rows that are runs.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Which of several rows of a run is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<String>,
    /// What stands between cells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// The decimal mark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decimal: Option<String>,
    /// Texts that mean "no value".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub null: Option<Vec<String>>,
    /// The sheet of a workbook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sheet: Option<String>,
    /// What becomes of fields that rows do not bring.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
}

/// A mapping that is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    /// UUIDv7.
    pub id: Uuid,
    /// Its name in URLs and uploads, unique in the family.
    pub name: MappingName,
    /// What it says.
    pub settings: MappingSettings,
    /// When it was first kept.
    pub created_at: DateTime<Utc>,
    /// When it was last kept.
    pub updated_at: DateTime<Utc>,
}

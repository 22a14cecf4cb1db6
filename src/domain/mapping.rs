//! Stored mappings: the meaning of the columns of a family's tables, stored once under a name.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::text::MappingName;

/// Options of an upload that are stored in a mapping, under the same names. An option that is left out is not set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MappingSettings {
    /// Source of each field, by the field's name: a column, or an expression over columns.
    pub map: BTreeMap<String, String>,
    /// Factor by which a number is multiplied, by the field's name.
    pub scale: BTreeMap<String, f64>,
    /// Columns that become tags.
    pub tag_columns: Vec<String>,
    /// Name of the tracker that exported the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Unit of the sparsities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sparsity_unit: Option<String>,
    /// Where the name of a run comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Condition that a row must meet to be read as a run.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Which one of several rows of the same run is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<String>,
    /// Separator between cells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// Decimal mark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decimal: Option<String>,
    /// Texts that mean "no value".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub null: Option<Vec<String>>,
    /// Sheet of a workbook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sheet: Option<String>,
    /// What happens to optional fields for which a row has no column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
}

/// A stored mapping.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    /// UUIDv7 of the mapping.
    pub id: Uuid,
    /// Name in URLs and uploads, unique within the family.
    pub name: MappingName,
    /// The options that the mapping holds.
    pub settings: MappingSettings,
    /// When the mapping was first stored.
    pub created_at: DateTime<Utc>,
    /// When the mapping was last stored.
    pub updated_at: DateTime<Utc>,
}

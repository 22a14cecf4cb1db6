//! Schemas of the OpenAPI document where the derived ones say too little.

use utoipa::openapi::schema::ArrayBuilder;
use utoipa::{PartialSchema, ToSchema};

/// A file that is not text: Parquet, Arrow, a workbook.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, format = Binary)]
pub struct BinaryFile(#[allow(dead_code, reason = "a name in the document")] Vec<u8>);

/// An array of arrays of `N` numbers each.
#[must_use]
pub fn tuples_of<const N: usize>() -> ArrayBuilder {
    let tuple = ArrayBuilder::new().items(f64::schema()).min_items(Some(N)).max_items(Some(N));
    ArrayBuilder::new().items(tuple)
}

//! Consequences for the scores of forecasts when runs change.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::store::{StoreError, announce};

/// Announces that the scores of a family's forecasts may have changed, as services keep them in memory. Does nothing if
/// the family has no forecasts.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.scores.announce", level = "debug", skip_all)]
pub async fn announce_scores(
    transaction: &mut PgConnection,
    family_id: Uuid,
) -> Result<(), StoreError> {
    let name = sqlx::query_scalar!(
        r#"
        SELECT name FROM families
        WHERE id = $1 AND EXISTS (SELECT 1 FROM forecasts WHERE family_id = $1)
        "#,
        family_id
    );
    // A separate statement: one that reads forecasts may run on a node to which nobody listens.
    match name.fetch_optional(&mut *transaction).await? {
        Some(name) => announce(transaction, "sparsity_planner_laws", &name).await,
        None => Ok(()),
    }
}

//! Notes of writes for the audit log, stored in the transaction of the write itself. A committed write always has its
//! note, whatever becomes of the process or the caller, and a write that is not committed has none.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;
use sqlx::{PgConnection, PgPool, PgTransaction};

use crate::api::wire::problem::ApiError;
use crate::domain::audit::AuditEvent;
use crate::domain::text::FamilyName;
use crate::live::audit::AuditLog;
use crate::store::StoreError;
use crate::store::audit::insert_audit_note;

/// The note of a write request that the guard has admitted; clones are the same note.
#[derive(Debug, Clone)]
pub struct Noting(Arc<(AuditLog, AuditEvent)>);

impl Noting {
    /// A note to be stored together with what the request writes. The event's status is not known yet.
    #[must_use]
    pub(crate) fn new(log: AuditLog, event: AuditEvent) -> Self {
        Self(Arc::new((log, event)))
    }

    /// The audit event of a write that is answered with this status. `created` is the path of what was created, if
    /// anything was.
    #[must_use]
    pub(crate) fn event(&self, status: StatusCode, created: Option<&str>) -> AuditEvent {
        let mut event = self.0.1.clone();
        // The path of a refit does not contain its family, so the family may come from the request's path.
        event.family = created.and_then(family_named).or_else(|| family_named(&event.target));
        if let Some(created) = created {
            created.clone_into(&mut event.target);
        }
        event.status = i16::try_from(status.as_u16()).expect("a status has three digits");
        event
    }

    /// Begins a transaction that stores the note when it is committed.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub(crate) async fn begin(&self, pool: &PgPool) -> Result<Write, StoreError> {
        Ok(Write { transaction: pool.begin().await?, noting: self.clone() })
    }

    /// Notes that a transaction with a note was committed, so that the note soon moves into the log.
    pub(crate) fn committed(&self) {
        self.0.0.wake();
    }
}

impl<S: Sync> FromRequestParts<S> for Noting {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let noting = parts.extensions.get::<Self>().cloned();
        noting.ok_or_else(|| ApiError::Internal(anyhow::anyhow!("the guard let nothing in")))
    }
}

/// The transaction of a write. If it is dropped, it is rolled back and leaves no note.
#[derive(Debug)]
pub(crate) struct Write {
    transaction: PgTransaction<'static>,
    noting: Noting,
}

impl Write {
    /// Commits, together with the note of a write that is answered with this status ([`Noting::event`]).
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub(crate) async fn commit(
        mut self,
        status: StatusCode,
        created: Option<&str>,
    ) -> Result<(), StoreError> {
        insert_audit_note(&mut *self.transaction, &self.noting.event(status, created)).await?;
        self.transaction.commit().await?;
        self.noting.committed();
        Ok(())
    }
}

impl Deref for Write {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.transaction
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }
}

/// The family's name in a path, decoded as a handler decodes it.
pub(crate) fn family_of(path: &str) -> Option<Cow<'_, str>> {
    let family = path.strip_prefix("/v1/families/")?.split('/').next()?;
    Some(percent_decode_str(family).decode_utf8_lossy())
}

/// The family's name in a path; `None` if it is not a valid name.
pub(crate) fn family_named(path: &str) -> Option<String> {
    let family = family_of(path).filter(|name| FamilyName::new(name).is_ok());
    family.map(Cow::into_owned)
}

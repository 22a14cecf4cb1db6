//! Pages of a list.

use uuid::Uuid;

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// Where the next page starts: after this id. `None` at the end.
    pub next: Option<Uuid>,
}

/// A request for a page: ids below `after`, at most `limit` of them.
#[derive(Debug, Clone, Copy)]
pub struct PageRequest {
    /// How many items.
    pub limit: u16,
    /// The last id of the page before.
    pub after: Option<Uuid>,
}

impl PageRequest {
    /// One more than asked for, to see whether there is a next page.
    pub(crate) fn fetch(self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// Cuts a fetched list to the page.
    pub(crate) fn page<T>(self, mut items: Vec<T>, id: impl Fn(&T) -> Uuid) -> Page<T> {
        let more = items.len() > usize::from(self.limit);
        items.truncate(usize::from(self.limit));
        let next = if more { items.last().map(id) } else { None };
        Page { items, next }
    }
}

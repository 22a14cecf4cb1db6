//! Pagination of lists.

use uuid::Uuid;

/// One page of a list.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The items, newest first.
    pub items: Vec<T>,
    /// Id after which the next page starts; `None` on the last page.
    pub next: Option<Uuid>,
}

/// Request for a page: at most `limit` items with ids below `after`.
#[derive(Debug, Clone, Copy)]
pub struct PageRequest {
    /// Maximum number of items on the page.
    pub limit: u16,
    /// Id of the last item on the previous page; `None` for the first page.
    pub after: Option<Uuid>,
}

impl PageRequest {
    /// Number of items to fetch: one more than asked for, to see whether there is a next page.
    pub(crate) fn fetch(self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// Cuts the fetched items to one page.
    pub(crate) fn page<T>(self, mut items: Vec<T>, id: impl Fn(&T) -> Uuid) -> Page<T> {
        let more = items.len() > usize::from(self.limit);
        items.truncate(usize::from(self.limit));
        let next = if more { items.last().map(id) } else { None };
        Page { items, next }
    }
}

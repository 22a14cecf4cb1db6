//! Answers of many rows, each computed as it is written. Only the text is held in memory, and less of it as it is sent.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use serde::ser::Error as _;
use serde::{Serialize, Serializer};

use crate::api::wire::problem::ApiError;

/// Size of a piece of the text, in bytes.
const PIECE: usize = 256 * 1024;

/// Rows that are computed as they are serialised.
pub struct Rows<'a, T> {
    count: usize,
    row: &'a dyn Fn(usize) -> Result<T, ApiError>,
    failed: &'a RefCell<Option<ApiError>>,
}

impl<T> fmt::Debug for Rows<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("count", &self.count).finish_non_exhaustive()
    }
}

impl<T: Serialize> Serialize for Rows<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;
        let mut sequence = serializer.serialize_seq(Some(self.count))?;
        for at in 0..self.count {
            let row = (self.row)(at).map_err(|error| {
                *self.failed.borrow_mut() = Some(error);
                S::Error::custom("a row has no answer")
            })?;
            sequence.serialize_element(&row)?;
        }
        sequence.end()
    }
}

/// Renders an answer of `count` rows as JSON; `answer` puts the rows into their place in it.
///
/// # Errors
/// The first error of a row.
pub fn json<'a, T, A: Serialize>(
    count: usize,
    row: &'a dyn Fn(usize) -> Result<T, ApiError>,
    failed: &'a RefCell<Option<ApiError>>,
    answer: impl FnOnce(Rows<'a, T>) -> A,
) -> Result<Response, ApiError> {
    let response = whole_json(&answer(Rows { count, row, failed }));
    match failed.borrow_mut().take() {
        Some(error) => Err(error),
        None => response,
    }
}

/// Renders a large answer as JSON.
///
/// # Errors
/// If it cannot be serialised.
pub fn whole_json(answer: &impl Serialize) -> Result<Response, ApiError> {
    let mut text = Pieces::default();
    serde_json::to_writer(&mut text, answer).map_err(|error| ApiError::Internal(error.into()))?;
    let mut response = Response::new(Body::new(text.finish()));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// A text in pieces, each of which is freed once it is sent.
#[derive(Debug, Default)]
struct Pieces {
    whole: VecDeque<Bytes>,
    last: Vec<u8>,
}

impl Pieces {
    fn finish(mut self) -> Self {
        let last = std::mem::take(&mut self.last);
        if !last.is_empty() {
            self.whole.push_back(last.into());
        }
        self
    }
}

impl Write for Pieces {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.write_all(text)?;
        Ok(text.len())
    }

    fn write_all(&mut self, text: &[u8]) -> io::Result<()> {
        if self.last.len() + text.len() > PIECE {
            let full = std::mem::replace(&mut self.last, Vec::with_capacity(PIECE));
            self.whole.push_back(full.into());
        }
        self.last.extend_from_slice(text);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.whole.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.whole.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.whole.iter().map(|piece| piece.len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Answer<'a> {
        law: u32,
        results: Rows<'a, String>,
    }

    fn answer(count: usize, length: usize, wrong: Option<usize>) -> Result<Response, ApiError> {
        let row = move |at| match wrong == Some(at) {
            true => Err(ApiError::field("/points/3", "wrong")),
            false => Ok(char::from(b'a' + (at % 26) as u8).to_string().repeat(length)),
        };
        json(count, &row, &RefCell::default(), |results| Answer { law: 7, results })
    }

    #[tokio::test]
    async fn a_text_in_pieces_is_the_text() {
        for (count, length) in [(0, 0), (3, 5), (1000, 1000), (3, 2 * PIECE)] {
            let response = answer(count, length, None).unwrap();
            assert_eq!(response.headers()["content-type"], "application/json");
            let size = response.body().size_hint().exact().unwrap();
            let text = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
            assert_eq!(size, text.len() as u64);
            let read: serde_json::Value = serde_json::from_slice(&text).unwrap();
            let rows = read["results"].as_array().unwrap();
            assert_eq!((read["law"].as_u64(), rows.len()), (Some(7), count));
            assert!(rows.iter().all(|row| row.as_str().unwrap().len() == length));
        }
    }

    #[test]
    fn a_row_without_an_answer_is_the_answer() {
        let error = answer(10, 5, Some(3)).unwrap_err();
        assert!(matches!(error, ApiError::Invalid(errors) if errors[0].pointer == "/points/3"));
    }
}

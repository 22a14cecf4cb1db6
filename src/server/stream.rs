//! The byte stream of a connection: it fails if the client stops reading, and it is closed in such a way that the last
//! answer arrives.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::server::pace::Pace;

/// How long the unread rest of a refused body is still read and discarded, so that its sender sees the answer. If
/// received bytes are left unread, the system resets the connection, and data that was not delivered yet is lost.
const LINGER: Duration = Duration::from_secs(2);
/// Most bytes that are discarded.
const LINGER_BYTES: usize = 64 << 20;

/// What an HTTP/2 client with prior knowledge sends first.
const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether a connection is closed while its client is still sending.
#[derive(Debug, Clone, Default)]
pub(super) struct Unread(Arc<AtomicBool>);

impl Unread {
    /// Notes that it is.
    pub(super) fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A TCP connection with these limits.
#[derive(Debug)]
pub(super) struct Stream {
    inner: TcpStream,
    pace: Pace,
    /// The first bytes, which were inspected and are still to be read.
    first: [u8; PREFACE.len()],
    /// The part of them that has not been read yet.
    unread_first: Range<usize>,
    /// How long the client may read nothing.
    patience: Duration,
    /// Created when something is first waited for.
    alarm: Option<Pin<Box<Sleep>>>,
    /// Whether the alarm is running.
    stalled: bool,
    unread: Unread,
    /// Number of bytes discarded, once nothing more is written.
    thrown: Option<usize>,
}

impl Stream {
    pub(super) fn new(inner: TcpStream, patience: Duration, pace: Pace, unread: Unread) -> Self {
        let first = [0; PREFACE.len()];
        let (alarm, stalled, thrown) = (None, false, None);
        let unread_first = 0..0;
        Self { inner, pace, first, unread_first, patience, alarm, stalled, unread, thrown }
    }

    /// Whether the client speaks HTTP/2; waits until its first bytes decide it.
    pub(super) async fn speaks_http2(&mut self) -> io::Result<bool> {
        loop {
            let end = self.unread_first.end;
            if self.first[..end] != PREFACE[..end] {
                return Ok(false);
            }
            if end == PREFACE.len() {
                return Ok(true);
            }
            match self.inner.read(&mut self.first[end..]).await? {
                0 => return Ok(false),
                read => self.unread_first.end += read,
            }
        }
    }

    /// Tracks whether a write made progress; fails if none did for too long.
    fn progressed<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.pace.taken();
            self.stalled = false;
            return written;
        }
        let patience = self.patience;
        ready!(self.wait(patience, context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }

    /// Ready when `time` has passed since the first call of a series.
    fn wait(&mut self, time: Duration, context: &mut Context<'_>) -> Poll<()> {
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
        if !self.stalled {
            alarm.as_mut().reset(Instant::now() + time);
            self.stalled = true;
        }
        alarm.as_mut().poll(context)
    }

    /// Reads and discards, until the client ends or it takes too long.
    fn linger(&mut self, thrown: &mut usize, context: &mut Context<'_>) -> Poll<()> {
        let mut buffer = [0; 16 * 1024];
        while *thrown < LINGER_BYTES {
            let mut read = ReadBuf::new(&mut buffer);
            match Pin::new(&mut self.inner).poll_read(context, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => *thrown += read.filled().len(),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.wait(LINGER, context),
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.unread_first.is_empty() {
            let read = this.unread_first.len().min(buffer.remaining());
            let start = this.unread_first.start;
            buffer.put_slice(&this.first[start..start + read]);
            this.unread_first.start += read;
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(context, buffer);
        if buffer.filled().len() > before {
            this.pace.heard();
        }
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(context, bytes);
        this.progressed(written, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write_vectored(context, slices);
        this.progressed(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut thrown = match this.thrown {
            Some(thrown) => thrown,
            None => {
                ready!(Pin::new(&mut this.inner).poll_shutdown(context))?;
                this.stalled = false;
                0
            }
        };
        if !this.unread.0.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let ended = this.linger(&mut thrown, context);
        this.thrown = Some(thrown);
        ended.map(Ok)
    }
}

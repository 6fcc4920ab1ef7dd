//! A stream that bounds what its peer can make us read, below TLS and HTTP.
//!
//! HTTP libraries read in loops: over informational heads, within the framing of chunks, over TLS records without
//! content. While a peer sends faster than they parse, such a loop does not end, and neither a timeout nor another task
//! of its thread gets on. So the stream gives small pieces, pauses after some of them, and fails after too many.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};

/// Most bytes that are read at once.
const PIECE: usize = 16 << 10;

/// Bytes after which other tasks get their turn, although there is more to read.
const BURST: usize = 64 << 10;

/// Most bytes of an answer that are not its body: heads, framing, trailers, and what TLS adds. As many bytes as the body
/// has come on top.
const MAX_OTHER_BYTES: u64 = 1 << 20;

/// Counts what is received for one answer.
#[derive(Debug, Default)]
pub struct Meter {
    received: AtomicU64,
    body: AtomicU64,
}

/// The peer sent more than belongs to any answer.
#[derive(Debug, thiserror::Error)]
#[error("more than a mebibyte besides the body of an answer")]
pub struct Flood;

impl Meter {
    /// Starts with the next answer.
    pub fn restart(&self) {
        self.received.store(0, Ordering::Relaxed);
        self.body.store(0, Ordering::Relaxed);
    }

    /// Counts bytes of the body that were given to its reader.
    pub fn count_body(&self, bytes: usize) {
        self.body.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn count_received(&self, bytes: usize) -> Result<(), Flood> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let received = self.received.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let body = self.body.load(Ordering::Relaxed);
        if received > body.saturating_mul(2).saturating_add(MAX_OTHER_BYTES) { Err(Flood) } else { Ok(()) }
    }
}

/// A stream that counts what it receives, and ends when that is too much.
#[derive(Debug)]
pub struct Metered<S> {
    stream: S,
    meter: Arc<Meter>,
    // Bytes since the last pause.
    burst: usize,
}

impl<S> Metered<S> {
    /// The same stream, counted by this meter.
    pub fn new(stream: S, meter: Arc<Meter>) -> Self {
        Self { stream, meter, burst: 0 }
    }
}

impl<S: Read + Unpin> Read for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.burst >= BURST {
            self.burst = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }

        let mut place = [const { MaybeUninit::<u8>::uninit() }; PIECE];
        let room = place.get_mut(..buffer.remaining().min(PIECE)).unwrap_or_default();
        let mut piece = ReadBuf::uninit(room);
        let read = Pin::new(&mut self.stream).poll_read(context, piece.unfilled());
        if read.is_pending() {
            self.burst = 0;
        }
        ready!(read)?;

        let bytes = piece.filled();
        self.burst = self.burst.saturating_add(bytes.len());
        self.meter.count_received(bytes.len()).map_err(io::Error::other)?;
        buffer.put_slice(bytes);
        Poll::Ready(Ok(()))
    }
}

impl<S: Write + Unpin> Write for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }
}

impl<S: Connection> Connection for Metered<S> {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use hyper::rt::{Read, ReadBuf, ReadBufCursor};

    use super::{BURST, MAX_OTHER_BYTES, Meter, Metered, PIECE};

    // Always has more to read.
    struct Endless;

    impl Read for Endless {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
            buffer.put_slice(&vec![b'x'; buffer.remaining()]);
            Poll::Ready(Ok(()))
        }
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    // Reads until the stream pauses or fails: the bytes, and whether it paused.
    fn one_turn(stream: &mut Metered<Endless>, waker: &Waker) -> (usize, bool) {
        let mut place = vec![0; 1 << 20];
        let mut bytes = 0;
        loop {
            let mut buffer = ReadBuf::new(&mut place);
            match Pin::new(&mut *stream).poll_read(&mut Context::from_waker(waker), buffer.unfilled()) {
                Poll::Pending => return (bytes, true),
                Poll::Ready(Err(_)) => return (bytes, false),
                Poll::Ready(Ok(())) => {
                    assert!(buffer.filled().len() <= PIECE);
                    bytes += buffer.filled().len();
                }
            }
        }
    }

    // Reads until the stream fails.
    fn all(stream: &mut Metered<Endless>) -> usize {
        let mut bytes = 0;
        loop {
            let (more, is_paused) = one_turn(stream, Waker::noop());
            bytes += more;
            if !is_paused {
                return bytes;
            }
        }
    }

    #[test]
    fn one_turn_is_short_and_asks_for_the_next() {
        let wakes = Arc::<Wakes>::default();
        let mut stream = Metered::new(Endless, Arc::default());
        for turn in 1..=3 {
            assert_eq!(one_turn(&mut stream, &Waker::from(Arc::clone(&wakes))), (BURST, true));
            assert_eq!(wakes.0.load(Ordering::Relaxed), turn);
        }
    }

    #[test]
    fn what_is_no_body_is_bounded_and_a_body_makes_room() {
        let meter = Arc::<Meter>::default();
        let mut stream = Metered::new(Endless, Arc::clone(&meter));
        let bound = usize::try_from(MAX_OTHER_BYTES).unwrap();
        assert_eq!(all(&mut stream), bound);
        meter.restart();
        meter.count_body(bound);
        assert_eq!(all(&mut stream), 3 * bound);
    }
}

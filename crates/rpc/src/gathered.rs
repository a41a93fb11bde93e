//! Writes that come together, sent together.
//!
//! HTTP/2 queues a call's headers, its message and its end from different tasks, and flushes after
//! each: three packets, three times as much encryption and waking for what is a few hundred bytes. A
//! flush here lets the tasks that are ready go first, once, and then sends what they have written, too.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// More than that isn't held back: about what one TLS record takes.
const MOST: usize = 16 * 1024;

pub(crate) struct Gathered<T> {
    inner: T,
    held: BytesMut,
    /// Since the last time that something was sent.
    others_went_first: bool,
}

impl<T> Gathered<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self {
            inner,
            held: BytesMut::new(),
            others_went_first: false,
        }
    }
}

impl<T: AsyncWrite + Unpin> Gathered<T> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let sent = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.held))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.advance(sent);
        }
        self.others_went_first = false;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gathered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gathered<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.held.len() >= MOST {
            ready!(self.poll_send(cx))?;
        }
        let taken = buf.len().min(MOST);
        self.held.extend_from_slice(&buf[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.held.is_empty() && !self.others_went_first {
            self.others_went_first = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Notes how long each write was.
    struct Noting(Vec<usize>);

    impl AsyncWrite for Noting {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.push(buf.len());
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_is_written_while_a_flush_waits_goes_with_it() {
        let mut gathered = Gathered::new(Noting(Vec::new()));
        gathered.write_all(b"headers").await.unwrap();
        let mut flush = Box::pin(gathered.flush());
        assert!(futures::poll!(&mut flush).is_pending());
        drop(flush);
        gathered.write_all(b"message").await.unwrap();
        gathered.flush().await.unwrap();
        assert_eq!(gathered.inner.0, ["headers".len() + "message".len()]);
        gathered.write_all(b"next").await.unwrap();
        let mut flush = Box::pin(gathered.flush());
        assert!(
            futures::poll!(&mut flush).is_pending(),
            "others go first again"
        );
        flush.await.unwrap();
        assert_eq!(gathered.inner.0.len(), 2);
    }

    #[tokio::test]
    async fn nothing_is_lost_however_long_it_is() {
        let (near, mut far) = tokio::io::duplex(1000);
        let mut gathered = Gathered::new(near);
        let sent: Vec<u8> = (0..100_000_u32).map(|i| i.to_le_bytes()[0]).collect();
        let mut received = Vec::new();
        let send = async {
            gathered.write_all(&sent).await.unwrap();
            gathered.shutdown().await.unwrap();
        };
        tokio::join!(send, async {
            far.read_to_end(&mut received).await.unwrap()
        });
        assert_eq!(received, sent);
    }
}

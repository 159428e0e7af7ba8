//! The parent's end of the pipe to a child.

use std::{io, os::unix::net::UnixStream};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream as AsyncUnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::wire::Frame;

/// Reads and writes frames; what is to be written waits here, so that a child that does not read holds nobody up.
#[derive(Debug)]
pub(super) struct Connection {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    incoming: BytesMut,
    outgoing: BytesMut,
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let (reader, writer) = AsyncUnixStream::from_std(stream)?.into_split();
        Ok(Self {
            reader,
            writer,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
        })
    }

    /// Lets a frame be written by the next [`Self::next`].
    pub(super) fn send(&mut self, frame: &Frame) {
        frame.write(&mut self.outgoing);
    }

    /// Writes what waits, until a frame comes; `None` when the other end is closed.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost of what was read, and nothing is written twice.
    pub(super) async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let read = Frame::read(&mut self.incoming).map_err(io::Error::other)?;
            if read.is_some() {
                return Ok(read);
            }
            tokio::select! {
                biased;
                written = self.writer.write_buf(&mut self.outgoing), if !self.outgoing.is_empty() => {
                    // A child that has closed its end may still have left a report: reading goes on.
                    if written.is_err() {
                        self.outgoing.clear();
                    }
                }
                read = self.reader.read_buf(&mut self.incoming) => match read {
                    Ok(0) => return Ok(None),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                    Err(error) => return Err(error),
                },
            }
        }
    }
}

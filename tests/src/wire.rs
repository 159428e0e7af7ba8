//! A way to a server that can be cut, while others still reach it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Listens on a port of its own and passes everything on; ends with the process.
#[derive(Debug)]
pub struct Wire {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    cut: bool,
    open: Vec<Stream>,
}

/// Where a way leads to.
#[derive(Debug, Clone)]
enum Far {
    Port(u16),
    Socket(PathBuf),
}

/// One side of a connection.
#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Far {
    fn connect(&self) -> io::Result<Stream> {
        match self {
            Self::Port(port) => {
                let far = TcpStream::connect(("127.0.0.1", *port))?;
                far.set_nodelay(true)?;
                Ok(Stream::Tcp(far))
            }
            Self::Socket(path) => UnixStream::connect(path).map(Stream::Unix),
        }
    }
}

impl Stream {
    fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => stream.try_clone().map(Self::Tcp),
            Self::Unix(stream) => stream.try_clone().map(Self::Unix),
        }
    }

    /// Ends it, whether it has ended already or not.
    fn end(&self) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        }
    }
}

impl Wire {
    /// A way to this port of the machine.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn to(port: u16) -> Self {
        Self::leading_to(Far::Port(port))
    }

    /// A way to a server that listens on a socket of the file system.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn to_socket(path: PathBuf) -> Self {
        Self::leading_to(Far::Socket(path))
    }

    fn leading_to(far: Far) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
        let own = listener.local_addr().expect("it has an address").port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // One that cannot be passed on is closed.
                let _ = pass_on(near, &far, &shared);
            }
        });
        Self { port: own, state }
    }

    /// The port on which it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// As the URL of a Redis.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Ends all connections, and lets none through.
    pub fn cut(&self) {
        let mut state = locked(&self.state);
        state.cut = true;
        for stream in state.open.drain(..) {
            stream.end();
        }
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        locked(&self.state).cut = false;
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pass_on(near: TcpStream, far: &Far, state: &Mutex<State>) -> io::Result<()> {
    let mut state = locked(state);
    if state.cut {
        return Ok(());
    }
    let far = far.connect()?;
    near.set_nodelay(true)?;
    let near = Stream::Tcp(near);
    state.open.extend([near.try_clone()?, far.try_clone()?]);
    let (back_from, back_to) = (far.try_clone()?, near.try_clone()?);
    thread::spawn(move || copy(near, far));
    thread::spawn(move || copy(back_from, back_to));
    Ok(())
}

fn copy(mut from: Stream, mut to: Stream) {
    let mut buffer = [0; 1 << 14];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let Some(read) = buffer.get(..count) else {
            break;
        };
        if to.write_all(read).is_err() {
            break;
        }
    }
    to.end();
    from.end();
}

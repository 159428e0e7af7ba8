//! A way to a Redis that can be cut, while others still reach it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
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
    open: Vec<TcpStream>,
}

impl Wire {
    /// A way to this port of the machine.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
        let own = listener.local_addr().expect("it has an address").port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // One that cannot be passed on is closed.
                let _ = pass_on(near, port, &shared);
            }
        });
        Self { port: own, state }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Ends all connections, and lets none through.
    pub fn cut(&self) {
        let mut state = locked(&self.state);
        state.cut = true;
        for stream in state.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
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

fn pass_on(near: TcpStream, port: u16, state: &Mutex<State>) -> io::Result<()> {
    let mut state = locked(state);
    if state.cut {
        return Ok(());
    }
    let far = TcpStream::connect(("127.0.0.1", port))?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    state.open.extend([near.try_clone()?, far.try_clone()?]);
    let (back_from, back_to) = (far.try_clone()?, near.try_clone()?);
    thread::spawn(move || copy(near, far));
    thread::spawn(move || copy(back_from, back_to));
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 1 << 14];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let Some(read) = buffer.get(..count) else {
            break;
        };
        if to.write_all(read).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

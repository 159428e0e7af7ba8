//! A way in for the fuzz targets: what parent and child processes of the prefork pool write to each other.

use bytes::{BufMut, BytesMut};

use crate::pool::prefork::wire::Frame;

/// Reads frames off the bytes until there is none; each that can be read is written and read once more.
///
/// # Panics
/// When a frame does not come back as one frame.
pub fn read_frames(bytes: &[u8]) {
    let mut pipe = BytesMut::from(bytes);
    while let Ok(Some(frame)) = Frame::read(&mut pipe) {
        let mut again = BytesMut::new();
        frame.write(&mut again);
        again.put_u8(0);
        let read = Frame::read(&mut again);
        assert!(matches!(read, Ok(Some(_))), "{frame:?}");
        assert_eq!(&again[..], b"\0", "what follows stays");
    }
}

/// Frames as parent and child write them, to begin with.
pub fn frames() -> Vec<Vec<u8>> {
    let raw = br#"{"body": "W1tdLCB7fSwge31d", "headers": {"id": "1", "task": "t"}}"#;
    let frames = [
        Frame::Run {
            job: 1,
            queue: "celery".to_owned(),
            trace: String::new(),
            raw: raw.as_slice().into(),
        },
        Frame::Soft { job: 1 },
        Frame::Stop,
        Frame::Ready,
        Frame::Refused("why".to_owned()),
        Frame::done_for_tests(),
    ];
    let written = frames.into_iter().map(|frame| {
        let mut pipe = BytesMut::new();
        frame.write(&mut pipe);
        pipe.to_vec()
    });
    written.collect()
}

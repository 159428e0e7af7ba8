//! A way in for the fuzz targets: everything in this crate that reads bytes which somebody else wrote.

use bytes::Bytes;

use crate::binding::Member;
use crate::envelope::{self, Entry};
use crate::redis;
use crate::revocation::Target;

/// Reads the bytes as an entry of held messages, as a message that goes back, as a member of a binding table, as what is
/// revoked, as what a worker leaves behind, and as the answer of the finish script.
///
/// # Panics
/// When an entry that was put together does not come apart as it was.
pub fn take_apart(bytes: &Bytes) {
    if let Some(entry) = Entry::split(bytes) {
        assert!(entry.message.len() < bytes.len());
    }
    let joined = [
        b"[".as_slice(),
        bytes,
        envelope::entry_ending("queue").as_bytes(),
    ]
    .concat();
    let split = Entry::split(&joined.into());
    assert_eq!(split.map(|entry| entry.message).as_ref(), Some(bytes));
    for message in [
        envelope::redelivered(bytes),
        envelope::after_death(bytes, 2, 3),
    ] {
        let _ = (envelope::priority(&message), envelope::identity(&message));
        let _ = (
            envelope::is_suspect(&message),
            envelope::may_be_redelivered(&message),
        );
    }
    let text = String::from_utf8_lossy(bytes);
    if let Some(target) = Target::from_text(&text) {
        assert_eq!(Target::from_text(&target.to_text()), Some(target));
    }
    let _ = (redis::read_estate(bytes), redis::read_applied(bytes));
    let _ = Member::parse(&String::from_utf8_lossy(bytes), "\u{6}\u{16}");
}

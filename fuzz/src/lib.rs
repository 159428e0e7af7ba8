//! Hostile input for everything that reads what strangers write.
//!
//! The targets are tests in `tests/`, one for each decoder. `cargo test` gives each about a second of random input;
//! `scripts/fuzz SECONDS` gives more. Random bytes alone hardly get past the first byte of a format, so an input is a list
//! of edits ([`edited`]) to one of the messages that real Celery wrote, or to a seed of the target's own.
//!
//! A failure prints `BOLERO_RANDOM_SEED=…`; with that variable set the same input comes first.

use std::fs;
use std::path::Path;

/// Words that mean something in one of the formats: they get further than letters do.
const WORDS: [&[u8]; 40] = [
    b"null",
    b"true",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"99999999999999999999",
    b"\"",
    b"\\ud800",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b", ",
    b": ",
    b"{\"__type__\": \"datetime\", \"__value__\": ",
    b"\"redelivered\": false",
    b"&a ",
    b"*a",
    b"!!binary ",
    b"!!set ",
    b"!!omap ",
    b"? ",
    b"- ",
    b"|\n ",
    b"<<: *a\n",
    b"2024-02-29T12:30:15+05:30",
    b"\x80\x04",
    b"\x94",
    b"(",
    b".",
    b"cposix\nsystem\n",
    b"\x93",
    b"R",
    b"b",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc7",
    b"\0",
    b"\xff",
];

/// The messages, results and replies that real Celery wrote, as `crates/protocol` keeps them.
///
/// # Panics
/// When the folder cannot be read.
pub fn captures() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/protocol/tests/captures");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("the captures are part of the repository")
        .map(|entry| entry.expect("a folder can be listed").path())
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| fs::read(path).expect("a capture can be read"))
        .collect()
}

/// An input made from one of the seeds by the edits that `entropy` says; without seeds, or by chance, it is raw.
pub fn edited(seeds: &[Vec<u8>], entropy: &[u8]) -> Vec<u8> {
    let Some(([choice, more], edits)) = entropy.split_first_chunk::<2>() else {
        return entropy.to_vec();
    };
    let count = seeds.len() + 1;
    let chosen = (usize::from(*choice) * 256 + usize::from(*more)) % count;
    let Some(seed) = seeds.get(chosen) else {
        return edits.to_vec();
    };
    let mut input = seed.clone();
    for edit in edits.as_chunks::<5>().0 {
        apply(&mut input, *edit);
    }
    input
}

/// One edit: what, where (two bytes), how far, with what.
fn apply(input: &mut Vec<u8>, [what, high, low, length, with]: [u8; 5]) {
    let place = usize::from(high) * 256 + usize::from(low);
    // The ends of a message are as interesting as its middle.
    let at = match what & 0x60 {
        0 => place.min(input.len()),
        _ => place % (input.len() + 1),
    };
    let end = (at + usize::from(length)).min(input.len());
    let word = WORDS[usize::from(with) % WORDS.len()];
    match what % 8 {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = with;
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << (with % 8);
            }
        }
        2 => input.insert(at, with),
        3 => drop(input.drain(at..end)),
        4 => drop(input.splice(at..at, word.iter().copied())),
        5 => drop(input.splice(at..end, word.iter().copied())),
        6 => {
            let copy = input[at..end].to_vec();
            let times = usize::from(with % 16) + 1;
            drop(input.splice(at..at, copy.repeat(times)));
        }
        _ => input.truncate(at),
    }
}

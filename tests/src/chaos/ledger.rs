//! What the tasks themselves wrote down: who ran what, and when.
//!
//! Every run appends a line when it begins and one when it ends, each in one `write` on a file opened for appending, so
//! that lines of many processes never mix and what a killed process wrote stays. Nothing here goes through Redis, which
//! may be the one that is away.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// The variable that names the ledger's file to a worker.
pub const FILE: &str = "CHAOS_LEDGER";
/// The variable that names a worker to itself.
pub const WORKER: &str = "CHAOS_WORKER";

/// Microseconds since 1970, the time of every line; all processes are on one machine.
///
/// # Panics
/// When the clock stands before 1970.
pub fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is after 1970");
    u64::try_from(since.as_micros()).expect("it is before the year 580000")
}

/// The name of this worker, as its starter gave it.
pub fn worker() -> String {
    std::env::var(WORKER).unwrap_or_default()
}

/// Notes in a worker that a run begins (`B`) or ends (`E`).
///
/// # Panics
/// When the ledger is not named or cannot be written: a run that is not noted would be a false alarm later.
pub fn note(what: char, id: &str, attempt: u32) {
    static LEDGER: OnceLock<(File, String)> = OnceLock::new();
    let (file, worker) = LEDGER.get_or_init(|| {
        let path = std::env::var_os(FILE).expect("CHAOS_LEDGER names the ledger");
        let file = OpenOptions::new().append(true).open(path);
        (file.expect("the ledger can be opened"), worker())
    });
    let line = format!("{what} {id} {attempt} {worker} {}\n", now());
    let written = (&mut &*file).write(line.as_bytes());
    assert_eq!(
        written.expect("the ledger can be written"),
        line.len(),
        "a line is written at once"
    );
}

/// One run of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The task.
    pub id: String,
    /// How often it was retried before.
    pub attempt: u32,
    /// Who ran it.
    pub worker: String,
    /// When it began, see [`now`].
    pub began: u64,
    /// When its code ended; `None` when it was cut off.
    pub ended: Option<u64>,
}

/// The file, from the side of the test.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
}

impl Ledger {
    /// An empty ledger in a folder.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new(folder: &Path) -> Self {
        let path = folder.join("ledger");
        File::create(&path).expect("the temporary folder is writable");
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All runs so far, in the order in which they began.
    ///
    /// # Panics
    /// When it cannot be read, or holds what no run writes.
    pub fn runs(&self) -> Vec<Run> {
        let text = fs::read_to_string(&self.path).expect("the ledger can be read");
        runs_in(&text)
    }

    /// Follows the begins from now on.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub fn follow(&self) -> Follower {
        let mut file = File::open(&self.path).expect("the ledger can be opened");
        file.seek(SeekFrom::End(0)).expect("a file can be sought");
        Follower {
            file,
            rest: String::new(),
        }
    }
}

/// Hears of the runs that begin.
#[derive(Debug)]
pub struct Follower {
    file: File,
    rest: String,
}

impl Follower {
    /// The runs that began since the last call.
    ///
    /// # Panics
    /// When the ledger cannot be read.
    pub fn begun(&mut self) -> Vec<Run> {
        let mut new = String::new();
        self.file
            .read_to_string(&mut new)
            .expect("the ledger can be read");
        self.rest.push_str(&new);
        let whole = self.rest.rfind('\n').map_or(0, |at| at + 1);
        let lines: String = self.rest.drain(..whole).collect();
        lines
            .lines()
            .filter_map(Line::parse)
            .filter(|line| line.begins)
            .map(Line::run)
            .collect()
    }
}

struct Line<'a> {
    begins: bool,
    id: &'a str,
    attempt: u32,
    worker: &'a str,
    at: u64,
}

impl<'a> Line<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut words = text.split(' ');
        let line = Self {
            begins: words.next()? == "B",
            id: words.next()?,
            attempt: words.next()?.parse().ok()?,
            worker: words.next()?,
            at: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(line)
    }

    fn run(self) -> Run {
        Run {
            id: self.id.to_owned(),
            attempt: self.attempt,
            worker: self.worker.to_owned(),
            began: self.at,
            ended: None,
        }
    }
}

fn runs_in(text: &str) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut open: HashMap<(&str, u32, &str), Vec<usize>> = HashMap::new();
    for text in text.lines() {
        let line = Line::parse(text).unwrap_or_else(|| panic!("the ledger holds {text:?}"));
        let key = (line.id, line.attempt, line.worker);
        if line.begins {
            open.entry(key).or_default().push(runs.len());
            runs.push(line.run());
        } else {
            let begun = open.get_mut(&key).and_then(Vec::pop);
            let begun = begun.unwrap_or_else(|| panic!("{text:?} ends what never began"));
            runs[begun].ended = Some(line.at);
        }
    }
    runs.sort_by_key(|run| run.began);
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_belongs_to_the_run_of_its_worker() {
        let runs = runs_in("B a 0 w1 10\nB a 0 w2 20\nE a 0 w2 25\nB a 1 w1 30\n");
        let ends: Vec<_> = runs.iter().map(|run| (run.attempt, run.ended)).collect();
        assert_eq!(ends, [(0, None), (0, Some(25)), (1, None)]);
    }
}

//! Hours of mixed load: memory and file descriptors of the worker stay flat.

use std::fs;
use std::time::{Duration, Instant};

use super::crew::Recipe;
use super::load::Mix;
use super::report::Outcome;
use super::world::{Extent, World};
use crate::redis_server::RedisServer;

/// How often is looked.
const EVERY: Duration = Duration::from_secs(1);
/// The share of the time in which the worker may still grow: pools and buffers find their sizes.
const WARM_UP: f64 = 0.2;
/// By so much the memory may grow after the warm-up, over the whole rest, in MiB.
const MORE_MEMORY: f64 = 4.0;
/// By so much the number of open files may vary after the warm-up.
const MORE_FILES: f64 = 6.0;

/// One look at a process.
#[derive(Debug, Clone, Copy)]
struct Sample {
    second: f64,
    /// Resident memory in MiB.
    memory: f64,
    files: f64,
}

/// Runs one worker for as many minutes as there are rounds, with tasks of all kinds, and looks at it every second.
///
/// # Panics
/// When a task is lost or runs twice, or the worker grows.
pub fn soak(extent: Extent) -> Outcome {
    let recipe = Recipe {
        lease: Duration::from_secs(6),
        concurrency: 50,
        ..Recipe::default()
    };
    let mut world = World::new(extent, RedisServer::start(), recipe);
    world.crew.hire();
    let pid = world.crew.members()[0].pid();
    world.produce(Mix {
        seconds: 0.0..0.1,
        retrying: (0.2, 3),
        countdown: 0.05..1.0,
        eta: (0.1, 0.1..5.0),
        backlog: 100,
        rate: 300.0,
        ..Mix::default()
    });
    let minutes = u64::try_from(extent.rounds).unwrap_or(u64::MAX);
    let time = Duration::from_secs(minutes.saturating_mul(60));
    let started = Instant::now();
    let mut samples = Vec::new();
    while started.elapsed() < time {
        std::thread::sleep(EVERY);
        samples.push(Sample {
            second: started.elapsed().as_secs_f64(),
            memory: memory(pid),
            files: files(pid),
        });
    }
    let tally = world.conclude();
    assert_eq!(
        tally.repeated, 0,
        "the worker neither died nor lost its lease"
    );
    let warm: Vec<Sample> = samples
        .iter()
        .copied()
        .filter(|sample| sample.second > time.as_secs_f64() * WARM_UP)
        .collect();
    let memory = Course::of(&warm, |sample| sample.memory);
    let files = Course::of(&warm, |sample| sample.files);
    assert!(
        memory.growth() < MORE_MEMORY,
        "the memory grows, in MiB: {memory:?}"
    );
    assert!(
        files.highest - files.lowest < MORE_FILES,
        "the number of open files varies: {files:?}"
    );
    let remark = format!(
        "memory {} MiB, open files {} (begin, middle, end after the warm-up; slope an hour)",
        memory.told(),
        files.told()
    );
    Outcome::new(format!("{minutes} min of mixed load"), tally).remark(remark)
}

/// How a value went.
#[derive(Debug)]
struct Course {
    begin: f64,
    middle: f64,
    end: f64,
    lowest: f64,
    highest: f64,
    /// By least squares, a second.
    slope: f64,
    seconds: f64,
}

impl Course {
    #[expect(clippy::cast_precision_loss, reason = "some thousand samples")]
    fn of(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> Self {
        let part = (samples.len() / 10).max(1);
        let mean = |samples: &[Sample]| {
            samples.iter().map(&value).sum::<f64>() / samples.len().max(1) as f64
        };
        let middle = samples.len().saturating_sub(part) / 2;
        let count = samples.len().max(1) as f64;
        let (x, y) = (
            samples.iter().map(|sample| sample.second).sum::<f64>() / count,
            mean(samples),
        );
        let (mut both, mut square) = (0.0, 0.0);
        for sample in samples {
            both += (sample.second - x) * (value(sample) - y);
            square += (sample.second - x).powi(2);
        }
        let values = samples.iter().map(&value);
        Self {
            begin: mean(&samples[..part.min(samples.len())]),
            middle: mean(&samples[middle..(middle + part).min(samples.len())]),
            end: mean(&samples[samples.len().saturating_sub(part)..]),
            lowest: values.clone().fold(f64::INFINITY, f64::min),
            highest: values.fold(f64::NEG_INFINITY, f64::max),
            slope: if square > 0.0 { both / square } else { 0.0 },
            seconds: samples.last().map_or(0.0, |last| last.second)
                - samples.first().map_or(0.0, |first| first.second),
        }
    }

    /// What the slope makes of the time that was looked at.
    fn growth(&self) -> f64 {
        self.slope * self.seconds
    }

    fn told(&self) -> String {
        format!(
            "{:.1} / {:.1} / {:.1}, {:+.2}",
            self.begin,
            self.middle,
            self.end,
            self.slope * 3600.0
        )
    }
}

fn memory(pid: i32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the worker lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.expect("VmRSS is a number") / 1024.0
}

#[expect(clippy::cast_precision_loss, reason = "some dozens of files")]
fn files(pid: i32) -> f64 {
    let folder = fs::read_dir(format!("/proc/{pid}/fd")).expect("the worker lives");
    folder.count() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_seen_through_noise() {
        let sample = |second: u32| Sample {
            second: f64::from(second),
            memory: 10.0 + 0.01 * f64::from(second) + f64::from(second % 3),
            files: 20.0,
        };
        let samples: Vec<Sample> = (0..1000).map(sample).collect();
        let memory = Course::of(&samples, |sample| sample.memory);
        assert!((memory.growth() - 10.0).abs() < 0.1, "{memory:?}");
        let files = Course::of(&samples, |sample| sample.files);
        assert_eq!((files.growth(), files.highest), (0.0, 20.0));
    }
}

//! The chaos scenarios for as long as one likes; `scripts/chaos` runs it.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::panic;
use std::process::ExitCode;
use std::time::Instant;

use lovage_integration_tests::chaos::report::{self, Outcome};
use lovage_integration_tests::chaos::world::Extent;
use lovage_integration_tests::chaos::{SCENARIOS, Scenario};

/// What the command line asks for.
#[derive(Debug, Default)]
struct Wishes {
    rounds: Option<usize>,
    minutes: Option<usize>,
    seed: Option<u64>,
    scenarios: HashSet<String>,
    markdown: Option<String>,
    brief: bool,
}

impl Wishes {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut wishes = Self::default();
        while let Some(word) = words.next() {
            if word == "--brief" {
                wishes.brief = true;
                continue;
            }
            let value = words.next().ok_or(format!("{word} needs a value"))?;
            let number = || {
                let number = value.parse::<usize>();
                number.map_err(|_| format!("{word} {value}: a number is needed"))
            };
            match word.as_str() {
                "--rounds" => wishes.rounds = Some(number()?),
                "--minutes" => wishes.minutes = Some(number()?),
                "--seed" => {
                    let seed = value.parse();
                    wishes.seed =
                        Some(seed.map_err(|_| format!("--seed {value}: a number is needed"))?);
                }
                "--markdown" => wishes.markdown = Some(value),
                "--scenario" => {
                    if !SCENARIOS.iter().any(|scenario| scenario.name == value) {
                        let names: Vec<&str> = SCENARIOS.iter().map(|known| known.name).collect();
                        return Err(format!(
                            "there is no scenario {value}; known are {}",
                            names.join(", ")
                        ));
                    }
                    wishes.scenarios.insert(value);
                }
                _ => return Err(format!("{word} is not known; see scripts/chaos --help")),
            }
        }
        Ok(wishes)
    }

    fn wants(&self, scenario: &Scenario) -> bool {
        self.scenarios.is_empty() || self.scenarios.contains(scenario.name)
    }

    /// The rounds of a scenario are minutes for the soak.
    fn rounds(&self, scenario: &Scenario) -> usize {
        let asked = if scenario.in_minutes {
            self.minutes
        } else {
            self.rounds
        };
        asked.unwrap_or(if self.brief {
            scenario.rounds.0
        } else {
            scenario.rounds.1
        })
    }
}

fn main() -> ExitCode {
    let mut output = std::io::stdout();
    let mut say = move |line: &str| {
        // Nobody listens any more: then nobody misses it.
        let _ = writeln!(output, "{line}");
        let _ = output.flush();
    };
    let wishes = match Wishes::read(std::env::args().skip(1)) {
        Ok(wishes) => wishes,
        Err(wrong) => {
            say(&wrong);
            return ExitCode::from(2);
        }
    };
    let mut table = String::from(report::HEAD);
    say(report::HEAD);
    let mut failed = Vec::new();
    for scenario in SCENARIOS.iter().filter(|scenario| wishes.wants(scenario)) {
        let extent = Extent {
            seed: wishes.seed.unwrap_or_else(|| fastrand::u64(..1_000_000)),
            rounds: wishes.rounds(scenario),
        };
        let started = Instant::now();
        // What is found has been told by the panic; the others are to be played all the same.
        let played: Result<Outcome, _> = panic::catch_unwind(|| (scenario.play)(extent));
        if let Ok(outcome) = played {
            let seconds = started.elapsed().as_secs();
            let row = report::row(scenario.name, &outcome, seconds, extent.seed);
            say(&row);
            table.push('\n');
            table.push_str(&row);
        } else {
            say(&format!(
                "| {} | FAILED: --scenario {} --rounds {} --seed {} |",
                scenario.name, scenario.name, extent.rounds, extent.seed
            ));
            failed.push(scenario.name);
        }
    }
    if !failed.is_empty() {
        say(&format!("a fault was found by: {}", failed.join(", ")));
        return ExitCode::FAILURE;
    }
    if let Some(path) = wishes.markdown
        && let Err(error) = fs::write(&path, table + "\n")
    {
        say(&format!("{path} cannot be written: {error}"));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

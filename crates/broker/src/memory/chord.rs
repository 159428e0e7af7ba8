//! Chords in memory, with the keys of Celery's Redis backend as fields.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use bytes::Bytes;
use lovage_protocol::Clock;

use super::{MemoryResults, state::unix_time};
use crate::{ChordPart, OpenChord, ResultWrite};

/// For how long an ended chord is remembered.
const DONE: Duration = Duration::from_secs(300);

/// All chords, by group key.
#[derive(Debug, Default)]
pub(super) struct Chords {
    chords: HashMap<String, Chord>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Chord {
    /// With the index it sorts by.
    members: Vec<(f64, Bytes)>,
    counted: HashSet<String>,
    claim: Option<Claim>,
    /// Kept until it is ended.
    body: Option<Bytes>,
}

#[derive(Debug)]
struct Claim {
    token: Option<String>,
    /// Unix time in seconds.
    until: f64,
}

/// Where the producer writes how many header tasks there are: `<group key>.s`, as on Redis.
fn size_key(group_key: &str) -> String {
    format!("{group_key}.s")
}

impl Chords {
    pub(super) fn with_clock(clock: Clock) -> Self {
        Self {
            clock,
            ..Self::default()
        }
    }

    /// Forgets claims that ran out; gives the time.
    fn expire(&mut self) -> f64 {
        let now = unix_time(&self.clock);
        for chord in self.chords.values_mut() {
            chord.claim.take_if(|claim| claim.until <= now);
        }
        now
    }

    pub(super) fn members(&self, group_key: &str) -> Vec<Bytes> {
        let members = self
            .chords
            .get(group_key)
            .map(|chord| chord.members.as_slice())
            .unwrap_or_default();
        members.iter().map(|(_, member)| member.clone()).collect()
    }

    pub(super) fn parts(&self, group_key: &str) -> Vec<(f64, Bytes)> {
        let chord = self.chords.get(group_key);
        chord.map_or_else(Vec::new, |chord| chord.members.clone())
    }

    /// One that has not been ended.
    pub(super) fn open(&self, group_key: &str, results: &MemoryResults) -> Option<OpenChord> {
        let number = |suffix: &str| {
            let value = results.get(&format!("{group_key}{suffix}"))?;
            std::str::from_utf8(&value).ok()?.parse::<u64>().ok()
        };
        let now = unix_time(&self.clock);
        let chord = self.chords.get(group_key);
        let claim = chord.and_then(|chord| chord.claim.as_ref());
        Some(OpenChord {
            group_key: group_key.to_owned(),
            size: number(".s")? + number(".t").unwrap_or(0),
            returned: chord.map_or(0, |chord| chord.members.len() as u64),
            left: None,
            claimed: claim.is_some_and(|claim| claim.until > now),
            body: chord.and_then(|chord| chord.body.clone()),
        })
    }

    /// Records a part; gives true when it completes the chord and the claim is now `token`'s.
    pub(super) fn part(&mut self, part: &ChordPart, token: &str, results: &MemoryResults) -> bool {
        let now = self.expire();
        let chord = self.chords.entry(part.group_key.clone()).or_default();
        if chord
            .claim
            .as_ref()
            .is_some_and(|claim| claim.token.is_none())
        {
            return false;
        }
        let index = part.index.unwrap_or(f64::INFINITY);
        if chord.counted.insert(format!("{}:{index}", part.task_id)) {
            chord.members.retain(|(_, member)| *member != part.member);
            chord.members.push((index, part.member.clone()));
            chord
                .members
                .sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
            let key = format!("{}.t", part.group_key);
            let before = results.get(&key);
            let before =
                before.and_then(|text| std::str::from_utf8(&text).ok()?.parse::<u64>().ok());
            if part.more > 0 {
                results.set(&ResultWrite {
                    key,
                    value: (before.unwrap_or(0) + part.more).to_string().into(),
                    expires: part.expires,
                    place: part.place.clone(),
                });
            }
        }
        let number = |suffix: &str| {
            let value = results.get(&format!("{}{suffix}", part.group_key))?;
            std::str::from_utf8(&value).ok()?.parse::<usize>().ok()
        };
        let complete = number(".s")
            .is_some_and(|size| chord.members.len() == size + number(".t").unwrap_or(0));
        if !complete && number(".s").is_some() {
            chord.body.get_or_insert_with(|| part.body.clone());
        }
        // The same task's claim is one that its worker died with.
        let own = format!("{}:", part.task_id);
        let taken = chord.claim.as_ref().is_some_and(|claim| {
            !claim
                .token
                .as_ref()
                .is_some_and(|token| token.starts_with(&own))
        });
        if !complete || taken {
            return false;
        }
        chord.claim = Some(Claim {
            token: Some(token.to_owned()),
            until: now + part.claim.as_secs_f64(),
        });
        true
    }

    /// Ends a chord while the claim is the token's, or nobody's.
    pub(super) fn close(
        &mut self,
        group_key: &str,
        token: &str,
        failed: bool,
        results: &MemoryResults,
    ) -> bool {
        let now = self.expire();
        let chord = self.chords.entry(group_key.to_owned()).or_default();
        let ours = match &chord.claim {
            Some(claim) => claim.token.as_deref() == Some(token),
            None => results.get(&size_key(group_key)).is_some(),
        };
        if !ours {
            return false;
        }
        results.remove(&size_key(group_key));
        chord.body = None;
        if !failed {
            results.remove(&format!("{group_key}.t"));
            chord.members.clear();
            chord.counted.clear();
            chord.claim = Some(Claim {
                token: None,
                until: now + DONE.as_secs_f64(),
            });
        }
        true
    }
}

//! Chords that wait for what will never come: a member whose messages are gone, or an end that nobody has brought about.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use chrono::TimeDelta;
use futures::FutureExt;
use lovage_broker::{Broker, OpenChord};
use lovage_client::{Client, Moment, Outgoing, canvas};
use lovage_protocol::{
    DecodeOptions, Map, Message, QueueName, Signature, State, TaskId, Value, parse_stored,
};
use lovage_results::ResultStore;
use lovage_settings::Settings;
use serde_json::json;

use super::{
    finding::{Finding, Repair},
    verdict::{Facts, Returned, StandIn, Verdict, judge},
};
use crate::{connect::Connected, failure::Failure, output};

const CHECK: &str = "stuck-chord";

/// Looks for chords that stand still.
pub(super) async fn look(
    connected: &Connected,
    settings: &Settings,
    quiet_for: Duration,
    queue: Option<&QueueName>,
) -> Result<Vec<Finding>, Failure> {
    let Connected {
        broker,
        results,
        client,
    } = connected;
    let Some(place) = results
        .place()
        .filter(|place| broker.shares_server_with(place))
    else {
        // Nothing counts chords there.
        return Ok(Vec::new());
    };
    let keys = results.group_key("");
    let life = settings.results.chord_expires.or(settings.results.expires);
    let open = async || broker.survey().open_chords(&place, &keys).await;
    let mut still = HashMap::new();
    for chord in open().await? {
        let quiet = quiet(&chord, life);
        if !chord.claimed && quiet.is_none_or(|quiet| quiet >= quiet_for) {
            let group = chord.group_key.strip_prefix(&keys).unwrap_or_default();
            still.insert(group.to_owned(), (chord, quiet));
        }
    }
    // What moves while it is looked for may be missed, though not every time.
    for _ in 0..2 {
        let groups: HashSet<String> = still.keys().cloned().collect();
        let living = living(&**broker, &groups).await?;
        still.retain(|group, _| !living.contains(group));
    }
    if still.is_empty() {
        return Ok(Vec::new());
    }
    let after = open().await?;
    still.retain(|_, (chord, _)| after.contains(chord) || after.iter().any(|now| same(now, chord)));
    let groups: HashSet<String> = still.keys().cloned().collect();
    let mut stored: HashMap<String, Vec<_>> = HashMap::new();
    for meta in results.of_groups(&groups).await? {
        if let Some(group) = meta.group_id.clone() {
            let row = (meta.task_id, meta.status, meta.result);
            stored.entry(group).or_default().push(row);
        }
    }
    let mut letters = letters(&**broker, &groups).await?;
    let mut findings = Vec::new();
    for (group, (chord, quiet)) in still {
        let parts = broker.survey().parts(&place, &chord.group_key).await?;
        let saved = results.load_group(&chord.group_key).await?;
        let facts = Facts {
            size: chord.size,
            parts: parts.into_iter().filter_map(returned).collect(),
            stored: stored.remove(&group).unwrap_or_default(),
            saved: saved.map(|saved| leaves(&saved)),
        };
        let (kept, buried) = letters.remove(&group).unwrap_or_default();
        let body = chord.body.as_deref().and_then(signature).or(kept);
        if ended(&**results, body.as_ref()).await? {
            continue;
        }
        let case = Case {
            group,
            chord,
            quiet,
            facts,
            body,
            buried,
        };
        findings.push(case.finding(client, queue));
    }
    findings.sort_by(|a, b| a.subject.cmp(&b.subject));
    Ok(findings)
}

/// For how long no part has returned: its keys live on from there. `None` when that cannot be told.
fn quiet(chord: &OpenChord, life: Option<Duration>) -> Option<Duration> {
    Some(life?.saturating_sub(chord.left?))
}

/// Nothing has returned meanwhile.
fn same(now: &OpenChord, before: &OpenChord) -> bool {
    now.group_key == before.group_key && now.returned == before.returned && !now.claimed
}

/// Those of these groups that a message somewhere speaks of: its own, or in what is to follow it.
async fn living(broker: &dyn Broker, groups: &HashSet<String>) -> Result<HashSet<String>, Failure> {
    let mut found = HashSet::new();
    if groups.is_empty() {
        return Ok(found);
    }
    let mut see = |raw: &[u8]| {
        for group in spoken_of(raw) {
            if groups.contains(&group) {
                found.insert(group);
            }
        }
    };
    let survey = broker.survey();
    survey.messages(&mut |kept| see(&kept.raw)).await?;
    Ok(found)
}

/// The texts in a message that may name a group.
fn spoken_of(raw: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    let Ok(message) = Message::parse_with(raw, &DecodeOptions::any()) else {
        return texts;
    };
    texts.extend(message.headers.group.clone());
    if let Ok(body) = message.decode_body(&DecodeOptions::any()) {
        collect(&Value::Map(body.embed.raw), &mut texts);
        collect(&Value::Map(body.kwargs), &mut texts);
        collect(&body.args, &mut texts);
    }
    texts
}

fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::Str(text) => texts.push(text.clone()),
        Value::List(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Map(map) => map.values().for_each(|item| collect(item, texts)),
        _ => {}
    }
}

/// Of each group the body that a dead letter of it knows, and the ids of its dead letters.
type Letters = HashMap<String, (Option<Signature>, Vec<String>)>;

/// So many dead letters are read at once.
const PAGE: usize = 200;

async fn letters(broker: &dyn Broker, groups: &HashSet<String>) -> Result<Letters, Failure> {
    let mut found = Letters::new();
    let mut offset = 0;
    loop {
        let page = broker.dead_letters().list(offset, PAGE).await?;
        let read = page.len();
        for letter in page {
            for group in spoken_of(&letter.raw) {
                if !groups.contains(&group) {
                    continue;
                }
                let (body, ids) = found.entry(group.clone()).or_default();
                *body = body.take().or_else(|| own_body(&letter.raw, &group));
                if ids.last() != Some(&letter.id) {
                    ids.push(letter.id.clone());
                }
            }
        }
        if read < PAGE {
            return Ok(found);
        }
        offset += read;
    }
}

/// The body of the chord whose member a message is.
fn own_body(raw: &[u8], group: &str) -> Option<Signature> {
    let message = Message::parse_with(raw, &DecodeOptions::any()).ok()?;
    if message.headers.group.as_deref() != Some(group) {
        return None;
    }
    let body = message.decode_body(&DecodeOptions::any()).ok()?;
    body.embed.chord().ok()?
}

fn signature(json: &[u8]) -> Option<Signature> {
    Signature::from_value(Value::from_json(json).ok()?).ok()
}

/// A recorded part, `[1, id, state, result]`.
fn returned((score, raw): (f64, bytes::Bytes)) -> Option<Returned> {
    let Ok(Value::List(fields)) = parse_stored(&raw) else {
        return None;
    };
    let [_, Value::Str(id), Value::Str(state), value] = <[Value; 4]>::try_from(fields).ok()? else {
        return None;
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an index is a small whole number"
    )]
    let index = score.is_finite().then_some(score as i64);
    Some(Returned {
        id: id.into(),
        state: State::from(state.as_str()),
        value,
        index,
    })
}

/// The tasks in the reference of a saved group.
fn leaves(group: &Value) -> Vec<TaskId> {
    let Some([own, members]) = group.as_list() else {
        return Vec::new();
    };
    match members.as_list() {
        Some(members) => members.iter().flat_map(leaves).collect(),
        None => {
            let id = own.as_list().and_then(|own| own.first()?.as_str());
            id.map(TaskId::from).into_iter().collect()
        }
    }
}

/// Whether the body's result is known already: whoever waits has been told, as when a member cost too many workers.
async fn ended(results: &dyn ResultStore, body: Option<&Signature>) -> Result<bool, Failure> {
    let id = body.and_then(|body| canvas::given(body, "task_id")?.as_str());
    let Some(id) = id.map(TaskId::from) else {
        return Ok(false);
    };
    let meta = results.load(&id).await?;
    Ok(meta.is_some_and(|meta| meta.status.is_ready()))
}

/// A chord that stands still, and all that is known of it.
struct Case {
    group: String,
    chord: OpenChord,
    quiet: Option<Duration>,
    facts: Facts,
    body: Option<Signature>,
    buried: Vec<String>,
}

impl Case {
    fn finding(self, client: &Client, queue: Option<&QueueName>) -> Finding {
        let verdict = judge(&self.group, &self.facts);
        let OpenChord { size, returned, .. } = self.chord;
        let since = match self.quiet {
            Some(quiet) => format!("no part has returned for {}", output::duration(quiet)),
            None => "its keys have no end, so that nobody knows for how long".to_owned(),
        };
        let missing = size.saturating_sub(returned);
        let mut text = match (&verdict, self.buried.len()) {
            (Verdict::End(_), _) => {
                format!("all of its {size} parts are there, and its body was never sent")
            }
            (Verdict::Finish(_), _) => format!(
                "waits for {missing} of {size} parts, whose results are stored and were never counted"
            ),
            (Verdict::Fail(_), 0) => {
                format!("waits for {missing} of {size} parts, and no message of it exists any more")
            }
            (Verdict::Fail(_), buried) => format!(
                "waits for {missing} of {size} parts, and {buried} of its messages lie among the dead letters"
            ),
        };
        text.push_str("; ");
        text.push_str(&since);
        let body_id = self.body.as_ref();
        let body_id = body_id.and_then(|body| canvas::given(body, "task_id")?.as_str());
        let act = match &verdict {
            Verdict::End(_) | Verdict::Finish(_) => "finishes",
            Verdict::Fail(_) => "fails",
        };
        let known = self.body.is_some();
        let remedy = match (known, self.buried.first()) {
            (false, _) => "its body is known to nobody: no worker of Lovage has returned a part of it; send the workflow anew".to_owned(),
            (true, Some(letter)) => format!("`lovage dlq replay {letter}` runs its member again; `lovage doctor --fix` {act} it"),
            (true, None) => format!("`lovage doctor --fix` {act} it"),
        };
        let facts = json!({
            "group": self.group, "size": size, "returned": returned, "body": body_id, "end": act,
            "quiet": self.quiet.map(|quiet| quiet.as_secs_f64()), "dead_letters": self.buried,
        });
        let repair = self.body.map(|body| {
            repair(
                client.clone(),
                self.group.clone(),
                body,
                verdict,
                queue.cloned(),
            )
        });
        Finding {
            check: CHECK,
            subject: self.group,
            text,
            remedy,
            facts,
            repair,
            hint: false,
        }
    }
}

/// Sends what stands in for the members. A worker runs it, returns the parts, and ends the chord by all of its rules.
fn repair(
    client: Client,
    group: String,
    body: Signature,
    verdict: Verdict,
    queue: Option<QueueName>,
) -> Repair {
    let would = match &verdict {
        Verdict::End(_) => "return one of its parts once more, so that a worker ends it".to_owned(),
        Verdict::Finish(all) => format!("return {} stored results for it", all.len()),
        Verdict::Fail(lost) => {
            format!("let it fail with ChordError for {} lost parts", lost.len())
        }
    };
    let run = async move {
        let (fails, stand_ins) = match verdict {
            Verdict::End(one) => (one.value.is_none(), vec![one]),
            Verdict::Finish(all) => (false, all),
            Verdict::Fail(lost) => (true, lost),
        };
        let own = canvas::given(&body, "queue").and_then(Value::as_str);
        let queue = queue.or_else(|| QueueName::parse(own?).ok());
        let client = Arc::new(client);
        for stand_in in &stand_ins {
            let call = message(stand_in, &group, &body, queue.clone(), &client);
            client.send_outgoing::<Value>(call).await?;
        }
        let what = if fails { "fails" } else { "sends" };
        let sent = u64::try_from(stand_ins.len()).unwrap_or(u64::MAX);
        Ok(format!(
            "sent {} in place of what is missing; the worker that takes the last one {what} the body",
            output::count(sent, "message")
        ))
    }
    .boxed();
    Repair { would, run }
}

/// A task that every worker of either kind has, in the seat of a member: it gives the member's result back, or has expired.
fn message(
    of: &StandIn,
    group: &str,
    body: &Signature,
    queue: Option<QueueName>,
    client: &Client,
) -> Outgoing {
    let mut call = Outgoing::new("celery.accumulate");
    call.id = Some(of.id.clone());
    match &of.value {
        Some(value) => {
            call.args = vec![value.clone()];
            call.kwargs = Map::from_iter([("index".to_owned(), Value::Int(0))]);
        }
        None => call.expires = Some(Moment::from(client.clock().now() - TimeDelta::seconds(1))),
    }
    call.group = Some(group.to_owned());
    call.group_index = of.index;
    call.embed = call.embed.with_chord(Some(body));
    // The member's own result stays as it is.
    call.ignore_result = Some(true);
    call.queue = queue;
    call
}

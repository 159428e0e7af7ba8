//! What Redis can do for the commands of a drain when nobody decodes or runs anything: batches are taken and held by one
//! script, and ended by one pipeline. Two connections keep the server busy. Arguments: the socket, and `results` or
//! `ignored`; or `answer`, which answers each message at once for as long as it is left running: what a task costs its
//! caller when the worker costs nothing.

use std::io::Write;
use std::thread;
use std::time::Instant;

use redis::{Connection, Script};

const BATCH: usize = 100;

/// Pops a batch and records it as kombu does.
const FETCH: &str = r"
local raws = redis.call('RPOP', KEYS[1], ARGV[2])
if not raws then return {} end
local held, index = {}, {}
local now = redis.call('TIME')
local score = now[1] .. '.' .. string.format('%06d', now[2])
for i, raw in ipairs(raws) do
    local tag = ARGV[1] .. (tonumber(ARGV[3]) + i)
    held[#held + 1] = tag
    held[#held + 1] = '[' .. raw .. ', \x22\x22, \x22celery\x22]'
    index[#index + 1] = score
    index[#index + 1] = tag
end
redis.call('HSET', 'unacked', unpack(held))
redis.call('ZADD', 'unacked_index', unpack(index))
return raws";

fn main() -> redis::RedisResult<()> {
    let mut arguments = std::env::args().skip(1);
    let socket = arguments.next().expect("the socket is the first argument");
    let mode = arguments
        .next()
        .expect("results, ignored or answer is the second argument");
    if mode == "answer" {
        return answer(
            &mut redis::Client::open(format!("redis+unix://{socket}"))?.get_connection()?,
        );
    }
    let results = mode == "results";
    let started = Instant::now();
    let threads: Vec<_> = (0..2)
        .map(|number| {
            let url = format!("redis+unix://{socket}");
            thread::spawn(move || {
                drain(
                    &mut redis::Client::open(url)?.get_connection()?,
                    number,
                    results,
                )
            })
        })
        .collect();
    let mut total = 0;
    for thread in threads {
        total += thread.join().expect("the thread does not panic")?;
    }
    let rate = f64::from(total) / started.elapsed().as_secs_f64();
    writeln!(
        std::io::stdout(),
        r#"{{"tasks": {total}, "tasks_per_second": {rate:.1}}}"#
    )
    .expect("standard output is open");
    Ok(())
}

fn drain(connection: &mut Connection, number: usize, results: bool) -> redis::RedisResult<u32> {
    let script = Script::new(FETCH);
    let prefix = format!("bench-{number}:");
    let mut total: u32 = 0;
    loop {
        let raws: Vec<Vec<u8>> = script
            .key("celery")
            .arg(&prefix)
            .arg(BATCH)
            .arg(total)
            .invoke(connection)?;
        if raws.is_empty() {
            return Ok(total);
        }
        let mut end = redis::pipe();
        let mut tags = Vec::with_capacity(raws.len());
        for raw in &raws {
            total += 1;
            tags.push(format!("{prefix}{total}"));
            if results {
                let id = id_of(raw);
                let (key, record) = record_of(id);
                end.cmd("SETEX").arg(&key).arg(86_400).arg(&record).ignore();
                end.cmd("PUBLISH").arg(&key).arg(&record).ignore();
            }
        }
        end.cmd("HDEL").arg("unacked").arg(&tags).ignore();
        end.cmd("ZREM").arg("unacked_index").arg(&tags).ignore();
        end.exec(connection)?;
    }
}

/// The task's id: the 36 bytes after `"id": "`.
fn id_of(raw: &[u8]) -> &str {
    let mark = br#""id": ""#;
    let start = raw
        .windows(mark.len())
        .position(|window| window == mark)
        .expect("a message has an id")
        + mark.len();
    std::str::from_utf8(&raw[start..start + 36]).expect("an id is text")
}

/// The key and the record of a no-op's success.
fn record_of(id: &str) -> (String, String) {
    let record = format!(
        r#"{{"status": "SUCCESS", "result": null, "traceback": null, "children": [], "date_done": "2026-01-01T00:00:00.000000+00:00", "task_id": "{id}"}}"#
    );
    (format!("celery-task-meta-{id}"), record)
}

fn answer(connection: &mut Connection) -> redis::RedisResult<()> {
    writeln!(std::io::stdout(), "ready").expect("standard output is open");
    loop {
        let popped: Option<(String, Vec<u8>)> =
            redis::cmd("BRPOP").arg("celery").arg(1).query(connection)?;
        if let Some((_, raw)) = popped {
            let (key, record) = record_of(id_of(&raw));
            let mut end = redis::pipe();
            end.cmd("SETEX").arg(&key).arg(86_400).arg(&record).ignore();
            end.cmd("PUBLISH").arg(&key).arg(&record).ignore();
            end.exec(connection)?;
        }
    }
}

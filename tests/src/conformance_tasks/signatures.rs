//! Signatures as values that tasks return and read.

use celery::error::TaskError;
use lovage::client::canvas::{chain, chord, chord_parts, group, subtasks};
use lovage::protocol::{Map, Signature, Value};
use lovage::{RawTask, signal};

use super::named;
use super::parameters::task;

/// A signature of a task of the suite.
pub(super) fn sig(name: &str, args: Vec<Value>) -> Signature {
    Signature::new(named(name), args, Map::new())
}

/// The same, which takes nothing more.
pub(super) fn fixed(name: &str, args: Vec<Value>) -> Signature {
    let mut signature = sig(name, args);
    signature.immutable = true;
    signature
}

fn nested(kind: &str, inner: Signature) -> Signature {
    match kind {
        "chain" => chain([inner]),
        "group" => group([inner]),
        _ => chord([inner], &sig("add", Vec::new())),
    }
}

/// Celery takes a chain or group of one for what is in it only when it is run, but unrolls what is nested in its own kind.
fn returned(outer: &str, inner: &str) -> Signature {
    nested(outer, nested(inner, sig("add", Vec::new())))
}

fn walk(signature: &Signature) -> Result<(), TaskError> {
    let wrong =
        |error: lovage::protocol::SignatureError| signal::raise("TypeError", error.to_string());
    match signature.subtask_type.as_deref() {
        Some("chain" | "group") => subtasks(signature)
            .map_err(wrong)?
            .iter()
            .try_for_each(walk),
        Some("chord") => {
            let (header, body) = chord_parts(signature).map_err(wrong)?;
            header.members.iter().try_for_each(walk)?;
            walk(&body)
        }
        _ => Ok(()),
    }
}

pub(super) fn tasks() -> Vec<RawTask> {
    let kinds = ["chain", "group", "chord"];
    let pairs = kinds
        .iter()
        .flat_map(|outer| kinds.iter().map(move |inner| (*outer, *inner)));
    let mut tasks: Vec<RawTask> = pairs
        .map(|(outer, inner)| {
            let name = named(&format!("return_nested_signature_{outer}_{inner}"));
            task(&name, "", move |_| async move {
                Ok(returned(outer, inner).to_value())
            })
        })
        .collect();
    tasks.push(task(
        &named("rebuild_signature"),
        "sig_dict",
        |mut bound| async move {
            let signature = Signature::from_value(bound.take(0));
            let signature =
                signature.map_err(|error| signal::raise("TypeError", error.to_string()))?;
            walk(&signature)?;
            Ok(Value::Null)
        },
    ));
    tasks
}

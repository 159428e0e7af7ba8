//! Tasks that send canvases, and that add to their chords.

use celery::error::TaskError;
use lovage::client::canvas::{chain, chord, group};
use lovage::protocol::{Signature, Value};
use lovage::{Context, RawTask, signal};

use super::named;
use super::parameters::{Bound, task};
use super::signatures::sig;

async fn send(context: &Context, canvas: &Signature) -> Result<Value, TaskError> {
    let sent = context.client().apply(canvas).await;
    let sent = sent.map_err(|error| signal::raise("OSError", error.to_string()))?;
    Ok(sent.reference)
}

fn add(args: impl IntoIterator<Item = Value>) -> Signature {
    sig("add", args.into_iter().collect())
}

fn sums(bound: &Bound) -> Vec<Signature> {
    let value = &bound.values[1];
    let numbers = bound.items(0).into_iter();
    numbers.map(|number| add([number, value.clone()])).collect()
}

fn join(context: &Context, signature: Signature) -> Result<(), TaskError> {
    let joined = context.add_to_chord(signature);
    joined.map_err(|error| signal::raise("ValueError", error.to_string()))
}

pub(super) fn tasks() -> Vec<RawTask> {
    vec![
        task(&named("chain_add"), "x, y", |mut bound| async move {
            let (x, y) = (bound.take(0), bound.take(1));
            send(&bound.context, &chain([add([x.clone(), x]), add([y])])).await?;
            Ok(Value::Null)
        }),
        task(&named("chord_add"), "x, y", |mut bound| async move {
            let (x, y) = (bound.take(0), bound.take(1));
            send(&bound.context, &chord([add([x.clone(), x])], &add([y]))).await?;
            Ok(Value::Null)
        }),
        task(
            &named("add_to_all_to_chord"),
            "nums, val",
            |bound| async move {
                for one in sums(&bound) {
                    join(&bound.context, one)?;
                }
                Ok(Value::Int(0))
            },
        ),
        task(
            &named("add_chord_to_chord"),
            "nums, val",
            |bound| async move {
                let inner = chord(sums(&bound), &sig("tsum", Vec::new()));
                join(&bound.context, inner)?;
                Ok(Value::Int(0))
            },
        ),
        task(&named("build_chain_inside_task"), "", |bound| async move {
            let number = |number: i64| Value::Int(number);
            let whole = chain([
                add([number(1), number(1)]),
                add([number(2)]),
                group([add([number(3)]), add([number(4)])]),
                add([number(5)]),
            ]);
            send(&bound.context, &whole).await
        }),
    ]
}

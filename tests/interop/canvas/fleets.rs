//! The same workflows from Rust and from Python, to Lovage workers, to Python workers, and to both at once: the results are equal.

use std::path::{Path, PathBuf};

use lovage::canvas::{IntoCanvas, Starts, chord, group_of, signature};
use lovage::{AsyncResult, Client, GroupResult, chain, group};
use lovage_client::Error;
use lovage_client::canvas::Awaited;
use lovage_integration_tests::canvas_tasks::{
    add, echo, fail, joins, mul, replaced, sends, stamps, sum,
};
use lovage_integration_tests::{Cast, Fleet, client_at, eventually};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use std::time::Duration;

in_each_fleet!(
    chains,
    groups_and_chords,
    what_is_nested,
    what_fails,
    what_is_called_back,
    tasks_that_send_and_are_replaced,
    lists_of_arguments,
);

const PATIENCE: Duration = Duration::from_secs(30);

const PYTHON: &str = r#"
from celery import chain, chord, group, signature
from celery.canvas import chunks, xmap, xstarmap

def task(name):
    def s(*args, **options):
        return signature("canvas." + name, args=args, app=app, **options)
    return s
add, mul, total, echo, fail = task("add"), task("mul"), task("sum"), task("echo"), task("fail")
joins, replaced, sends, stamps = task("joins"), task("replaced"), task("sends"), task("stamps")

def outcome(canvas):
    result = canvas.apply_async()
    try:
        return result.get(timeout=30)
    except Exception as error:
        # Whether that of a parent or its own is seen first is chance.
        try:
            for parent in reversed(list(result._parents()) if hasattr(result, "_parents") else []):
                parent.maybe_throw()
        except Exception as cause:
            error = cause
        return [type(error).__name__, str(error)]
"#;

struct Scene {
    cast: Cast,
    runtime: tokio::runtime::Runtime,
    client: Client,
    folder: tempfile::TempDir,
}

/// What both kinds of result are waited for with.
trait Outcome {
    async fn outcome(self) -> Result<Value, Error>;
}

impl<T: DeserializeOwned + Serialize> Outcome for AsyncResult<T> {
    async fn outcome(self) -> Result<Value, Error> {
        let value = self.get(PATIENCE).await?;
        Ok(serde_json::to_value(value).expect("it is JSON"))
    }
}

impl<T: DeserializeOwned + Serialize> Outcome for GroupResult<T> {
    async fn outcome(self) -> Result<Value, Error> {
        let values = self.join(PATIENCE).await?;
        Ok(serde_json::to_value(values).expect("it is JSON"))
    }
}

impl Scene {
    fn of(fleet: Fleet) -> Self {
        let mut cast = Cast::with(fleet, |peer| peer.queues("celery"));
        cast.python.run(PYTHON);
        let url = cast.redis.port_url();
        let runtime = tokio::runtime::Runtime::new().expect("there are threads");
        let client = runtime.block_on(client_at(&url, &url));
        Self {
            client: client.expect("Redis can be reached"),
            cast,
            runtime,
            folder: tempfile::tempdir().expect("the temporary folder is writable"),
        }
    }

    fn ours<C>(&self, canvas: C) -> Value
    where
        C: IntoCanvas,
        C::Takes: Starts,
        C::Gives: Awaited,
        <C::Gives as Awaited>::Result: Outcome,
    {
        let ended = self.runtime.block_on(async {
            let sent = self.client.apply_async(canvas).await.expect("it is sent");
            sent.outcome().await
        });
        match ended {
            Ok(value) => value,
            Err(Error::Failed {
                exc_type, message, ..
            }) => json!([exc_type, message]),
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Both end alike, as expected.
    fn check<C>(&mut self, python: &str, ours: C, expected: &Value)
    where
        C: IntoCanvas,
        C::Takes: Starts,
        C::Gives: Awaited,
        <C::Gives as Awaited>::Result: Outcome,
    {
        let theirs = self.cast.python.eval(&format!("outcome({python})"));
        let ours = self.ours(ours);
        assert_eq!(&theirs, expected, "{python} from Python");
        assert_eq!(&ours, expected, "{python} from Rust");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn chains(fleet: Fleet) {
    let mut scene = Scene::of(fleet);
    scene.check(
        "chain(add(2, 2), mul(10), add(2))",
        chain![add::s(2, 2), mul::partial(10), add::partial(2)],
        &json!(42),
    );
    scene.check(
        "chain(add(2, 2), mul(3, 3, immutable=True), add(1))",
        chain![add::s(2, 2), mul::si(3, 3), add::partial(1)],
        &json!(10),
    );
    scene.check(
        "chain(add(1, 1), chain(mul(2), chain(add(3), mul(4))))",
        chain![
            add::s(1, 1),
            mul::partial(2) | (add::partial(3) | mul::partial(4))
        ],
        &json!(28),
    );
    scene.check(
        "chain(add(1, 1), echo(), mul(2))",
        chain![add::s(1, 1), signature("canvas.echo"), mul::partial(2)],
        &json!(4),
    );
}

fn groups_and_chords(fleet: Fleet) {
    let mut scene = Scene::of(fleet);
    scene.check(
        "group(add(i, i) for i in range(10))",
        group_of((0..10).map(|i| add::s(i, i))),
        &json!([0, 2, 4, 6, 8, 10, 12, 14, 16, 18]),
    );
    scene.check(
        "chord([add(i, i) for i in range(10)], total())",
        chord(group_of((0..10).map(|i| add::s(i, i))), sum::partial()),
        &json!(90),
    );
    scene.check(
        "chain(add(1, 1), group(add(1), add(2)), total(), mul(10))",
        chain![
            add::s(1, 1),
            group![add::partial(1), add::partial(2)],
            sum::partial(),
            mul::partial(10)
        ],
        &json!(70),
    );
    scene.check(
        "chain(add(1, 1), group(add(1), add(2)))",
        chain![add::s(1, 1), group![add::partial(1), add::partial(2)]],
        &json!([3, 4]),
    );
    scene.check(
        "chord([], total())",
        chord(group_of([add::s(1, 1)].into_iter().skip(1)), sum::partial()),
        &json!(0),
    );
    scene.check(
        "chord([add(1, 1), add(2, 2)], group(echo(), total()))",
        chord(
            [add::s(1, 1), add::s(2, 2)],
            group![echo::partial().untyped(), sum::partial().untyped()],
        ),
        &json!([[2, 4], 6]),
    );
}

fn what_is_nested(fleet: Fleet) {
    let mut scene = Scene::of(fleet);
    scene.check(
        "group(chain(add(1, 1), mul(2)), chain(add(2, 2), mul(2)))",
        group![
            chain![add::s(1, 1), mul::partial(2)],
            chain![add::s(2, 2), mul::partial(2)]
        ],
        &json!([4, 8]),
    );
    scene.check(
        "chord([chain(add(1, 1), mul(2)), add(2, 2)], total())",
        chord(
            group![chain![add::s(1, 1), mul::partial(2)], add::s(2, 2)],
            sum::partial(),
        ),
        &json!(8),
    );
    scene.check(
        "chord([chord([add(1, 1), add(2, 2)], total()), add(3, 3)], total())",
        chord(
            group![
                chord([add::s(1, 1), add::s(2, 2)], sum::partial()),
                add::s(3, 3)
            ],
            sum::partial(),
        ),
        &json!(12),
    );
    scene.check(
        "chain(add(0, 1), group(add(1), add(2)), total(), group(add(3), add(4)), total())",
        chain![
            add::s(0, 1),
            group![add::partial(1), add::partial(2)],
            sum::partial(),
            group![add::partial(3), add::partial(4)],
            sum::partial()
        ],
        &json!(17),
    );
    scene.check(
        "chord([chain(add(1, 0), group(add(2), add(3))), add(3, 3)], echo())",
        chord(
            group![
                chain![add::s(1, 0), group![add::partial(2), add::partial(3)]],
                add::s(3, 3)
            ],
            echo::partial(),
        ),
        &json!([[3, 4], 6]),
    );
}

fn what_fails(fleet: Fleet) {
    let mut scene = Scene::of(fleet);
    let no = json!(["ValueError", "no"]);
    let no_task = || fail::s("no".to_owned());
    scene.check(
        "chain(fail('no'), add(1), add(2))",
        chain![no_task(), add::partial(1), add::partial(2)],
        &no,
    );
    scene.check(
        "chord([fail('no'), add(1, 1)], total())",
        chord([no_task(), add::s(1, 1)], sum::partial()),
        &no,
    );
    scene.check(
        "chain(fail('no'), group(add(1), add(2)), total())",
        chain![
            no_task(),
            group![add::partial(1), add::partial(2)],
            sum::partial()
        ],
        &no,
    );
    scene.check(
        "group(fail('no'), add(1, 1))",
        group![no_task(), add::s(1, 1)],
        &no,
    );
}

fn what_is_called_back(fleet: Fleet) {
    let mut scene = Scene::of(fleet);
    let path = |scene: &Scene, name: &str| scene.file(name).to_string_lossy().into_owned();
    let note = |path: &str| signature("canvas.note").kwarg("path", path);

    let (python, rust) = (path(&scene, "links.python"), path(&scene, "links.rust"));
    scene.check(
        &format!(
            "(lambda s: (s.link(task('note')(kwargs={{'path': {python:?}}})), \
             s.link(chain(mul(10), task('note')(kwargs={{'path': {python:?}}}))), s)[-1])(add(2, 3))"
        ),
        add::s(2, 3)
            .link(note(&rust))
            .link(chain![mul::partial(10), note(&rust)]),
        &json!(5),
    );
    for path in [&python, &rust] {
        eventually("both callbacks are called", || {
            lines(Path::new(path)).len() == 2
        });
        assert_eq!(lines(Path::new(path)), ["5", "50"], "{path}");
    }

    let (python, rust) = (path(&scene, "errors.python"), path(&scene, "errors.rust"));
    scene.check(
        &format!(
            "(lambda c: (c.link_error(task('note')(kwargs={{'path': {python:?}}})), c)[-1])\
             (chain(add(1, 1), fail('no', immutable=True), add(1)))"
        ),
        chain![add::s(1, 1), fail::si("no".to_owned()), add::partial(1)].link_error(note(&rust)),
        &json!(["ValueError", "no"]),
    );
    for path in [&python, &rust] {
        eventually("the error callback is called", || {
            !lines(Path::new(path)).is_empty()
        });
        // What it is given is the id of the task that failed.
        assert_eq!(lines(Path::new(path))[0].len(), 38, "{path}");
    }
}

fn tasks_that_send_and_are_replaced(fleet: Fleet) {
    let mut scene = Scene::of(fleet);
    scene.check("replaced(4)", replaced::s(4), &json!(10));
    scene.check(
        "chain(add(1, 1), replaced(), add(1))",
        chain![add::s(1, 1), replaced::partial(), add::partial(1)],
        &json!(7),
    );
    scene.check(
        "chord([replaced(1), add(2, 2)], total())",
        chord([replaced::s(1), add::s(2, 2)], sum::partial()),
        &json!(8),
    );
    scene.check(
        "chord([joins(1), joins(2)], total())",
        chord([joins::s(1), joins::s(2)], sum::partial()),
        &json!(206),
    );
    scene.check(
        "(lambda s: (s.stamp(customer='c1'), s)[-1])(chain(stamps(), stamps(immutable=True)))",
        chain![stamps::s(), stamps::si()].stamp("customer", "c1"),
        &json!({"customer": "c1"}),
    );
    let sent = scene.ours(sends::s(3));
    let id = sent.as_str().expect("an id").to_owned();
    let last = scene.client.handle::<i64>(id);
    let value = scene.runtime.block_on(last.get(PATIENCE));
    assert_eq!(value.expect("it succeeds"), 40);
}

fn lists_of_arguments(fleet: Fleet) {
    let mut scene = Scene::of(fleet);
    scene.check(
        "xstarmap(add(), [(1, 2), (3, 4)], app=app)",
        add::starmap([(1, 2), (3, 4)]),
        &json!([3, 7]),
    );
    scene.check(
        "xmap(total(), [[1, 2], [3]], app=app)",
        sum::map([vec![1, 2], vec![3]]),
        &json!([3, 3]),
    );
    scene.check(
        "chunks(add(), [(1, 2), (3, 4), (5, 6)], 2, app=app)",
        add::chunks([(1, 2), (3, 4), (5, 6)], 2),
        &json!([[3, 7], [11]]),
    );
    scene.check(
        "chain(chunks(add(), [(1, 2), (3, 4), (5, 6)], 2, app=app).group(), echo())",
        chain![add::chunks([(1, 2), (3, 4), (5, 6)], 2), echo::partial()],
        &json!([[3, 7], [11]]),
    );
}

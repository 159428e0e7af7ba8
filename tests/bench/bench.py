"""Compares Celery, rusty-celery's own worker and Lovage on one private Redis, one after the other. See scripts/bench --help."""
import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import processes
import report
from processes import CeleryWorker, LovageWorker, Redis, RustyWorker, binary, progress


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about a minute, with smaller numbers")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--markdown", metavar="FILE", help="also write the tables to a Markdown file")
    parser.add_argument("--no-judge", action="store_true", help="exit with 0 even when a requirement is missed")
    parser.add_argument("--tcp", action="store_true", help="Celery and Lovage over the loopback port instead of the socket")
    parser.add_argument("--only", metavar="PARTS", default="redis,celery,rusty,lovage,publish,scaling,events,journal,outbox,api",
                        help="comma separated: redis, celery, rusty, lovage, publish, scaling, events, journal, outbox, api (default: all)")
    parser.add_argument("--tasks", type=int, metavar="N", help="messages of one drain by the Rust workers")
    return parser.parse_args()


def machine(args):
    import celery
    import kombu
    import redis
    cpu = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.machine())
    version = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    lovage = "not built"
    if (processes.TARGET / "lovage").exists():
        lovage = subprocess.run([binary("lovage"), "--version"], capture_output=True, text=True, check=False).stdout.strip()
    return {
        "machine": f"{os.cpu_count()} × {cpu}, {platform.system()} {platform.release()}, load {os.getloadavg()[0]:.1f}",
        "versions": f"Python {platform.python_version()}, celery {celery.__version__}, kombu {kombu.__version__}, redis-py "
                    f"{redis.__version__}, redis-server {version.removeprefix('v=')}, rusty-celery 0.5.5, {lovage} (release)",
        "flags": f"Celery: -P prefork -c 2, acks late; Lovage: defaults; rusty-celery: prefetch 1000, acks late, stores no "
                 f"results; Redis: no persistence, {'loopback port' if args.tcp else 'unix socket'} (rusty-celery: loopback "
                 f"port); no event subscriber but where one is named",
    }


def measure_worker(kind, redis, folder, url, sizes, app, client, message):
    from measure import best_drain, idle, latency, wire_latency
    client.flushall()
    worker = kind(redis, folder, url)
    progress(f"{worker.name}: starting")
    try:
        worker.start()
        figures = {"name": worker.name, "idle": idle(worker, sizes["idle"])}
        progress(f"{worker.name}: idle {figures['idle']['rss_mib']:.1f} MiB, {figures['idle']['cpu_percent']:.2f} % CPU")
        if worker.stores_results:
            figures["latency"] = latency(app, sizes["latency"])
            figures["wire_latency"] = wire_latency(redis.socket, message, sizes["latency"])
            client.delete(*client.keys("celery-task-meta-*"))
            progress(f"{worker.name}: one task p50 {figures['wire_latency']['p50_ms']:.2f} ms on the wire, "
                     f"{figures['latency']['p50_ms']:.2f} ms with Celery's producer")
        count = sizes["celery" if kind is CeleryWorker else "rust"]
        runs = 1 if kind is CeleryWorker else sizes["runs"]
        cases = [("drain_ignored", True)] + ([("drain", False)] if worker.stores_results else [])
        for case, ignore in cases:
            figures[case] = best_drain(runs, worker, client, message, count, ignore, redis.pid)
            progress(f"{worker.name}: {figures[case]['tasks_per_second']:,.0f} tasks/s {'without' if ignore else 'with'} results, "
                     f"{figures[case]['worker_cpu_us']:.1f} µs CPU a task")
        return figures
    finally:
        worker.stop()


def redis_limit(redis, folder, client, app, message, sizes):
    """What Redis does for the same commands when nobody decodes or runs anything."""
    from measure import clear_results, fill, latency, wire_latency
    out = {}
    for name, ignore in (("results", False), ("ignored", True)):
        rates = []
        for _ in range(sizes["runs"]):
            client.flushall()
            fill(client, message, sizes["rust"], ignore, "celery")
            cpu = processes.cpu_seconds(redis.pid)
            run = subprocess.run([binary("bench-redis-limit"), redis.socket, name], capture_output=True, text=True, check=True)
            rates.append({"tasks_per_second": json.loads(run.stdout)["tasks_per_second"],
                          "redis_cpu_us": (processes.cpu_seconds(redis.pid) - cpu) / sizes["rust"] * 1e6})
            clear_results(client)
        out[name] = sorted(rates, key=lambda f: f["tasks_per_second"])[len(rates) // 2]
        progress(f"Redis alone: {out[name]['tasks_per_second']:,.0f} messages/s ({name})")
    client.flushall()
    answerer = processes.Child("answerer", [binary("bench-redis-limit"), redis.socket, "answer"], folder)
    try:
        answerer.wait_for("ready")
        out["latency"] = latency(app, sizes["latency"])
        out["wire_latency"] = wire_latency(redis.socket, message, sizes["latency"])
    finally:
        answerer.stop()
    progress(f"a worker that costs nothing: one task p50 {out['latency']['p50_ms']:.2f} ms")
    return out


def publish(redis, client, app, url, sizes):
    from measure import python_publish
    client.flushall()
    out = {"python": python_publish(app, client, sizes["python_publish"])}
    client.flushall()
    run = subprocess.run([binary("bench-publish"), url, str(sizes["lovage_publish"])], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise SystemExit(f"bench-publish failed:\n{run.stderr}")
    out["lovage"] = json.loads(run.stdout)
    left = client.llen("celery")
    if left != out["lovage"]["messages"]:
        raise SystemExit(f"bench-publish reports {out['lovage']['messages']} messages, {left} are in the queue")
    progress(f"Lovage publishes {out['lovage']['one_by_one']:,.0f}/s one by one, {out['lovage']['bulk']:,.0f}/s in bulk")
    client.flushall()
    return out


def main():
    args = arguments()
    parts = set(args.only.split(","))
    sizes = {"rust": args.tasks or (40_000 if args.quick else 150_000), "celery": 1500 if args.quick else 6000,
             "latency": 200 if args.quick else 1000, "idle": 5 if args.quick else 10, "runs": 1 if args.quick else 3,
             "python_publish": 2000 if args.quick else 5000, "lovage_publish": 50_000 if args.quick else 200_000}
    with processes.folder() as folder:
        redis = Redis(folder)
        try:
            url = redis.tcp_url if args.tcp else redis.socket_url
            os.environ.update(CELERY_BROKER_URL=url, CELERY_RESULT_BACKEND=url)
            from celery_app import app
            import api
            import events
            import journal
            import outbox
            import scaling
            from measure import template
            client = redis.client()
            message = template(app, client)
            figures = {"machine": machine(args), "message_bytes": len(message[0]), "workers": {}}
            if "redis" in parts:
                figures["redis_limit"] = redis_limit(redis, folder, client, app, message, sizes)
            for key, kind in (("celery", CeleryWorker), ("rusty", RustyWorker), ("lovage", LovageWorker)):
                if key in parts:
                    figures["workers"][key] = measure_worker(kind, redis, folder, url, sizes, app, client, message)
            if "scaling" in parts:
                figures["scaling"] = scaling.measure(redis, folder, url, client, app, message, args.quick)
            if "events" in parts:
                figures["events"] = events.measure(redis, folder, url, sizes, app, client, message)
            if "journal" in parts:
                figures["journal"] = journal.measure(redis, folder, url, sizes, client, message, args.quick)
            if "outbox" in parts:
                figures["outbox"] = outbox.measure(folder, url, client, args.quick)
            if "api" in parts:
                figures["api"] = api.measure(redis, folder, url, client, args.quick)
            if "publish" in parts:
                figures["publish"] = publish(redis, client, app, url, sizes)
        finally:
            redis.stop()
    figures["machine"]["messages"] = f"{figures['message_bytes']} bytes; drains of {sizes['rust']:,} (Celery: {sizes['celery']:,})"
    figures["ratios"] = report.ratios(figures)
    print(json.dumps(figures, indent=2) if args.json else report.text(figures))
    if args.markdown:
        Path(args.markdown).write_text(report.markdown(figures))
    missed = [row for row in report.judged(figures["ratios"]) if not row[3]]
    return 1 if missed and not args.no_judge else 0


if __name__ == "__main__":
    sys.exit(main())

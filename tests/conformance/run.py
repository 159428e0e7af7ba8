"""Runs Celery's integration suite against a worker, and tells what passed. `scripts/conformance --help` says how."""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import suite
from processes import Redis

HERE = Path(__file__).resolve().parent


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--limit", type=float, default=180)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--command", default=str(suite.ROOT / "target/debug/conformance-worker"))
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, help="a folder for logs that stays")
    parser.add_argument("filters", nargs="*")
    return parser.parse_args()


def play(said, ids, folder, label):
    """One pytest over these tests. Gives each one's outcome and reason."""
    report, output = folder / f"{label}.jsonl", folder / f"{label}.log"
    redis = Redis(folder)
    try:
        environment = {"CELERY_BROKER_URL": redis.url, "CELERY_RESULT_BACKEND": redis.url, "REDIS_HOST": "127.0.0.1",
                       "REDIS_PORT": str(redis.port)}
        settings = {"command": said.command, "environment": environment, "concurrency": said.concurrency,
                    "limit": said.limit, "log": str(folder / f"{label}-worker.log"), "report": str(report)}
        checkout = suite.fetch()
        # Some tests run the command line of the client's Celery.
        programs = Path(sys.executable).parent
        command = [sys.executable, "-m", "pytest", "-q", "-o", "python_classes=test_*",
                   "-o", "addopts=", "--rootdir", str(checkout), "-p", "celery.contrib.pytest", "-p", "conformance_plugin",
                   "-p", "no:cacheprovider", "--disable-warnings", *ids]
        with output.open("wb") as log:
            subprocess.run(command, cwd=checkout, stdout=log, stderr=subprocess.STDOUT, env={
                **os.environ, **environment, "PATH": f"{programs}:{os.environ['PATH']}", "TEST_BROKER": redis.url, "TEST_BACKEND": redis.url,
                "PYTHONPATH": f"{HERE}:{checkout}", "PYTHONDONTWRITEBYTECODE": "1",
                "CONFORMANCE_SETTINGS": json.dumps(settings)}, check=False)
    finally:
        redis.stop()
    return outcomes(report, ids, output)


def outcomes(report, ids, output):
    found = {}
    for line in report.read_text().splitlines() if report.exists() else ():
        part = json.loads(line)
        if part["kind"] != "part":
            continue
        before, _ = found.get(part["test"], ("passed", ""))
        # One failed part fails the test, whatever comes after.
        if part["test"] not in found or before == "passed":
            found[part["test"]] = (part["outcome"], part["why"] if part["outcome"] != "passed" else "")
    if not found:
        raise SystemExit(f"pytest ran no test:\n{output.read_text(errors='replace')[-4000:]}")
    return {one: found.get(one, ("failed", "it was not run")) for one in ids}


def run(said, ids, folder, label):
    """One run; what failed is given a second chance, and told apart."""
    found = play(said, ids, folder, label)
    failed = [one for one, (outcome, _) in found.items() if outcome != "passed"]
    if failed and said.runs > 1 or failed and said.markdown:
        for one, (outcome, why) in play(said, failed, folder, f"{label}-again").items():
            found[one] = ("re-run", found[one][1]) if outcome == "passed" else (outcome, why)
    return found


def table(runs):
    lines = ["| run | file | passed | re-run | failed |", "|---|---|---|---|---|"]
    for number, found in enumerate(runs, 1):
        files = sorted({one.split("::")[0] for one in found})
        for file in [*files, None]:
            count = Counter(outcome for one, (outcome, _) in found.items() if file in (None, one.split("::")[0]))
            bad = sum(count.values()) - count["passed"] - count["re-run"]
            name = f"`{file}`" if file else "**all**"
            lines.append(f"| {number} | {name} | {count['passed']} | {count['re-run']} | {bad} |")
    return "\n".join(lines)


def main():
    said = arguments()
    ids = suite.listed(said.filters)
    if not ids:
        raise SystemExit("no test has that in its name")
    runs = []
    with tempfile.TemporaryDirectory(prefix="lovage-conformance-") as scratch:
        folder = said.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(1, said.runs + 1):
            runs.append(run(said, ids, folder, f"run{number}"))
            for one, (outcome, why) in runs[-1].items():
                if outcome != "passed":
                    print(f"{outcome:7} {one}\n        {why}", flush=True)
    text = table(runs)
    print(text)
    if said.json:
        said.json.write_text(json.dumps(runs, indent=1))
    if said.markdown:
        troubles = sorted({(one, why) for found in runs for one, (outcome, why) in found.items() if outcome != "passed"})
        rows = "\n".join(f"| `{one}` | {why.replace('|', chr(92) + '|')} |" for one, why in troubles)
        said.markdown.write_text(text + ("\n\n| not passed at once | why |\n|---|---|\n" + rows if rows else "") + "\n")
    sys.exit(any(outcome not in ("passed", "re-run") for found in runs for outcome, _ in found.values()))


if __name__ == "__main__":
    main()

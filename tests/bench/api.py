"""What the HTTP API takes beside a running worker: single sends at a rate, batches, and streams that listen."""
import json
import subprocess
import urllib.request
from pathlib import Path

import processes
from processes import Child, LovageWorker, binary, progress

EMAIL, PASSWORD = "bench@example.org", "correct horse battery"
# What is asked of it, see issue 6.
RATE, STREAMS = 4_000, 2_000


class Api(Child):
    def __init__(self, folder, url):
        self.port = processes.free_port()
        env = {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url, "DATABASE_URL": f"sqlite://{Path(folder) / 'api.db'}",
               "LOVAGE_DEMO_TASKS": "1", "LOVAGE_API_BIND": f"127.0.0.1:{self.port}", "LOVAGE_ADMIN_EMAIL": EMAIL,
               "LOVAGE_ADMIN_PASSWORD": PASSWORD, "SECRET_KEY": "a key for benchmarks, 0123456789 abcdef",
               "LOVAGE_ACCESS_TOKEN_LIFE": "1h"}
        subprocess.run([binary("lovage"), "migrate", "up"], check=True, cwd=folder, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, env={"PATH": "/usr/bin:/bin", **env})
        super().__init__("api", [binary("lovage"), "api", "-l", "info"], folder, env)
        self.wait_for("the API is at", 60)

    def token(self):
        login = json.dumps({"email": EMAIL, "password": PASSWORD}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/v1/auth/login", login,
                                         {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request))["access_token"]


def ask(api, token, *words):
    run = subprocess.run([binary("bench-http"), str(api.port), token, *map(str, words)], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise SystemExit(f"bench-http {words[0]} failed: {run.stderr}\n{api.text()[-2000:]}")
    return json.loads(run.stdout)


def measure(redis, folder, url, client, quick):
    from journal import wait_until_done
    from measure import QUEUE
    client.flushall()
    worker, api = LovageWorker(redis, folder, url), Api(folder, url)
    worker.flags = ["-E"]
    try:
        worker.start()
        token = api.token()
        seconds = 5 if quick else 20
        ask(api, token, "singles", 500, 2, 8)
        out = {}
        for name, words in (("singles", ("singles", RATE, seconds, 32)), ("batches", ("batches", seconds, 4))):
            used = processes.cpu_seconds(api.pid)
            out[name] = ask(api, token, *words)
            sent = out[name].get("requests") or out[name]["tasks"]
            out[name]["api_cpu_us"] = (processes.cpu_seconds(api.pid) - used) / sent * 1e6
        # What is left of the batches would stand before the one task that is listened for.
        client.delete(QUEUE)
        wait_until_done(client)
        out["streams"] = ask(api, token, "streams", STREAMS)
        out["rss_mib"] = processes.memory_mib(api.pid)[0]
        progress(f"API: {out['singles']['per_second']:,.0f} sends/s at p99 {out['singles']['p99_ms']:.1f} ms, "
                 f"{out['batches']['per_second']:,.0f} tasks/s in batches, {STREAMS:,} streams hear within "
                 f"{out['streams']['told_last_ms']:.0f} ms")
        return out
    finally:
        worker.stop()
        api.stop()
        client.flushall()

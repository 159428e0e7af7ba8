"""The figures as a table for people, as Markdown and as JSON."""

# What must hold in one and the same run; see ARCHITECTURE and the book for why these.
REQUIRED = [
    ("drain with results, against Celery", "drain_ratio", "at least", 75, "×"),
    ("drain with results, against Redis alone", "redis_percent", "at least", 70, "%"),
    ("worker CPU per task", "cpu_us", "at most", 12, "µs"),
    ("one task on the wire, p50, against Celery", "p50_percent", "at most", 33.3, "%"),
    ("one task on the wire, p99", "p99_ms", "at most", 1.5, "ms"),
    ("idle memory (RSS)", "idle_rss", "at most", 15, "MiB"),
    ("memory with 10,000 tasks in flight (RSS)", "in_flight_rss", "at most", 80, "MiB"),
    ("idle CPU", "idle_cpu", "under", 1, "%"),
    ("bulk publish, against Celery", "publish_ratio", "at least", 50, "×"),
    ("drain with events, against Celery with events", "events_ratio", "at least", 60, "×"),
    ("the same with one who listens", "heard_ratio", "at least", 60, "×"),
    ("worker CPU per task, with events", "events_cpu_us", "at most", 20, "µs"),
    ("the same with one who listens", "heard_cpu_us", "at most", 20, "µs"),
    ("drain with the journal on, against Celery", "journal_ratio", "at least", 50, "×"),
    ("tasks a second into SQLite, beside a worker", "kept_sqlite", "at least", 5_000, "a second"),
    ("tasks a second into PostgreSQL, beside a worker", "kept_postgres", "at least", 8_000, "a second"),
    ("messages a second out of PostgreSQL's outbox", "outbox", "at least", 10_000, "a second"),
    ("a keeper's memory (RSS) under load", "keeper_rss", "at most", 96, "MiB"),
    ("HTTP: single sends, beside a worker", "http_singles", "at least", 3_960, "a second"),
    ("HTTP: single sends, p99", "http_p99_ms", "under", 20, "ms"),
    ("HTTP: tasks in batches of 100", "http_batches", "at least", 30_000, "a second"),
    ("HTTP: clients that listen to events", "http_streams", "at least", 2_000, "streams"),
]


def ratios(figures):
    celery, lovage = figures["workers"].get("celery"), figures["workers"].get("lovage")
    publish = figures.get("publish", {})
    out = {}
    if lovage:
        out["cpu_us"] = lovage["drain"]["worker_cpu_us"]
        out["idle_rss"] = lovage["idle"]["rss_mib"]
        out["idle_cpu"] = lovage["idle"]["cpu_percent"]
        out["p99_ms"] = lovage["wire_latency"]["p99_ms"]
    limit = figures.get("redis_limit")
    if lovage and limit:
        out["redis_percent"] = lovage["drain"]["tasks_per_second"] / limit["results"]["tasks_per_second"] * 100
    if "scaling" in figures:
        out["in_flight_rss"] = figures["scaling"]["in_flight"]["rss_mib"]
    if lovage and celery:
        out["drain_ratio"] = lovage["drain"]["tasks_per_second"] / celery["drain"]["tasks_per_second"]
        out["p50_percent"] = lovage["wire_latency"]["p50_ms"] / celery["wire_latency"]["p50_ms"] * 100
    if "python" in publish and "lovage" in publish:
        # Against the better of the two ways that Python has.
        out["publish_ratio"] = publish["lovage"]["bulk"] / max(publish["python"]["bulk"], publish["python"]["one_by_one"])
    events = figures.get("events", {})
    if "lovage" in events and "celery" in events:
        for case, name in (("drain", "events"), ("heard", "heard")):
            ours, theirs = events["lovage"][case], events["celery"][case]
            out[f"{name}_ratio"] = ours["tasks_per_second"] / theirs["tasks_per_second"]
            out[f"{name}_cpu_us"] = ours["worker_cpu_us"]
    journal = figures.get("journal", {})
    for key, kept in journal.items():
        out[f"kept_{key}"] = kept["kept_per_second"]
    if journal:
        out["keeper_rss"] = max(kept["rss_after_mib"] for kept in journal.values())
    if "outbox" in figures:
        out["outbox"] = figures["outbox"]["messages_per_second"]
    api = figures.get("api")
    if api:
        # The rate is given: what is missing of it was answered late.
        out["http_singles"], out["http_p99_ms"] = api["singles"]["per_second"], api["singles"]["p99_ms"]
        out["http_batches"], out["http_streams"] = api["batches"]["per_second"], api["streams"]["streams"]
    if journal and celery:
        slowest = min(kept["drain"]["tasks_per_second"] for kept in journal.values())
        out["journal_ratio"] = slowest / celery["drain"]["tasks_per_second"]
    return out


def judged(values):
    """Rows of (what, value text, requirement text, whether it holds)."""
    rows = []
    for what, key, kind, limit, unit in REQUIRED:
        if key not in values:
            continue
        value = values[key]
        holds = {"at least": value >= limit, "at most": value <= limit, "under": value < limit}[kind]
        rows.append((what, f"{value:,.1f} {unit}", f"{kind} {limit} {unit}", holds))
    return rows


def number(value, digits=0):
    return "–" if value is None else f"{value:,.{digits}f}"


def rows(figures):
    """The main table: a header and one row a measurement."""
    workers = figures["workers"]
    limit = figures.get("redis_limit")
    names = [workers[key]["name"] for key in workers] + (["Redis alone"] if limit else [])

    def line(what, pick, digits, of_limit=None):
        cells = []
        for key in workers:
            try:
                cells.append(number(pick(workers[key]), digits))
            except (KeyError, TypeError):
                cells.append("–")
        if limit:
            cells.append("–" if of_limit is None else number(of_limit(limit), digits))
        return [what, *cells]

    return [
        ["", *names],
        line("drain with results, tasks/s", lambda w: w["drain"]["tasks_per_second"], 0,
             lambda x: x["results"]["tasks_per_second"]),
        line("  worker CPU, µs/task", lambda w: w["drain"]["worker_cpu_us"], 1),
        line("  Redis CPU, µs/task", lambda w: w["drain"]["redis_cpu_us"], 1, lambda x: x["results"]["redis_cpu_us"]),
        line("drain without results, tasks/s", lambda w: w["drain_ignored"]["tasks_per_second"], 0,
             lambda x: x["ignored"]["tasks_per_second"]),
        line("  worker CPU, µs/task", lambda w: w["drain_ignored"]["worker_cpu_us"], 1),
        line("  Redis CPU, µs/task", lambda w: w["drain_ignored"]["redis_cpu_us"], 1, lambda x: x["ignored"]["redis_cpu_us"]),
        line("one task, LPUSH to result, p50 ms", lambda w: w["wire_latency"]["p50_ms"], 2,
             lambda x: x["wire_latency"]["p50_ms"]),
        line("  p99 ms", lambda w: w["wire_latency"]["p99_ms"], 2, lambda x: x["wire_latency"]["p99_ms"]),
        line("the same with Celery's producer, p50 ms", lambda w: w["latency"]["p50_ms"], 2,
             lambda x: x["latency"]["p50_ms"]),
        line("  p99 ms", lambda w: w["latency"]["p99_ms"], 2, lambda x: x["latency"]["p99_ms"]),
        line("idle memory, RSS MiB", lambda w: w["idle"]["rss_mib"], 1),
        line("idle memory, PSS MiB", lambda w: w["idle"]["pss_mib"], 1),
        line("idle CPU, %", lambda w: w["idle"]["cpu_percent"], 2),
    ]


def publish_rows(figures):
    publish = figures.get("publish", {})
    table = [["publishing, messages/s", "one by one", "in bulk"]]
    for key, name in (("python", "Celery (send_task, group)"), ("lovage", "Lovage client")):
        if key in publish:
            table.append([name, number(publish[key]["one_by_one"]), number(publish[key]["bulk"])])
    return table if len(table) > 1 else []


def events_table(figures):
    events = figures.get("events")
    if not events:
        return []
    table = [["drain with results and task events", "tasks/s", "CPU, µs/task", "one listens: tasks/s", "CPU, µs/task"]]
    for key in ("celery", "lovage", "final_only"):
        worker = events[key]
        cells = [number(worker[case][what], digits) for case in ("drain", "heard")
                 for what, digits in (("tasks_per_second", 0), ("worker_cpu_us", 1))]
        dropped = " (dropped by Redis)" if worker["listener_dropped"] else ""
        table.append([worker["name"] + dropped, *cells])
    return [table]


def journal_table(figures):
    journal = figures.get("journal")
    if not journal:
        return []
    table = [["history, beside one worker", "drain, tasks/s", "worker CPU, µs/task", "journal, bytes/task", "into rows, tasks/s",
              "keeper CPU, µs/task", "keeper RSS, MiB: idle", "under load"]]
    for kept in journal.values():
        table.append([kept["name"], number(kept["drain"]["tasks_per_second"]), number(kept["drain"]["worker_cpu_us"], 1),
                      number(kept["bytes_per_task"]), number(kept["kept_per_second"]), number(kept["keeper_cpu_us"], 1),
                      number(kept["rss_mib"]), number(kept["rss_after_mib"])])
    return [table]


def outbox_table(figures):
    sent = figures.get("outbox")
    if not sent:
        return []
    return [[["the outbox on PostgreSQL", "messages", "committed a second", "sent a second", "keeper CPU, µs/message",
              "keeper RSS, MiB"],
             ["rows of small calls", number(sent["messages"]), number(sent["written_per_second"]),
              number(sent["messages_per_second"]), number(sent["keeper_cpu_us"], 1), number(sent["rss_mib"])]]]


def api_table(figures):
    api = figures.get("api")
    if not api:
        return []
    return [[["HTTP API, beside one worker", "a second", "p50 ms", "p99 ms", "API CPU, µs/task"],
             ["one task a request", number(api["singles"]["per_second"]), number(api["singles"]["p50_ms"], 2),
              number(api["singles"]["p99_ms"], 2), number(api["singles"]["api_cpu_us"], 1)],
             ["a hundred tasks a request", number(api["batches"]["per_second"]), "–", "–", number(api["batches"]["api_cpu_us"], 1)],
             [f"{number(api['streams']['streams'])} streams hear of a task", "–", number(api["streams"]["told_p50_ms"], 2),
              number(api["streams"]["told_last_ms"], 2) + " (last)", "–"]]]


def scaling_tables(figures):
    scaling = figures.get("scaling")
    if not scaling:
        return []
    workers = [["Lovage workers beside each other", "tasks/s", "CPU, µs/task, all together"]]
    workers += [[str(row["workers"]), number(row["tasks_per_second"]), number(row["worker_cpu_us"], 1)] for row in scaling["workers"]]
    sizes = [["bytes of argument", "bytes of message", "tasks/s", "MiB/s", "CPU, µs/task"]]
    sizes += [[number(row["payload_bytes"]), number(row["message_bytes"]), number(row["tasks_per_second"]),
               number(row["tasks_per_second"] * row["message_bytes"] / 2**20, 1), number(row["worker_cpu_us"], 1)]
              for row in scaling["sizes"]]
    return [workers, sizes]


def aligned(table):
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = []
    for index, row in enumerate(table):
        lines.append("  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))))
        if index == 0:
            lines.append("  ".join("-" * w for w in widths))
    return "\n".join(line.rstrip() for line in lines)


def markdown_table(table):
    lines = ["| " + " | ".join(table[0]) + " |", "|---|" + "---:|" * (len(table[0]) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in table[1:]]
    return "\n".join(lines)


def notes(figures):
    lines = [f"{name}: {value}" for name, value in figures["machine"].items()]
    flower = figures.get("events", {}).get("flower")
    if flower:
        lines.append(f"Flower took {flower['counted']:,} of {flower['sent']:,} events, at {flower['cpu_us']:.0f} µs of its CPU each: "
                     f"{flower['events_per_second']:,.0f} a second at most")
    limit, lovage = figures.get("redis_limit"), figures["workers"].get("lovage")
    if limit and lovage:
        share = lovage["drain"]["tasks_per_second"] / limit["results"]["tasks_per_second"] * 100
        lines.append(f"Lovage reaches {share:.0f} % of what Redis does for the same commands when nobody decodes or runs anything")
    return lines


def sections(figures, table):
    verdict = [["requirement", "measured", "required", ""]]
    verdict += [[what, value, required, "ok" if holds else "MISSED"] for what, value, required, holds in judged(figures["ratios"])]
    parts = [table(rows(figures))]
    if publish_rows(figures):
        parts.append(table(publish_rows(figures)))
    parts += [table(rows) for rows in events_table(figures) + scaling_tables(figures) + journal_table(figures) + outbox_table(figures)
              + api_table(figures)]
    if len(verdict) > 1:
        parts.append(table(verdict))
    return parts


def text(figures):
    return "\n\n".join(["\n".join(notes(figures)), *sections(figures, aligned)])


def markdown(figures):
    head = "\n".join(f"- {line}" for line in notes(figures))
    return "\n\n".join(["# Benchmark", head, *sections(figures, markdown_table)]) + "\n"

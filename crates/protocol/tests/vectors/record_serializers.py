"""Records how Python writes and reads msgpack's neighbours YAML and pickle, so that the Rust side can be held to it.

Run with an interpreter that has celery 5.7.0 and PyYAML: python record_serializers.py  (writes pickle.json,
pickle-refused.json, yaml-scalars.json and yaml.json beside itself). Nothing here is ever unpickled.
"""
import base64
import collections
import datetime as dt
import decimal
import fractions
import functools
import importlib
import json
import operator
import os
import pathlib
import pickle
import subprocess
import sys
import types
import uuid
import zoneinfo

import yaml
from celery import Celery, chain, chord, group, signature
from kombu.utils.json import dumps
out = os.path.dirname(os.path.abspath(__file__))


def b64(data):
    return base64.b64encode(data).decode()


tz = dt.timezone(dt.timedelta(hours=5, minutes=30))
shared = ["shared", [1]]
rec = {
 "none": None, "true": True, "false": False, "ints": [0, 1, -1, 255, 256, 65535, 65536, 2**31, -2**31, 2**63-1, -2**63, 2**63, 2**64, -2**64, 10**50, -10**50, 2**2000],
 "floats": [0.0, -0.0, 1.5, -1e100, 1e-300, float("inf"), float("-inf")],
 "text": ["", "a", "ü", "日本語 😀", "line\nbreak\\u0041 \\ \0 \x1a tab\t", "x" * 300, "quote ' \" "],
 "bytes": [b"", b"abc", b"\x00\xff\n\\", bytes(range(256)), b"x" * 300],
 "bytearray": [bytearray(b""), bytearray(b"\x00\xffab")],
 "lists": [[], [[]], [1, [2, [3]]], list(range(2000))],
 "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((), ((1,),))],
 "dicts": {"a": 1, "b": {"c": [None]}, "empty": {}},
 "int keys": {1: "a", None: "b", True: "c", 2.5: "d", 10**30: "e"},
 "sets": [set(), {7}, frozenset(), frozenset([8]), frozenset([frozenset([9])])],
 "shared": [shared, shared, {"again": shared}],
 "dates": [dt.date(2024, 2, 29), dt.date(1, 1, 1), dt.date(9999, 12, 31)],
 "datetimes": [dt.datetime(2024, 2, 29, 12, 30, 15, 123456), dt.datetime(2024, 2, 29, 12, 30), dt.datetime(2024, 2, 29, 12, 30, 15, tzinfo=dt.timezone.utc),
    dt.datetime(2024, 2, 29, 12, 30, 15, 4, tzinfo=tz), dt.datetime(2024, 10, 27, 2, 30, fold=1), dt.datetime(2024, 2, 29, tzinfo=dt.timezone(-dt.timedelta(hours=5), "EST"))],
 "times": [dt.time(1, 2, 3, 4), dt.time(0, 0), dt.time(23, 59, 59, tzinfo=dt.timezone.utc), dt.time(1, 2, fold=1)],
 "decimals": [decimal.Decimal("1.50"), decimal.Decimal("1E+3"), decimal.Decimal("NaN"), decimal.Decimal("-Infinity")],
 "uuids": [uuid.UUID(int=5), uuid.UUID("12345678-1234-5678-1234-567812345678"), uuid.uuid1(), uuid.UUID(int=2**128-1)],
 "ordered": [collections.OrderedDict(), collections.OrderedDict([("z", 1), ("a", [2])])],
 "deque": [collections.deque(), collections.deque([1, "b"]), collections.deque([1, 2, 3], maxlen=2)],
 "deltas": [dt.timedelta(0), dt.timedelta(days=-1, seconds=5, microseconds=250000), dt.timedelta(days=3)],
 "zones": [dt.timezone.utc, tz, dt.timezone(-dt.timedelta(hours=3))],
}
def plain(v):
    "What Lovage makes of it."
    if isinstance(v, (set, frozenset, collections.deque, tuple, list)): return [plain(x) for x in v]
    if isinstance(v, dict): return {k: plain(x) for k, x in v.items()}
    if isinstance(v, bytearray): return bytes(v)
    if isinstance(v, dt.timedelta): return v.total_seconds()
    if isinstance(v, dt.timezone): return str(v)
    if isinstance(v, dt.datetime): return v.replace(fold=0)
    return v
app = Celery("rec", broker="memory://", set_as_current=True)
add = signature("t.add", args=(1,2), app=app)
rec["signatures"] = {"callbacks": [add], "chain": [signature("t.b", kwargs={"x": 1}, app=app)], "group": group(add, add), "chord": chord([add], add), "of": chain(add, add)}
def norm(v):
    return json.loads(json.dumps(v, default=dict))
vectors = []
for name, value in rec.items():
    want = norm(value) if name == "signatures" else plain(value)
    vectors.append({"name": name, "json": dumps(want), "pickles": [b64(pickle.dumps(value, protocol=p)) for p in range(6)]})
json.dump({"what": "values pickled by CPython %s in protocols 0 to 5, and what kombu's JSON writes for them" % sys.version.split()[0], "vectors": vectors}, open(out + "/pickle.json", "w"), indent=1)



class Evil:
    def __init__(self, reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


evil = {
 "os.system": Evil((os.system, ("true",))),
 "builtins.eval": Evil((eval, ("1",))), "builtins.exec": Evil((exec, ("1",))), "builtins.__import__": Evil((__import__, ("os",))),
 "builtins.getattr": Evil((getattr, ("a", "upper"))), "subprocess.Popen": Evil((subprocess.Popen, (["true"],))),
 "functools.partial": Evil((functools.partial, (print,))), "operator.attrgetter": Evil((operator.attrgetter, ("a",))),
 "builtins.open": Evil((open, ("/etc/passwd",))), "builtins.complex": 1j, "builtins.range": range(3), "collections.defaultdict": collections.defaultdict(list),
 "types.SimpleNamespace": types.SimpleNamespace(a=1), "collections.Counter": collections.Counter("a"), "builtins.ValueError": ValueError("x"), "fractions.Fraction": fractions.Fraction(1, 2),
 "importlib.import_module": Evil((importlib.import_module, ("os",))), "pathlib": pathlib.Path("/"), "zoneinfo": zoneinfo.ZoneInfo("Europe/Zurich"),
 "class itself": dt.datetime, "object": object(),
}
ev = [{"name": n, "pickles": [b64(pickle.dumps([1, v], protocol=p)) for p in range(6)]} for n, v in evil.items()]
json.dump({"what": "pickles that would run code or make objects", "vectors": ev}, open(out + "/pickle-refused.json", "w"), indent=1)

texts = """yes Yes YES no NO on Off true True TRUE tRue y n ~ null Null NULL nULL nothing 0 -0 +0 00 07 08 0777 -0777 0_7 0o17 0b101 -0b1_1 0b 0b_ 0b2 0x1F 0xff_ff 0x 0xg 1 +1 -1 1_000 1__0 _1 1_ 12345678901234567890 -12345678901234567890123 1.0 1. .5 -.5 +.5 1.5e3 1.5e+3 1.5e-3 1e5 1e+5 1.e+5 .5e+2 . .. - + 1_0.5_5 1.5_ ._5 .inf -.inf +.Inf .INF .iNF .nan -.nan .NaN 1:30 1:30:15 -1:30 01:30 1:60 1:5 1:05 1:30.5 -1:30.25 1:30. 0:30 1:3_0 2024-02-29 2024-2-29 2024-02-30 24-02-29 2024-02-29T12:30:15 2024-02-29t1:30:15 2024-02-29T12:30 2024-02-29T12:30:15.5 2024-02-29T12:30:15.123456789 2024-02-29T12:30:15. 2024-02-29T12:30:15Z 2024-02-29T12:30:15+5 2024-02-29T12:30:15+05:30 2024-02-29T12:30:15-05:30 2024-02-29T12:30:15+0530 2024-02-29T25:30:15 2024-02-29T12:60:15 2024-02-29T12:30:15z 0000-01-01 2024-02-29T12:30:15+24:00 2024-02-29T12:30:15+23:59 << = 1,5 10% 0x_ 0b_1 9:99 190:20:30 685_230.15 6.8523015e+5 +12e03 0.1e1 12e03 -2E+05 1.2.3 1-2 1:2:3.4.5""".split()
texts += ["2024-02-29 12:30:15", "2024-02-29  12:30:15.5 +01:00", "2024-02-29 12:30:15 Z", "2024-02-29 ", "plain text", "a:b", "a#b", "-a", "?a", ":a", "a - b"]
sc = []
for t in texts:
    try: v = {"json": dumps(yaml.safe_load("- " + t)[0])}
    except Exception as e: v = {"error": type(e).__name__}
    sc.append({"in": t, **v})
json.dump({"what": "plain scalars read by PyYAML %s safe_load, as kombu's JSON writes what they are" % yaml.__version__, "vectors": sc}, open(out + "/yaml-scalars.json", "w"), indent=1)

long = "The quick brown fox jumps over the lazy dog. " * 5
docs = {
 "body": [(1, "ü", 1.5, None, [1, 2]), {"k": "txt"}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}],
 "empties": [[], {}, "", b"", None], "nested": {"a": [[1, [2]], {"b": {"c": [{"d": []}]}}], "b": {}},
 "long": [long, long.replace(" ", "\n"), "x" * 500, "ü" * 200, long + "\n", " lead", "trail ", "a\n b", "\ttab", "a: b", "a #b", "'", '"', "- x", "? x", "x:", "#", "%", "@", "`", "&a", "*a", "!t", "|", ">", "---", "...", "\r\n", "\x85\u2028\u2029\ufeff\0\x1b", "😀"],
 "keys": {"": 1, "k" * 127: 2, "k" * 128: [1, 2], "k" * 2000: {"a": 1}, "a b": 3, "yes": 4, "1": 5, "ü": 6, "- ": 8, "a: b": [9]},
 "bytes": [b"abc", bytes(range(256)), {"k": b"\xff" * 60, "l": [b"x" * 57, b"y" * 58]}], "floats": [1e100, 1e-7, 1e16, 1.5, -0.0, float("inf"), float("-inf")],
 "ints": [0, -1, 2**63, -10**40], "strings that look like others": ["yes", "null", "1", "1.5", "1e5", "0x1", "2024-01-01", "1:30", "~", "<<", "=", "1_0", ".inf", "2024-01-01 10:00:00"],
 "times": [rec["dates"], rec["datetimes"][:5]], "shared": rec["shared"], "set": {"a", }, "intkeys": {1: "a", None: "b", True: "c", 2.5: "d"},
}
ys = [{"name": n, "yaml": yaml.safe_dump(v), "json": dumps(plain(v))} for n, v in docs.items()]
json.dump({"what": "documents written by PyYAML %s safe_dump, and what kombu's JSON writes for them" % yaml.__version__, "vectors": ys}, open(out + "/yaml.json", "w"), indent=1)

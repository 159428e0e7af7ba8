"""Records how Python writes values, so that the Rust side can be held to it.

Run with an interpreter that has celery 5.7.0: python record.py  (writes values.json and times.json beside itself)
"""
import datetime as dt
import decimal
import json
import os
import random
import struct
import uuid
import zoneinfo

from celery.utils.saferepr import saferepr
from dateutil.parser import isoparse
from kombu.utils.json import dumps

HERE = os.path.dirname(os.path.abspath(__file__))
rnd = random.Random(570)


def some_floats():
    yield from (0.0, -0.0, 1.0, -1.5, 0.1, 1e15, 1e16, 1e17, 9999999999999998.0, 123456789012345680.0, 1e-4, 9.999e-5, 1e-5, 1.5e-7,
                1e22, 1e23, 1.7976931348623157e308, 5e-324, 2.2250738585072014e-308, 1e100, 1e-100, 12345.678, 4503599627370496.5)
    for _ in range(150):
        x = struct.unpack('<d', rnd.randbytes(8))[0]
        if x == x and abs(x) != float('inf'):
            yield x
    for _ in range(100):
        yield rnd.uniform(-1, 1) * 10 ** rnd.randint(-8, 20)
        yield round(rnd.uniform(-1e6, 1e6), rnd.randint(0, 6))


def some_strings():
    yield from ('', 'plain', "it's", 'say "x"', 'both \' and "', 'tab\tnl\ncr\r', 'bs\\', '\x00\x08\x0c\x1f\x7f', '\xa0\xad\u200b\u2028\ufeff',
                'ü☃😀', '\U0010ffff', 'a/b', '</script>', '日本語', 'é' * 30, '\ue000')
    for c in range(256):
        yield 'x' + chr(c)
    for _ in range(100):
        yield ''.join(chr(rnd.choice((rnd.randint(32, 126), rnd.randint(0xa1, 0x17f), rnd.randint(0x4e00, 0x9fff), rnd.randint(0x1f600, 0x1f64f))))
                      for _ in range(rnd.randint(1, 40)))


def some_values():
    yield from (None, True, False, 0, -1, 2**63 - 1, -2**63, 2**63, 2**64, -2**70, 10**60, [], {}, [[]], [{}], {'a': []}, [1, [2, [3, [4, [5]]]]])
    yield from (b'', b'abc', b"it's", b'\xff\x00', bytes(range(256)), '€'.encode())
    yield from (decimal.Decimal('1.50'), decimal.Decimal('1E+3'), decimal.Decimal('-0.000001'), decimal.Decimal('NaN'), decimal.Decimal('Infinity'))
    yield from (uuid.UUID('12345678-1234-5678-1234-567812345678'), uuid.UUID(int=0))
    yield from (dt.date(2024, 2, 29), dt.date(1, 1, 1), dt.time(1, 2), dt.time(1, 2, 3), dt.time(1, 2, 3, 4), dt.time(0, 0, 0, 500000))
    for zone in (None, dt.timezone.utc, dt.timezone(dt.timedelta(hours=5, minutes=30)), dt.timezone(dt.timedelta(hours=-3))):
        yield dt.datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=zone)
        yield dt.datetime(2024, 2, 29, 12, 30, tzinfo=zone)
        yield dt.datetime(2024, 2, 29, 12, 30, 1, tzinfo=zone)
    yield {'a': 1, 'b': [1, {'c': {'d': {'e': 1}}}], 'ü': None}
    yield {'__type__': 'nope', '__value__': 1, 'third': 2}
    yield from (list(range(n)) for n in (100, 250, 259, 260, 261, 262, 300))
    yield from ('x' * n for n in (1020, 1021, 1022, 1023, 1024, 1025, 1100))
    yield from ('word ' * n for n in (204, 205, 206, 300))
    yield from (['y' * n, 1, 2] for n in (1015, 1016, 1017, 1018, 1019, 1020, 1021))
    yield from ([['z' * n], {'k': 'v'}, 3] for n in (1010, 1014, 1015, 1016, 1017, 1018, 1019, 1020))
    yield from ({'k' * n: {'a': [1, 2, 3]}} for n in (1000, 1012, 1014, 1016, 1017, 1018, 1019, 1020, 1021, 1030))
    yield from ([b'b' * n, 1] for n in (1000, 1019, 1020, 1021, 1022, 1023, 1024, 1100))
    for _ in range(120):
        yield nested(4)


def nested(depth):
    kind = rnd.randint(0, 9 if depth else 6)
    if kind < 2:
        return rnd.randint(-10**6, 10**6)
    if kind < 4:
        return rnd.choice(STRINGS)
    if kind < 6:
        return rnd.choice((None, True, False, 1.5, 1e30, b'raw'))
    if kind == 6:
        return 'long ' * rnd.randint(1, 120)
    if kind == 7:
        return {rnd.choice(STRINGS): nested(depth - 1) for _ in range(rnd.randint(0, 5))}
    return [nested(depth - 1) for _ in range(rnd.randint(0, 7))]


STRINGS = list(some_strings())
values = [*some_floats(), *STRINGS, *some_values(), float('inf'), float('-inf'), float('nan')]
with open(os.path.join(HERE, 'values.json'), 'w') as f:
    json.dump([{'json': dumps(v), 'repr': repr(v), 'saferepr': saferepr(v, 1024)} for v in values], f, indent=0)
    f.write('\n')

TIMES = '''2026-11-23T04:40:43.584608+00:00 2026-11-23T04:40:43+00:00 2026-11-23T04:40:43Z 2026-11-23T04:40:43z 2026-11-23T04:40:43 2026-11-23T04:40
2026-11-23T04 2026-11-23 2026-11 2026 20261123 20261123T044043 20261123T0440 20261123T044043.5Z 2026-11-23T04:40:43,25 2026-11-23 04:40:43
2026-11-23T04:40:43.5849999999 2026-11-23T04:40:43.1 2026-11-23T04:40:43+05:30 2026-11-23T04:40:43-0330 2026-11-23T04:40:43+05 2026-11-23T24:00
2026-11-23T24:00:00.000 2026-11-23T24:01 2026-W48-1 2026W481 2026-W48 2026W48 2026-W53 2026-W54 2026-W00 2026-W481 2026W48-1 2026-327 2026327 2024-366 2026-366
2026-000 2026-13-01 2026-02-29 2024-02-29 2026-1-1 202611 26-11-23 0000-01-01 0001-01-01 9999-12-31T23:59:59 2026-11-23T25:00 2026-11-23T04:60 2026-11-23T04:40:60
2026-11-23T04:40:43+24:00 2026-11-23T04:40:43+05:60 2026-11-23T04:40:43+5:30 2026-11-23T04:40:43. 2026-11-23T04:40.5 2026-11-23T0440:43 2026-11-23T04:4043
2026-11-23T 2026-11-23TZ 2026-11-23T04Z 2026-11-23T04:40Z 2026-11-23x04:40 yesterday never now 1577836800 +2026-11-23 2026/11/23 2026-11-23T04:40:43UTC
2026-03-29T02:30:00 2026-10-25T02:30:00 2026-03-29T01:59:59 2026-03-29T03:00:00 2026-07-01T12:00:00 2026-11-23T04:40:43Zx 2026-11-23T04:40:43+00:00x'''
texts = [t for line in TIMES.split('\n') for t in (line.split(' ') if '23 04' not in line else line.replace('23 04', '23_04').split(' '))]
rows = []
for text in texts + ['2026-11-23 04:40:43', '2026-11-23T04:40:43 ', ' 2026-11-23', '٢٠٢٦-11-23', '2026-11-23é04:40']:
    row = {'text': text}
    for zone in ('UTC', 'Europe/Berlin'):
        try:
            t = isoparse(text)
            if t.tzinfo is None:
                t = t.replace(tzinfo=zoneinfo.ZoneInfo(zone))
            row[zone] = t.astimezone(dt.timezone.utc).isoformat()
        except (ValueError, OverflowError):
            row[zone] = None
    rows.append(row)
with open(os.path.join(HERE, 'times.json'), 'w') as f:
    json.dump(rows, f, indent=0)
    f.write('\n')

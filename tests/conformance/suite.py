"""Celery's integration suite: fetched from its source distribution, unpacked beside the build, never committed."""
import subprocess
import sys
import tarfile
from pathlib import Path

VERSION = "5.7.0"
ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "target" / "conformance"
WANTED = ("t/__init__.py", "t/skip.py", "t/canvas_helpers.py", "t/integration/")


def fetch():
    """The folder with `t` in it."""
    folder = CACHE / f"celery-{VERSION}"
    if (folder / "t" / "integration" / "tasks.py").exists():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    archive = CACHE / f"celery-{VERSION}.tar.gz"
    if not archive.exists():
        # Only celery itself from source: with `:all:` pip would build what builds it from source, too.
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                        "--no-binary", "celery", f"celery=={VERSION}", "--dest", str(CACHE)], check=True)
    prefix = f"celery-{VERSION}/"
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            path = member.name.removeprefix(prefix)
            if member.isfile() and path.startswith(WANTED) and ".." not in Path(path).parts:
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(tar.extractfile(member).read())
    return folder


def listed(filters):
    """The ids that the suite is run with; each filter is a part of an id."""
    lines = (Path(__file__).parent / "open.txt").read_text().splitlines()
    ids = [line for line in lines if line and not line.startswith("#")]
    return [one for one in ids if not filters or any(word in one for word in filters)]

"""compose/checks/compose_file.py FILE: holds a Compose file to the specification that Compose 2 goes by, and to what is promised.

The schema is the specification's own, strictly, in the copy that check-jsonschema brings. What a schema cannot say is looked at
here: names lead somewhere, every variable has a default or says what to do, nothing but nginx is reached from outside, secrets are
files, and everything is bounded and asked whether it is well. Faults are printed, all of them.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from settings import known_settings
from yaml_files import documents

VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?:(?P<kind>:?[-?])(?P<text>[^}]*))?\}|(?P<bare>\w+))")
# Those of the program itself, with the role that each is asked as.
ROLES = {"api": "api", "worker": "worker", "beat": "beat", "beat-standby": "beat", "keeper": "keeper"}
# It ends.
NEVER_ASKED = {"migrate"}


class Composed:
    """A Compose file with its variables at their defaults."""

    def __init__(self, path: Path) -> None:
        self.faults: list[str] = []
        [file] = documents(path)
        self.file = self.resolved(file)
        self.services: dict[str, dict] = self.file["services"]

    def fault(self, where: str, text: str) -> None:
        self.faults.append(f"{where}: {text}")

    def resolved(self, value: Any) -> Any:
        if isinstance(value, str):
            return VARIABLE.sub(self.default, value)
        if isinstance(value, list):
            return [self.resolved(one) for one in value]
        if isinstance(value, dict):
            return {key: self.resolved(one) for key, one in value.items()}
        return value

    def default(self, found: re.Match) -> str:
        if found["escaped"]:
            return "$"
        name = found["name"] or found["bare"]
        if found["kind"] == ":-":
            return found["text"]
        if found["kind"] != ":?" or len(found["text"].split()) < 3:
            self.fault(name, "it has no default and does not say what to do")
        return "given"

    def against_schema(self) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(self.file, file)
            file.flush()
            checked = subprocess.run(
                [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", file.name],
                capture_output=True, text=True, check=False,
            )
        if checked.returncode != 0:
            self.fault("the specification", checked.stdout + checked.stderr)

    def check(self) -> None:
        self.against_schema()
        for name, service in self.services.items():
            for text in [*self.names(service), *self.is_bounded(name, service), *self.keeps_secrets(name, service)]:
                self.fault(name, text)

    def names(self, service: dict) -> Iterator[str]:
        """What a service speaks of is there, whichever profiles are on."""
        for kind in ("secrets", "networks"):
            yield from (f"{kind} has no {one}" for one in service.get(kind, []) if one not in self.file[kind])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if not source.startswith((".", "/")) and source not in self.file["volumes"]:
                yield f"volumes has no {source}"
        for needed, how in service.get("depends_on", {}).items():
            other = self.services.get(needed)
            if other is None:
                yield f"there is no service {needed}"
                continue
            if not set(other.get("profiles", [])) <= set(service.get("profiles", [])):
                yield f"{needed} is left out where this is not"
            if how["condition"] == "service_healthy" and "test" not in other.get("healthcheck", {}):
                yield f"nobody asks whether {needed} is healthy"

    def is_bounded(self, name: str, service: dict) -> Iterator[str]:
        if "mem_limit" not in service:
            yield "it may take all memory"
        if service.get("logging", {}).get("options", {}).keys() != {"max-size", "max-file"}:
            yield "its log grows for ever"
        for port in service.get("ports", []):
            if name != "nginx" and not port.startswith("127.0.0.1:"):
                yield f"{port} is reached from outside"
        asked = service.get("healthcheck", {}).get("test", [])
        if name in ROLES and asked != ["CMD", "lovage", "health", ROLES[name]]:
            yield f"it is not asked as the role that it is: {asked}"
        if name not in NEVER_ASKED and not asked:
            yield "nobody asks whether it is well"

    def keeps_secrets(self, name: str, service: dict) -> Iterator[str]:
        """Secrets come as files; what the program is told has a meaning to it."""
        environment = service.get("environment", {})
        for variable, value in environment.items():
            if not variable.endswith("_FILE") and re.search(r"PASSWORD|SECRET|TOKEN|KEY$|DSN|BROKER_URL|DATABASE_URL|RESULT_BACKEND", variable):
                yield f"{variable} is a secret, and no file"
            if variable.endswith("_FILE") and value and value.removeprefix("/run/secrets/") not in service["secrets"]:
                yield f"{variable} is {value}, which it is not given"
            if name in {*ROLES, "migrate"} and variable.removesuffix("_FILE") not in known_settings():
                yield f"{variable} is no setting"


def main() -> int:
    composed = Composed(Path(sys.argv[1]))
    composed.check()
    for fault in composed.faults:
        print(fault, file=sys.stderr)
    print(f"{len(composed.services)} services, the Compose specification")
    return 1 if composed.faults else 0


if __name__ == "__main__":
    sys.exit(main())

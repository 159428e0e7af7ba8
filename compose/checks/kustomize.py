"""What `kubectl kustomize FOLDER` gives, for layouts that do what ours do.

kustomize is a Go program that not every machine can have; the manifests are checked on each. What this does not know in a
kustomization.yaml is an error, so that nothing is passed over. Where kubectl is installed, compose/check compares the two.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yaml_files import documents

# Where a Secret's name stands in a pod.
REFERENCES = {"secret": "secretName", "secretRef": "name", "secretKeyRef": "name"}


def build(folder: Path) -> list[dict]:
    """The manifests of a folder with a kustomization.yaml."""
    [layout] = documents(folder / "kustomization.yaml")
    if (layout.pop("apiVersion"), layout.pop("kind")) != ("kustomize.config.k8s.io/v1beta1", "Kustomization"):
        raise ValueError(f"{folder}: this is no Kustomization")
    manifests: list[dict] = []
    for resource in layout.pop("resources"):
        path = folder / resource
        manifests += build(path) if path.is_dir() else documents(path)
    renamed: dict[str, str] = {}
    for wanted in layout.pop("secretGenerator", []):
        secret = generated(folder, wanted)
        renamed[wanted["name"]] = secret["metadata"]["name"]
        manifests.append(secret)
    for labels in layout.pop("labels", []):
        only(labels, {"pairs", "includeSelectors"}, f"{folder}: labels")
        if labels.get("includeSelectors"):
            raise ValueError(f"{folder}: labels in selectors are not known here")
        for manifest in manifests:
            manifest["metadata"].setdefault("labels", {}).update(labels["pairs"])
    for image in layout.pop("images", []):
        only(image, {"name", "newName", "newTag"}, f"{folder}: images")
        for mapping in mappings(manifests):
            if isinstance(mapping.get("image"), str) and mapping["image"].split(":")[0] == image["name"]:
                mapping["image"] = f"{image['newName']}:{image['newTag']}"
    if namespace := layout.pop("namespace", None):
        for manifest in manifests:
            manifest["metadata"]["namespace"] = namespace
    for mapping in mappings(manifests):
        for key, name in REFERENCES.items():
            if isinstance(mapping.get(key), dict) and mapping[key].get(name) in renamed:
                mapping[key][name] = renamed[mapping[key][name]]
    only(layout, set(), str(folder))
    return manifests


def only(mapping: dict, known: set[str], where: str) -> None:
    """Refuses a mapping with a key that nothing is done about."""
    if unknown := set(mapping) - known:
        raise ValueError(f"{where}: {', '.join(sorted(unknown))} is not known here")


def mappings(value: Any) -> Iterator[dict]:
    """Every mapping in a value, however deep."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from mappings(inner)


def generated(folder: Path, wanted: dict) -> dict:
    """A Secret of files. Its name ends with a digest of what is in it, so that a new content has a new name and is rolled out."""
    only(wanted, {"name", "files"}, f"{folder}: secretGenerator")
    data = {}
    for entry in wanted["files"]:
        key, path = entry.split("=")
        data[key] = base64.b64encode((folder / path).read_bytes()).decode()
    # As kustomize does it, without the name.
    content = {"kind": "Secret", "type": "Opaque", "name": "", "data": data}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    # No vowels and no digits that look like one: the digest forms no word.
    digest = hashlib.sha256(text.encode()).hexdigest()[:10].translate(str.maketrans("013ae", "ghkmt"))
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"{wanted['name']}-{digest}"},
        "type": "Opaque",
        "data": data,
    }

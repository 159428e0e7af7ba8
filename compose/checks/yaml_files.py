"""YAML as Compose and Kubernetes read it: a key that stands twice is an error, where PyYAML takes the last one silently."""

from pathlib import Path

import yaml


class Loader(yaml.SafeLoader):
    """PyYAML's, which tells of a key that stands twice."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Looks at keys before those that `<<` brings are among them, which may be overridden; so once at each node."""
        if not hasattr(node, "keys_seen"):
            node.keys_seen = set()
            for key, _ in node.value:
                if key.value in node.keys_seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands twice", key.start_mark)
                node.keys_seen.add(key.value)
        super().flatten_mapping(node)


def documents(path: Path) -> list[dict]:
    """All documents of a file that are not empty."""
    with path.open(encoding="utf-8") as file:
        return [document for document in yaml.load_all(file, Loader) if document]

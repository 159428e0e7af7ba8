"""compose/checks/kubernetes.py FOLDER [FILE]: holds the manifests that a kustomize layout builds to Kubernetes, and to each other.

Each must be as Kubernetes' own schemas have it, to the last name, in the oldest version that is promised and the newest that is
known. Names that lead from one to another must lead somewhere. Every workload has what is promised of it. FILE is what
`kubectl kustomize FOLDER` printed, where somebody has it: it must be the same. Faults are printed, all of them.
"""

import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate
from kubernetes_validate import utils

from kustomize import build, mappings
from settings import known_settings
from yaml_files import documents

OLDEST = "1.29"
# A custom resource, which Kubernetes' own schemas do not have: KEDA's definition, as far as ours uses it. Scalers want strings.
SCALED_OBJECT = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "keda.sh/v1alpha1"},
        "kind": {"const": "ScaledObject"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "required": ["scaleTargetRef", "triggers"],
            "additionalProperties": False,
            "properties": {
                "scaleTargetRef": {
                    "type": "object",
                    "required": ["name"],
                    "additionalProperties": False,
                    "properties": {name: {"type": "string"} for name in ("apiVersion", "kind", "name", "envSourceContainerName")},
                },
                **{
                    name: {"type": "integer", "minimum": 0}
                    for name in (
                        "pollingInterval", "cooldownPeriod", "initialCooldownPeriod",
                        "idleReplicaCount", "minReplicaCount", "maxReplicaCount",
                    )
                },
                "triggers": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["type", "metadata"],
                        "additionalProperties": False,
                        "properties": {
                            "type": {"const": "prometheus"},
                            "name": {"type": "string"},
                            "metricType": {"enum": ["AverageValue", "Value"]},
                            "metadata": {
                                "type": "object",
                                "required": ["serverAddress", "query", "threshold"],
                                "additionalProperties": False,
                                "properties": {
                                    name: {"type": "string"}
                                    for name in ("serverAddress", "query", "threshold", "activationThreshold", "namespace")
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}

# Read once: the package reads its files for each manifest.
utils.schema_contents = cache(utils.schema_contents)


def named(manifest: dict) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def against_schemas(manifest: dict) -> Iterator[str]:
    """What Kubernetes would refuse, or pass over."""
    try:
        if manifest["apiVersion"].startswith("keda.sh/"):
            jsonschema.validate(manifest, SCALED_OBJECT)
            return
        for version in (OLDEST, utils.latest_version()):
            kubernetes_validate.validate(manifest, version, strict=True)
    except jsonschema.ValidationError as error:
        yield f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
    except utils.SchemaNotFoundError as error:
        yield error.message


def selects(selector: dict, labels: dict) -> bool:
    return selector.items() <= labels.items()


class Cluster:
    """All manifests, and what they say of each other."""

    def __init__(self, manifests: list[dict]) -> None:
        self.manifests = manifests

    def of(self, *kinds: str) -> list[dict]:
        return [manifest for manifest in self.manifests if manifest["kind"] in kinds]

    def find(self, kind: str, name: str | None) -> dict | None:
        return next((one for one in self.of(kind) if one["metadata"]["name"] == name), None)

    def faults(self) -> Iterator[str]:
        for manifest in self.manifests:
            for fault in [*against_schemas(manifest), *self.of_one(manifest)]:
                yield f"{named(manifest)}: {fault}"

    def of_one(self, manifest: dict) -> Iterator[str]:
        spec = manifest.get("spec", {})
        if manifest["kind"] in ("Deployment", "Job"):
            yield from self.of_pod(spec["template"]["spec"])
        if manifest["kind"] == "Deployment":
            yield from self.of_role(spec)
        if manifest["kind"] == "Service":
            pods = [one["spec"]["template"] for one in self.of("Deployment")]
            pods = [pod for pod in pods if selects(spec["selector"], pod["metadata"]["labels"])]
            ports = {port["name"] for pod in pods for port in pod["spec"]["containers"][0]["ports"]}
            yield from (f"no pod has a port {port['targetPort']}" for port in spec["ports"] if port["targetPort"] not in ports)
        if manifest["kind"] == "ScaledObject":
            target = self.find("Deployment", spec["scaleTargetRef"]["name"])
            if target is None:
                yield f"there is no Deployment {spec['scaleTargetRef']['name']}"
            elif "replicas" in target["spec"]:
                yield f"each roll-out would set {target['metadata']['name']} back to its own number of replicas"

    def of_pod(self, pod: dict) -> Iterator[str]:
        """What a pod needs of others is there, and what it is told has a meaning."""
        if self.find("ServiceAccount", pod.get("serviceAccountName")) is None:
            yield f"there is no ServiceAccount {pod.get('serviceAccountName')}"
        told: dict[str, str] = {}
        for mapping in mappings(pod):
            if "configMapRef" in mapping:
                config = self.find("ConfigMap", mapping["configMapRef"]["name"])
                told |= config["data"] if config else {}
                if config is None:
                    yield f"there is no ConfigMap {mapping['configMapRef']['name']}"
            if isinstance(secret := mapping.get("secret"), dict):
                found = self.find("Secret", secret["secretName"])
                if found is None:
                    yield f"there is no Secret {secret['secretName']}"
                    continue
                keys = [item["key"] for item in secret["items"]]
                yield from (f"the Secret has no key {key}" for key in keys if key not in found["data"])
        [container] = pod["containers"]
        told |= {one["name"]: one["value"] for one in container.get("env", [])}
        files = {f"{mount['mountPath']}/{item['path']}" for mount in container["volumeMounts"] for volume in pod["volumes"]
                 if volume["name"] == mount["name"] for item in volume.get("secret", {}).get("items", [])}
        for name, value in told.items():
            if name.removesuffix("_FILE") not in known_settings():
                yield f"{name} is no setting"
            if name.endswith("_FILE") and value not in files:
                yield f"{name} is {value}, where nothing is mounted"

    def of_role(self, spec: dict) -> Iterator[str]:
        """What is promised of every role: probes, a budget, time to drain, no rights."""
        labels, pod = spec["template"]["metadata"]["labels"], spec["template"]["spec"]
        [container] = pod["containers"]
        budgets = [one["spec"]["selector"]["matchLabels"] for one in self.of("PodDisruptionBudget")]
        if sum(selects(selector, labels) for selector in budgets) != 1:
            yield "it has not one PodDisruptionBudget"
        if not selects(spec["selector"]["matchLabels"], labels):
            yield "it does not select its own pods"
        ports = {port["containerPort"] for port in container["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if container.get(probe, {}).get("httpGet", {}).get("port") not in ports:
                yield f"its {probe} asks no port that it has"
        for name, unit in (("LOVAGE_DRAIN_TIMEOUT", {"s": 1, "m": 60}), ("LOVAGE_API_DRAIN_TIMEOUT", {"s": 1, "m": 60})):
            for told in container.get("env", []):
                if told["name"] == name:
                    [(number, letter)] = re.findall(r"^(\d+)([sm])$", told["value"])
                    if int(number) * unit[letter] >= pod["terminationGracePeriodSeconds"]:
                        yield f"it is killed before {name} is over"
        rights = container["securityContext"]
        if not (pod["securityContext"]["runAsNonRoot"] and rights["readOnlyRootFilesystem"] and rights["capabilities"] == {"drop": ["ALL"]}):
            yield "it has more rights than it needs"
        if not {"requests", "limits"} <= container["resources"].keys():
            yield "nothing bounds what it takes"


def main() -> int:
    manifests = build(Path(sys.argv[1]))
    faults = list(Cluster(manifests).faults())
    if sys.argv[2:]:
        ours, theirs = (sorted(built, key=named) for built in (manifests, documents(Path(sys.argv[2]))))
        faults += [f"{named(one)}: kustomize makes another of it" for one, other in zip(ours, theirs) if one != other]
        if len(ours) != len(theirs):
            faults.append(f"kustomize makes {len(theirs)} manifests, not {len(ours)}")
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(manifests)} manifests, Kubernetes {OLDEST} to {utils.latest_version()}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

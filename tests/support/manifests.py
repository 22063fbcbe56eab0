"""What the folder k8s/ renders to, and PromQL's names."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PLACES = ("base", "overlays/city", "overlays/demo")


@cache
def rendered(place: str) -> tuple[dict[str, Any], ...]:
    """Every manifest of a folder of k8s/, by kustomize."""
    if kubectl := shutil.which("kubectl"):
        command = [kubectl, "kustomize"]
    else:
        kustomize = shutil.which("kustomize")
        assert kustomize, "neither kubectl (1.27 or newer) nor kustomize (5) is there: see tools/system_packages.sh"
        command = [kustomize, "build"]
    done = subprocess.run([*command, str(ROOT / "k8s" / place)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")  # a deprecation is told on stderr
    return tuple(yaml.safe_load_all(done.stdout))


def one(place: str, kind: str, name: str = "vidhub") -> dict[str, Any]:
    """The manifest of that kind and name; of a generated ConfigMap the name goes on with its hash."""
    found = [
        each
        for each in rendered(place)
        if each["kind"] == kind and re.fullmatch(rf"{name}(-[a-z0-9]{{10}})?", each["metadata"]["name"])
    ]
    assert len(found) == 1, (kind, name, [each["metadata"]["name"] for each in rendered(place)])
    return found[0]


def environment(place: str) -> dict[str, str]:
    """What the hub's container would find in its environment; a field of the pod is an address."""
    container = one(place, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    found = dict(one(place, "ConfigMap")["data"])
    for variable in container["env"]:
        found[variable["name"]] = variable.get("value", "10.1.2.3")
    return found


def alert_rules() -> list[dict[str, Any]]:
    text = (ROOT / "ops" / "prometheus" / "vidhub.rules.yml").read_text(encoding="utf-8")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def metrics_in(expression: str) -> set[str]:
    """The metrics of ours that an expression names."""
    return set(re.findall(r"\bvidhub_\w+", expression))


def selectors_in(expression: str) -> list[tuple[str, str, str, str]]:
    """(metric, label, operator, value) of each condition on a metric of ours."""
    found = []
    for metric, inside in re.findall(r"\b(vidhub_\w+)\{([^}]*)\}", expression):
        for label, operator, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', inside):
            found.append((metric, label, operator, value))
    return found

"""The manifests: what they render to is valid, restricted, and of one mind with the code."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import typer
import yaml
from support.manifests import PLACES, ROOT, environment, one, rendered

from vidhub.app.hub import DRAIN_S
from vidhub.cli import app
from vidhub.config import OFF, ListenOptions, load, split_address

# Kinds of the Prometheus operator, which the schemas of Kubernetes do not know.
OURS = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"): "service-monitor.json",
    ("monitoring.coreos.com/v1", "PrometheusRule"): "prometheus-rule.json",
}
SCHEMAS = Path(__file__).with_name("schemas")
VERSIONS = ("1.29", kubernetes_validate.latest_version())


def complaint(manifest: dict[str, Any], version: str) -> str:
    """What a schema has against it; "" when nothing."""
    try:
        if ours := OURS.get((manifest["apiVersion"], manifest["kind"])):
            jsonschema.validate(manifest, json.loads((SCHEMAS / ours).read_text()))
        else:
            kubernetes_validate.validate(manifest, version, strict=True)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as wrong:
        return f"{manifest['kind']}/{manifest['metadata']['name']}: {list(wrong.absolute_path)}: {wrong.message}"
    return ""


def pods(place: str) -> list[dict[str, Any]]:
    return [each["spec"]["template"]["spec"] for each in rendered(place) if "template" in each.get("spec", {})]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("place", PLACES)
def test_every_manifest_keeps_to_its_schema(place: str, version: str):
    assert [found for each in rendered(place) if (found := complaint(each, version))] == []


def test_the_schemas_can_refuse():
    for kind in ("StatefulSet", "ServiceMonitor", "PrometheusRule", "PodDisruptionBudget", "NetworkPolicy", "Ingress"):
        wrong = copy.deepcopy(one("overlays/city", kind))
        wrong["spec"]["misspelt"] = 1
        assert complaint(wrong, VERSIONS[-1]), kind
    rule = copy.deepcopy(one("overlays/city", "PrometheusRule"))
    rule["spec"]["groups"][0]["rules"][0]["for"] = "soon"
    assert complaint(rule, VERSIONS[-1])


def test_a_city_has_what_the_components_add_and_the_demo_has_not():
    kinds = {place: {each["kind"] for each in rendered(place)} for place in PLACES}
    added = {"PodDisruptionBudget", "ServiceMonitor", "PrometheusRule", "Ingress"}
    assert added <= kinds["overlays/city"]
    assert not added & (kinds["base"] | kinds["overlays/demo"])


@pytest.mark.parametrize("place", ["overlays/city", "overlays/demo"])
def test_everything_of_a_place_is_in_its_namespace(place: str):
    (namespace,) = [each["metadata"]["name"] for each in rendered(place) if each["kind"] == "Namespace"]
    inside = {each["metadata"].get("namespace") for each in rendered(place) if each["kind"] != "Namespace"}
    assert inside == {namespace}


@pytest.mark.parametrize("place", PLACES)
def test_no_pod_may_more_than_it_must(place: str):
    """What the namespaces enforce (Pod Security, "restricted"), and a root that nobody writes."""
    for each in rendered(place):
        if each["kind"] == "Namespace":
            assert each["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pods(place)
    for pod in pods(place):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] >= 10_000
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert all({"emptyDir"} >= volume.keys() - {"name"} for volume in pod.get("volumes", []))
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]
            assert all("hostPort" not in port for port in container["ports"])
            assert container["image"].partition(":")[2] == version()


def version() -> str:
    found = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("place", PLACES)
def test_the_hub_takes_its_environment(place: str):
    """Every option is known and right; the listeners are on the ports that the container says."""
    config = load(environment=environment(place))
    container = one(place, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    ports = {(port["name"], port["containerPort"], port["protocol"]) for port in container["ports"]}
    listen = {each.name: getattr(config.listen, each.name) for each in dataclasses.fields(config.listen)}
    numbers = {name: split_address(listener)[1] for name, listener in listen.items() if listener != OFF}
    assert {split_address(listener)[0] for listener in listen.values() if listener != OFF} == {"0.0.0.0"}
    assert ports == {
        ("http", numbers["http"], "TCP"),
        ("grpc", numbers["grpc"], "TCP"),
        ("rtsp", numbers["rtsp"], "TCP"),
        ("rtp", numbers["rtsp_udp"], "UDP"),
        ("rtcp", numbers["rtsp_udp"] + 1, "UDP"),
        ("rtsps", numbers["rtsps"], "TCP"),
        ("webrtc-udp", numbers["webrtc"], "UDP"),
        ("webrtc-tcp", numbers["webrtc"], "TCP"),
        ("metrics", numbers["metrics"], "TCP"),
    }
    # A listener that is new in the code is missing in the manifests: here it is missed.
    assert numbers.keys() == {each.name for each in dataclasses.fields(ListenOptions)} - {"sip"}
    defaults = ListenOptions()
    assert numbers == {name: split_address(getattr(defaults, name))[1] for name in numbers}


@pytest.mark.parametrize("place", PLACES)
def test_each_container_runs_a_command_that_there_is(place: str):
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for pod in pods(place):
        for container in pod["containers"]:
            assert "command" not in container  # the image's own
            name, *rest = container["args"]
            flags = {flag for parameter in commands[name].params for flag in parameter.opts}
            assert {word for word in rest if word.startswith("-")} <= flags


def test_names_of_services_do_not_become_options():
    """Kubernetes would set VIDHUB_HTTP_PORT and the like, and the hub refuse to start."""
    for place in PLACES:
        assert all(pod["enableServiceLinks"] is False for pod in pods(place))


@pytest.mark.parametrize("place", PLACES)
def test_services_and_policies_name_ports_that_are_there(place: str):
    workloads = [each for each in rendered(place) if "template" in each.get("spec", {})]
    served: set[tuple[str, str]] = set()
    for service in (each for each in rendered(place) if each["kind"] == "Service"):
        (workload,) = [
            each
            for each in workloads
            if service["spec"]["selector"].items() <= each["spec"]["template"]["metadata"]["labels"].items()
        ]
        ports = {port["name"]: port for port in workload["spec"]["template"]["spec"]["containers"][0]["ports"]}
        for port in service["spec"]["ports"]:
            target = ports[port["targetPort"]]
            assert (port["port"], port["protocol"]) == (target["containerPort"], target["protocol"])
            served.add((workload["metadata"]["name"], port["targetPort"]))
    # No port without a service, and no service's port that the policy shuts.
    everything = {
        (each["metadata"]["name"], port["name"])
        for each in workloads
        for port in each["spec"]["template"]["spec"]["containers"][0]["ports"]
    }
    assert served == everything
    let_in = {
        (each["metadata"]["name"], port["port"])
        for each in rendered(place)
        if each["kind"] == "NetworkPolicy"
        for rule in each["spec"]["ingress"]
        for port in rule["ports"]
    }
    assert let_in == everything


@pytest.mark.parametrize("place", PLACES)
def test_what_is_in_clear_is_let_in_from_named_namespaces_alone(place: str):
    policy = one(place, "NetworkPolicy")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    for name in ("http", "metrics"):
        rules = [rule for rule in policy["ingress"] if any(port["port"] == name for port in rule["ports"])]
        assert len(rules) == 1
        assert all("namespaceSelector" in peer for peer in rules[0]["from"])
    beyond = [peer["ipBlock"] for rule in policy["egress"] for peer in rule["to"] if "ipBlock" in peer]
    assert {block["cidr"]: block["except"] for block in beyond} == {
        "0.0.0.0/0": ["169.254.0.0/16"],
        "::/0": ["fe80::/10"],
    }


@pytest.mark.parametrize("place", PLACES)
def test_the_probes_ask_what_the_hub_answers_and_the_grace_outlasts_the_drain(place: str):
    """The paths are those of `api/metrics_http.py`: a running hub is asked for them in the integration tests."""
    pod = one(place, "StatefulSet")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    asked = {name: container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert asked == {
        "startupProbe": {"path": "/readyz", "port": "metrics"},
        "readinessProbe": {"path": "/readyz", "port": "metrics"},
        "livenessProbe": {"path": "/healthz", "port": "metrics"},
    }
    assert pod["terminationGracePeriodSeconds"] > 3 * DRAIN_S
    source = (ROOT / "python/vidhub/api/metrics_http.py").read_text()
    assert set(re.findall(r'Route\("([^"]+)"', source)) == {"/metrics", "/readyz", "/healthz"}


@pytest.mark.parametrize("place", PLACES)
def test_data_are_on_a_volume_below_its_root_and_keys_stay_the_owners(place: str):
    spec = one(place, "StatefulSet")["spec"]
    pod = spec["template"]["spec"]
    (claim,) = spec["volumeClaimTemplates"]
    mounts = {mount["name"]: Path(mount["mountPath"]) for mount in pod["containers"][0]["volumeMounts"]}
    data_dir = load(environment=environment(place)).data_dir
    assert mounts[claim["metadata"]["name"]] == data_dir.parent  # a mount itself can't be restored into
    assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert spec["replicas"] == 1


def test_a_drain_of_the_node_asks_first():
    budget = one("overlays/city", "PodDisruptionBudget")["spec"]
    labels = one("overlays/city", "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert budget["maxUnavailable"] == 0
    assert budget["selector"]["matchLabels"].items() <= labels.items()


def test_the_ingress_leads_to_the_console_under_the_name_that_clients_are_told():
    spec = one("overlays/city", "Ingress")["spec"]
    config = load(environment=environment("overlays/city"))
    (rule,) = spec["rules"]
    assert config.public_url == f"https://{rule['host']}"
    assert spec["tls"][0]["hosts"] == [rule["host"]]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    service = one("overlays/city", "Service", backend["name"])
    assert backend["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}


def test_the_public_services_have_the_address_that_clients_are_told():
    config = load(environment=environment("overlays/city"))
    balanced = [each for each in rendered("overlays/city") if each.get("spec", {}).get("type") == "LoadBalancer"]
    assert {each["metadata"]["name"] for each in balanced} == {
        f"vidhub-{name}" for name in ("grpc", "rtsp", "rtsps", "webrtc")
    }
    assert {each["spec"]["loadBalancerIP"] for each in balanced} == set(config.advertise)
    # Else the limits for each address, and the register of use, would know the node alone.
    assert {each["spec"]["externalTrafficPolicy"] for each in balanced} == {"Local"}


def test_prometheus_finds_the_hub_by_its_monitor_once():
    monitor = one("overlays/city", "ServiceMonitor")["spec"]
    wanted = monitor["selector"]["matchLabels"].items()
    (endpoint,) = monitor["endpoints"]
    found = [
        service["metadata"]["name"]
        for service in rendered("overlays/city")
        if service["kind"] == "Service" and wanted <= service["metadata"]["labels"].items()
        for port in service["spec"]["ports"]
        if port["name"] == endpoint["port"]
    ]
    assert found == ["vidhub"]  # also the job's name, which the alerts go by


def test_every_file_of_the_folder_is_used():
    """A manifest that no kustomization names is one that nobody applies."""
    named: set[Path] = set()
    for file in (ROOT / "k8s").rglob("kustomization.yaml"):
        parsed = yaml.safe_load(file.read_text())
        generated = [
            name.rpartition("=")[2] for each in parsed.get("configMapGenerator", []) for name in each.get("files", [])
        ]
        names = [*parsed.get("resources", []), *parsed.get("components", []), *generated]
        named |= {(file.parent / name).resolve() for name in names} | {file.resolve()}
    files = {path.resolve() for path in (ROOT / "k8s").rglob("*") if path.is_file()}
    assert files <= named

"""The manifests of deploy/kubernetes, rendered by kustomize: schemas, settings, and what belongs together."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from pydantic import SecretStr

from services.learner.jobs.worker_loop import DRAIN_S
from shared import __version__
from shared.metrics import GatewayMetrics, new_registry
from shared.settings import Settings, load_settings

Manifest = dict[str, Any]
ROOT = Path(__file__).resolve().parents[3]
OVERLAYS = ("development", "simulated", "production")
PORTS = {"gateway": "PORT", "embedder": "EMBEDDER_PORT", "learner": "LEARNER_PORT"}
"""The setting of each service's port."""
VERSIONS = ("1.29", "1.37")
"""The oldest version of Kubernetes that docs/operations.md names, and the newest that the validator knows."""


@functools.cache
def rendered(overlay: str) -> list[Manifest]:
    """Return the objects of an overlay, as `kubectl apply -k` sends them."""
    command = [str(Path(sys.executable).parent / "kubectl"), "kustomize", f"deploy/kubernetes/overlays/{overlay}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def different() -> list[Manifest]:
    """Return the objects of all overlays, those that are equal but for the namespace once."""
    found = {}
    for item in (item for overlay in OVERLAYS for item in rendered(overlay)):
        same = json.dumps({**item, "metadata": {**item["metadata"], "namespace": ""}}, sort_keys=True)
        found[same] = item
    return list(found.values())


def of_kind(overlay: str, *kinds: str) -> dict[str, Manifest]:
    return {item["metadata"]["name"]: item for item in rendered(overlay) if item["kind"] in kinds}


def pods(overlay: str) -> dict[str, Manifest]:
    """Return the pod template of each workload."""
    return {name: item["spec"]["template"] for name, item in of_kind(overlay, "Deployment", "StatefulSet").items()}


def main_container(pod: Manifest) -> Manifest:
    (container,) = pod["spec"]["containers"]
    return dict(container)


def settings_of(overlay: str) -> dict[str, str]:
    """Return the ConfigMap that a gateway's environment is made of."""
    (name,) = [
        source["configMapRef"]["name"]
        for source in main_container(pods(overlay)["gateway"])["envFrom"]
        if "configMapRef" in source
    ]
    return dict(of_kind(overlay, "ConfigMap")[name]["data"])


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    expressions = selector.get("matchExpressions", ())
    assert {one["operator"] for one in expressions} <= {"In"}
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(one["key"]) in one["values"] for one in expressions
    )


def selected(overlay: str, selector: Manifest) -> set[str]:
    return {name for name, pod in pods(overlay).items() if selects(selector, pod["metadata"]["labels"])}


def in_operator(manifest: Manifest) -> Manifest:
    """Return what the Prometheus Operator's schema knows of an object: unknown fields are left out."""
    from cloudcoil.models.prometheus_operator import v1  # takes seconds

    model = getattr(v1, manifest["kind"]).model_validate(manifest)
    return dict(model.model_dump(mode="json", by_alias=True, exclude_unset=True))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_fits_its_schema(version: str) -> None:
    """No unknown field, no wrong type, in Kubernetes of this version."""
    for item in different():
        if item["kind"] != "ServiceMonitor":
            kubernetes_validate.validate(item, version, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_settings_are_accepted_and_no_secret_is_among_them(overlay: str) -> None:
    """Settings and the Secret's example name real settings; keys and passwords are in the Secret alone."""
    example = (ROOT / "deploy/kubernetes/overlays/production/secrets.example.env").read_text(encoding="utf-8")
    keys = set(re.findall(r"^(\w+)=", example, re.MULTILINE))
    settings = load_settings(settings_of(overlay), None)
    named = settings_of(overlay).keys()
    assert named | keys <= Settings.model_fields.keys()
    assert overlay != "production" or not named & keys
    assert not [name for name in named if isinstance(getattr(settings, name), SecretStr)]


@pytest.mark.parametrize(("overlay", "preset"), [("development", "dev"), ("production", "prod")])
def test_an_overlay_has_the_settings_of_its_preset(overlay: str, preset: str) -> None:
    """What config.*.yaml sets for Docker Compose is the same in Kubernetes."""
    file = ROOT / f"deploy/config.{preset}.yaml"
    expected = load_settings({"CONFIG_FILE": str(file)}, None)
    settings = load_settings(settings_of(overlay), None)
    for name in yaml.safe_load(file.read_text(encoding="utf-8")):
        assert getattr(settings, name) == getattr(expected, name), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_restricted(overlay: str) -> None:
    """Each fits the Pod Security Standard `restricted`, which its namespace enforces, and more: see the asserts."""
    (namespace,) = of_kind(overlay, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, pod in pods(overlay).items():
        spec, container = pod["spec"], main_container(pod)
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }, name  # fmt: skip
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name
        assert container["resources"]["limits"].keys() == {"memory"}, name
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
        assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}, name  # noqa: S108 - a mount


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_images_have_a_version(overlay: str) -> None:
    """Ours have the project's; a pod never starts with another image than the one that was tested."""
    for name, pod in pods(overlay).items():
        image, _, tag = main_container(pod)["image"].rpartition(":")
        assert image, name
        assert tag == __version__ if "llm-router" in image else re.match(r"v?\d", tag), name


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("service", PORTS)
def test_probes_ask_the_port_of_the_service(overlay: str, service: str) -> None:
    """Ports are the defaults of the settings. Liveness asks /health, and waits for two minutes before it kills."""
    pod = pods(overlay)[service]
    container = main_container(pod)
    port = Settings.model_fields[PORTS[service]].default
    assert PORTS[service] not in settings_of(overlay)
    assert container["ports"] == [{"name": "http", "containerPort": port}]
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(port)
    assert of_kind(overlay, "Service")[service]["spec"]["ports"][0]["port"] == port
    ready = "/health" if service == "learner" else "/ready"
    assert [container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")] == [
        ready, ready, "/health",
    ]  # fmt: skip
    liveness = container["livenessProbe"]
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 120


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_draining_fits_into_the_grace_period(overlay: str) -> None:
    """A service that gets SIGTERM has time for open responses or jobs before it is killed."""
    settings = load_settings(settings_of(overlay), None)
    grace_s = {name: pods(overlay)[name]["spec"]["terminationGracePeriodSeconds"] for name in PORTS}
    drain_s = settings.DRAIN_DELAY_S + settings.DRAIN_TIMEOUT_S
    assert settings.DRAIN_DELAY_S >= 5
    assert grace_s["gateway"] > drain_s + 5
    assert grace_s["learner"] > 2 * DRAIN_S
    if overlay == "production":
        assert settings.DRAIN_TIMEOUT_S >= settings.REQUEST_TIMEOUT_S


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_select(overlay: str) -> None:
    """Services, policies and budgets select the pods that they are named after, or some; addresses are Services."""
    for name, item in of_kind(overlay, "Service").items():
        assert selected(overlay, {"matchLabels": item["spec"]["selector"]}) == {name}
    for name, item in of_kind(overlay, "PodDisruptionBudget").items():
        assert selected(overlay, item["spec"]["selector"]) == {name}
    for name, item in of_kind(overlay, "NetworkPolicy").items():
        assert selected(overlay, item["spec"]["podSelector"]), name
    if overlay != "production":
        settings = load_settings(settings_of(overlay), None)
        urls = (settings.REDIS_URL, settings.QDRANT_URL, settings.EMBEDDER_URL)
        named = {re.sub(r"^\w+://([\w.-]+).*", r"\1", str(url)) for url in urls} | {settings.DATABASE_HOST}
        assert named == {"redis", "qdrant", "embedder", "postgres"} <= of_kind(overlay, "Service").keys()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_gateways_are_reached_from_outside(overlay: str) -> None:
    """Every pod is closed by a policy, the gateway alone is open to all, and only callers reach the internet."""
    policies = of_kind(overlay, "NetworkPolicy")
    assert selected(overlay, policies["only-names"]["spec"]["podSelector"]) == pods(overlay).keys()
    assert policies["only-names"]["spec"]["policyTypes"] == ["Ingress", "Egress"]
    open_to_all, leaving = set(), set()
    for policy in policies.values():
        names = selected(overlay, policy["spec"]["podSelector"])
        if any("from" not in rule for rule in policy["spec"].get("ingress", ())):
            open_to_all |= names
        if any("to" in rule for rule in policy["spec"].get("egress", ())):
            leaving |= names
    assert open_to_all == {"gateway"}
    assert leaving == {"gateway", "learner", "commands"}


def test_autoscalers_own_the_replicas_of_what_they_scale() -> None:
    """By metrics that exist; a re-applied overlay does not undo their work; each scaled pod asks for processor time."""
    registry = new_registry("test")
    GatewayMetrics(registry)
    exported = {metric.name for metric in registry.collect()}
    scalers = of_kind("production", "HorizontalPodAutoscaler")
    assert scalers.keys() == {"gateway", "embedder"}
    for name, scaler in scalers.items():
        assert scaler["spec"]["scaleTargetRef"]["name"] == name
        assert "replicas" not in of_kind("production", "Deployment")[name]["spec"]
        for metric in scaler["spec"]["metrics"]:
            assert metric["type"] == "Resource" or metric["pods"]["metric"]["name"] in exported
    settings = load_settings(settings_of("production"), None)
    in_flight = scalers["gateway"]["spec"]["metrics"][1]["pods"]["target"]["averageValue"]
    assert int(in_flight) * 2 <= settings.MAX_CONCURRENT_REQUESTS
    assert scalers["gateway"]["spec"]["minReplicas"] == settings.ASSUMED_GATEWAYS
    assert of_kind("production", "Deployment")["learner"]["spec"]["replicas"] == 2


def test_the_ingress_passes_long_streams() -> None:
    """Without buffering, and longer than a request may take, as the proxy of Docker Compose."""
    (ingress,) = of_kind("production", "Ingress").values()
    given = {name.rpartition("/")[2]: value for name, value in ingress["metadata"]["annotations"].items()}
    assert given["proxy-buffering"] == given["proxy-request-buffering"] == "off"
    settings = load_settings(settings_of("production"), None)
    assert int(given["proxy-read-timeout"]) > settings.REQUEST_TIMEOUT_S
    nginx = (ROOT / "deploy/nginx.conf").read_text(encoding="utf-8")
    for name in ("proxy-connect-timeout", "proxy-read-timeout", "proxy-send-timeout"):
        assert f"{name.replace('-', '_')} {given[name]}s;" in nginx
    assert {rule["host"] for rule in ingress["spec"]["rules"]} == set(settings.ALLOWED_HOSTS)


def test_prometheus_finds_the_jobs_that_the_rules_name() -> None:
    """The ServiceMonitor fits the Operator's schema, and selects one Service of each job at a port that it has."""
    (monitor,) = of_kind("production", "ServiceMonitor").values()
    assert in_operator(monitor) == monitor
    services = [
        item
        for item in of_kind("production", "Service").values()
        if selects(monitor["spec"]["selector"], item["metadata"]["labels"])
    ]
    jobs = {item["metadata"]["labels"][monitor["spec"]["jobLabel"]] for item in services}
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
    assert jobs == {job["job_name"] for job in config["scrape_configs"]} - {"prometheus"}
    (endpoint,) = monitor["spec"]["endpoints"]
    assert all(port["name"] == endpoint["port"] for item in services for port in item["spec"]["ports"])
    assert endpoint["authorization"]["credentials"] == {"name": "llm-router", "key": "METRICS_TOKEN"}


def test_the_rules_for_the_operator_are_those_of_prometheus() -> None:
    """The command of docs/operations.md makes a valid PrometheusRule with all groups of both files."""
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    (block,) = [block for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) if "PrometheusRule" in block]
    command = block.replace("kubectl apply -f -", "cat")
    made = yaml.safe_load(subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, check=True).stdout)
    files = (ROOT / "deploy/prometheus" / name for name in ("rules.yml", "alerts.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]
    assert made["spec"]["groups"] == groups
    assert in_operator(made) == made

"""The compose files by themselves: what can be checked without an engine. `make compose-test` tries them for real."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from shared.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[3]
FIXED_INSIDE = {
    "HOST",
    "PORT",
    "SHARED_PORT",
    "EMBEDDER_HOST",
    "EMBEDDER_PORT",
    "LEARNER_HOST",
    "LEARNER_PORT",
    "SPOOL_DIR",
}
"""Settings with one value inside a container; PORT is the published one of llm-proxy."""
OURS = ("gateway", "embedder", "learner")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "deploy/docker-compose.yml").read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("service", OURS)
def test_every_setting_reaches_every_service(compose: dict[str, Any], service: str) -> None:
    """What is set in the shell, in .env or by --env-file arrives; what is not set arrives as empty, which is unset."""
    environment = compose["services"][service]["environment"]
    assert set(environment) - {"CONFIG_FILE"} == set(Settings.model_fields) - FIXED_INSIDE
    for name, value in environment.items():
        assert name == "CONFIG_FILE" or value.startswith(f"${{{name}:-"), name


def test_what_compose_sets_by_itself_is_accepted(compose: dict[str, Any]) -> None:
    """The addresses and delays that the file sets by default are valid settings."""
    environment = compose["services"]["gateway"]["environment"]
    given = {name: re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", value) for name, value in environment.items()}
    settings = load_settings({**given, "CONFIG_FILE": str(ROOT / "deploy/config.default.yaml")}, None)
    hosts = {urlsplit(url).hostname for url in (settings.REDIS_URL, settings.QDRANT_URL, settings.EMBEDDER_URL)}
    assert hosts | {settings.DATABASE_HOST} <= set(compose["services"])


@pytest.mark.parametrize(("bound", "most"), [("2147483648", "1610612736"), ("max", "0"), (None, "0")])
def test_redis_may_use_three_quarters_of_its_container(
    compose: dict[str, Any], tmp_path: Path, bound: str | None, most: str
) -> None:
    """Whatever COMPOSE_REDIS_MEMORY says; without a bound there is none. Nothing is evicted, and root is given up."""
    shell, option, script = compose["services"]["redis"]["command"]
    cgroup, entrypoint = tmp_path / "memory.max", tmp_path / "docker-entrypoint.sh"
    if bound is not None:
        cgroup.write_text(bound + "\n")
    entrypoint.write_text('#!/bin/sh\nfor word in "$@"; do echo "<$word>"; done\n')
    entrypoint.chmod(0o755)
    script = script.replace("$$", "$").replace("/sys/fs/cgroup/memory.max", str(cgroup))
    script = script.replace("/sys/fs/cgroup/memory/memory.limit_in_bytes", str(tmp_path / "none"))
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run([shell, option, script], env={"PATH": path}, capture_output=True, text=True, check=True)
    words = re.findall("<(.*)>", done.stdout)
    assert words[0] == "redis-server"
    given = dict(zip(words[1::2], words[2::2], strict=True))
    assert given == {
        "--appendonly": "yes", "--appendfsync": "everysec", "--save": "",
        "--maxmemory-policy": "noeviction", "--maxmemory": most,
    }  # fmt: skip


def test_only_the_door_is_public(compose: dict[str, Any]) -> None:
    """One service is reached from outside; monitoring from this machine alone; stores from inside alone."""
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert set(published) == {"llm-proxy", "prometheus", "grafana"}
    assert all(port.startswith("127.0.0.1:") for name in ("prometheus", "grafana") for port in published[name])


def test_every_service_is_watched_and_restarted(compose: dict[str, Any]) -> None:
    """Each service has a health check and comes back after a crash."""
    for name, service in compose["services"].items():
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}, name


def test_draining_fits_into_the_grace_period(compose: dict[str, Any]) -> None:
    """A gateway that gets SIGTERM has time for its delay and for open answers before it is killed."""
    service = compose["services"]["gateway"]
    delay = float(service["environment"]["DRAIN_DELAY_S"].partition(":-")[2].rstrip("}"))
    assert service["stop_grace_period"] == "60s"
    assert delay + float(Settings.model_fields["DRAIN_TIMEOUT_S"].default) < 60


def test_every_container_is_confined(compose: dict[str, Any]) -> None:
    """Each has a read-only root, no capability but those to give up root, no way to gain any, and bounds."""
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert set(service.get("cap_add", ())) <= {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        assert service["pids_limit"] > 0, name
        assert not re.search(r":-?[^}]*:latest", service["image"]), name


@pytest.mark.parametrize("service", [*OURS, "simulator"])
def test_our_containers_are_not_root(compose: dict[str, Any], service: str) -> None:
    """The Dockerfile's last USER of every stage is an ordinary one."""
    content = compose["services"][service]
    stages = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8").split("\nFROM ")
    users = {stage.split(" AS ")[1].split()[0]: re.findall(r"^USER (\S+)", stage, re.MULTILINE) for stage in stages[1:]}
    target = content["build"]["target"]
    assert (users[target] or users["router"])[-1] == "10001"


def test_nothing_reports_to_its_maker(compose: dict[str, Any]) -> None:
    """Usage reports of other people's programs are switched off."""
    assert compose["services"]["qdrant"]["environment"]["QDRANT__TELEMETRY_DISABLED"] == "true"
    assert compose["services"]["grafana"]["environment"]["GF_ANALYTICS_REPORTING_ENABLED"] == "false"


def test_both_example_files_are_one_and_valid() -> None:
    """`.env.example` and `deploy/config.env` are the same; commented lines name real settings with accepted values."""
    example, other = (ROOT / name for name in (".env.example", "deploy/config.env"))
    assert example.read_bytes() == other.read_bytes()
    lines = re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", example.read_text(encoding="utf-8"), re.MULTILINE)
    named = {name: value for name, value in lines if name != "CONFIG_FILE" and not name.startswith("COMPOSE_")}
    assert {"OPENROUTER_API_KEY", "EXPLORATION_RATE", "PORT"} <= set(named) <= set(Settings.model_fields)
    load_settings(named, None)


def test_locks_are_hashed_and_name_no_place() -> None:
    """Every locked package has a hash, and no lock says from where or on which machine it was resolved."""
    for path in sorted((ROOT / "deploy/requirements").glob("*.txt")):
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in text.splitlines():
            assert re.fullmatch(r"[a-z0-9._-]+==\S+( ; .*?)?\s+(--hash=sha256:[0-9a-f]{64}\s*)+", line), (
                path,
                line[:80],
            )


def test_locks_agree() -> None:
    """What is tested is what runs: every package of a smaller lock is in the larger one, in the same version."""
    packages = [
        set(re.findall(r"^([a-z0-9._-]+==[^\s;]+)", (ROOT / "deploy/requirements" / name).read_text(), re.MULTILINE))
        for name in ("runtime.txt", "local.txt", "test.txt")
    ]
    assert packages[0] <= packages[1] <= packages[2]

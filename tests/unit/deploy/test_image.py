"""The image of CI: its labels, its platforms, and the list of its contents."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ["linux/amd64,linux/arm64", "llm-router:0.1.0", "type=oci,dest=dist/image.tar"]),
        (
            {"IMAGE": "example.test/router", "PLATFORMS": "linux/arm64", "PUSH": "1"},
            ["linux/arm64", "example.test/router:0.1.0", "type=registry"],
        ),
    ],
)
def test_ci_builds_each_platform_with_labels(
    environment: dict[str, str], expected: list[str], project: Path, tmp_path: Path
) -> None:
    """Docker gets platforms, tag and output, and a value for each argument that the labels use; the SBOM is made first.

    `docker` and `make` are scripts that write down their arguments.
    """
    for name in ("docker", "make"):
        script = tmp_path / name
        script.write_text(f'#!/bin/sh\nprintf "%s\\n" {name} "$@" >> "{tmp_path}/called"\n')
        script.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    inherited = {name: value for name, value in os.environ.items() if name not in {"IMAGE", "PLATFORMS", "PUSH"}}
    subprocess.run([project / ".ci" / "image"], check=True, env=inherited | environment | {"PATH": path})
    called = (tmp_path / "called").read_text().splitlines()
    assert called[:5] == ["make", "sbom", "docker", "buildx", "build"]
    after = dict(itertools.pairwise(called))
    assert [after["--platform"], after["--tag"], after["--output"]] == expected

    given = dict(word.split("=", 1) for word in called if re.match(r"[A-Z]+=", word))
    dockerfile = (project / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    used = re.findall(r'org\.opencontainers\.image\.\w+="\$\{(\w+)\}"', dockerfile)
    assert set(given) == set(used) == {"VERSION", "REVISION", "CREATED"}
    assert given["VERSION"] == "0.1.0"
    assert all(given.values())


def test_the_sbom_lists_each_locked_package(project: Path, tmp_path: Path) -> None:
    """Name, version and hashes of every package of the image."""
    tool = project / ".local" / "sbom" / "bin" / "cyclonedx-py"
    if not tool.exists():
        pytest.skip("`make sbom` installs the tool")
    lock, out = project / "deploy" / "requirements" / "runtime.txt", tmp_path / "sbom.json"
    words = (tool, "requirements", lock, "--pyproject", project / "pyproject.toml", "--validate", "-o", out)
    subprocess.run([str(word) for word in words], check=True, capture_output=True)
    components = json.loads(out.read_text())["components"]
    locked = set(re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==([\w.]+)", lock.read_text(), re.MULTILINE))
    assert {(component["name"], component["version"]) for component in components} == locked
    assert all("hashes" in component["externalReferences"][0] for component in components)

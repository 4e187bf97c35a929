"""Other gateways for comparison, each in its own folder under `.local/peers`, never in our `.venv`."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.load.processes import pin
from benchmarks.load.rig import Rig, command_of
from benchmarks.load.targets import Target
from deploy.local.plan import ROOT
from deploy.local.servers import Server, free_port

FOLDER = ROOT / ".local" / "peers"
LITELLM_PACKAGE, PORTKEY_PACKAGE = "litellm[proxy]==1.106.2", "@portkey-ai/gateway@1.15.2"
"""Versions that the goals refer to."""

LITELLM = FOLDER / "litellm" / "bin" / "litellm"
PORTKEY_FOLDER = FOLDER / "portkey"
PORTKEY = PORTKEY_FOLDER / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
START_S = 120.0

_LITELLM_CONFIG = """\
model_list:
  - model_name: instant-a
    litellm_params: {{model: openai/instant-a, api_base: {upstream}/v1, api_key: bench}}
litellm_settings: {{num_retries: 0, telemetry: false}}
general_settings: {{dangerously_permit_weak_or_unset_master_key: true}}
"""


def install() -> None:
    """Install missing peers; Portkey only if npm is available. Raises CalledProcessError."""
    if not LITELLM.exists():
        print("installing LiteLLM into .local/peers (once) ...", flush=True)
        folder = LITELLM.parents[1]
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(LITELLM.with_name("python")), "-m", "pip", "--disable-pip-version-check", "-q", "install"]
        subprocess.run([*pip, LITELLM_PACKAGE], check=True)
    npm = shutil.which("npm")
    if npm and not PORTKEY.exists():
        print("installing Portkey into .local/peers (once) ...", flush=True)
        subprocess.run([npm, "install", "--silent", "--prefix", str(PORTKEY_FOLDER), PORTKEY_PACKAGE], check=True)


@contextlib.contextmanager
def peers(rig: Rig, folder: Path) -> Iterator[list[Target]]:
    """Start the installed peers, each on the tested core; yield their targets."""
    found = []
    with contextlib.ExitStack() as stack:
        for name, command, headers in _installed(rig, folder):
            port = free_port()
            one = Server(name, [*command, f"--port={port}"], folder / f"{name}.log", {"PORT": str(port)}, folder=folder)
            one.start()
            stack.callback(one.stop)
            one.wait_for_port(port, START_S)
            if one.process is not None:
                pin(one.process.pid, (rig.own_core,))
                rig.pids[name] = one.process.pid
                url = f"http://127.0.0.1:{port}/v1/chat/completions"
                found.append(Target(name, url, one.process.pid, model="instant-a", headers=headers))
        yield found


def _installed(rig: Rig, folder: Path) -> Iterator[tuple[str, list[str], str]]:
    if LITELLM.exists():
        config = folder / "litellm.yaml"
        config.write_text(_LITELLM_CONFIG.format(upstream=rig.upstream), encoding="utf-8")
        yield "LiteLLM", [str(LITELLM), "--config", str(config), "--host=127.0.0.1"], ""
    node = shutil.which("node")
    if node and PORTKEY.exists():
        headers = f"x-portkey-provider: openai|x-portkey-custom-host: {rig.upstream}/v1|Authorization: Bearer bench"
        yield "Portkey", [node, str(PORTKEY), "--headless"], headers


def versions() -> dict[str, str]:
    """Return the versions of installed peers."""
    found = {}
    if LITELLM.exists():
        found["LiteLLM"] = command_of(
            str(LITELLM.with_name("python")), "-c", "import importlib.metadata as m; print(m.version('litellm'))"
        )
    if PORTKEY.exists():
        found["Portkey"] = command_of("node", "-p", f"require('{PORTKEY.parents[1] / 'package.json'}').version")
    return found

"""The way of one plain chat request through the gateway's process: `python -m benchmarks.request_path [FOLDER]`.

Starts the local stack with an instant upstream, sends the same request again and again, and prints every function of
ours that each of them entered, in the order of first entry, and how many modules these are. What the background loops
run beside a request differs from one to the next, so that only what all requests share is counted. FOLDER is another
checkout to look at.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType

from benchmarks.load.rig import server
from benchmarks.load.upstream import MODELS
from deploy.local.plan import ROOT, Planner
from deploy.local.servers import free_port
from deploy.local.stack import Stack
from shared.settings import Settings, load_settings

MODELS_FOLDER = ROOT / ".local" / "models"
WARM_UP, ROUNDS = 30, 30


def trace(gateway: str, target: Path) -> None:
    """Send requests from a thread to the gateway that runs in this one; write the path to `target`."""
    rounds: list[dict[str, None]] = []
    root = f"{Path.cwd()}{os.sep}"

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and rounds:
            code = frame.f_code
            if code.co_filename.startswith(root) and "/.venv/" not in code.co_filename:
                rounds[-1].setdefault(f"{code.co_filename.removeprefix(root)}:{code.co_qualname}")

    def ask() -> None:
        _wait(f"{gateway}/ready")
        client = http.client.HTTPConnection(gateway.removeprefix("http://"), timeout=10)  # keeps its connection
        for number in range(WARM_UP + ROUNDS):
            if number >= WARM_UP:
                rounds.append({})
            _ask(client, number)
            time.sleep(0.02)  # what the request leaves to do after its answer
        shared = set(rounds[0]).intersection(*rounds)
        target.with_suffix(".new").write_text(json.dumps([name for name in rounds[0] if name in shared]))
        target.with_suffix(".new").rename(target)

    from services.gateway.__main__ import main as run_gateway  # noqa: PLC0415 - what is measured starts here

    sys.argv[1:] = []
    threading.Thread(target=ask, daemon=True).start()
    sys.setprofile(note)
    run_gateway()


def _wait(url: str) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own address
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)


def _ask(client: http.client.HTTPConnection, number: int) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": f"What is {number} plus {number}?"}]})
    client.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    client.getresponse().read()


def measure(checkout: Path) -> list[str]:
    """Return the path through the gateway of a checkout, as `file:function`."""
    with tempfile.TemporaryDirectory(prefix="llm-router-path-") as name:
        folder, port = Path(name), free_port()
        target = folder / "path.json"
        with server("upstream", folder, port):
            planner = Planner(_settings(f"http://127.0.0.1:{port}/v1"), folder / "stack", MODELS_FOLDER, anywhere=True)
            with Stack(planner) as stack:
                part = next(part for part in stack.plan.parts if part.name == "gateway")
                part.server.command = [sys.executable, __file__, "--trace", stack.plan.gateway_url, str(target)]
                part.server.folder, part.server.environment = checkout, {
                    **part.server.environment, "PYTHONPATH": str(checkout)
                }  # fmt: skip
                stack.start()
                for _ in range(600):
                    if target.exists():
                        return list(json.loads(target.read_text()))
                    time.sleep(0.1)
        raise TimeoutError("the gateway has not answered all requests within a minute")


def _settings(upstream: str) -> Settings:
    names = {"OPENROUTER_BASE_URL": upstream, "OPENROUTER_API_KEY": "bench", "LLM_MODELS": ",".join(MODELS)}
    return load_settings({**names, "DEFAULT_MODEL": MODELS[0], "HOST": "127.0.0.1"}, dotenv=None)


def main() -> None:
    """Print the path and the number of modules."""
    path = measure(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT).resolve())
    print("\n".join(path))
    modules = dict.fromkeys(entry.partition(":")[0] for entry in path)
    own = sum(module.startswith("services/gateway/") for module in modules)
    print(f"\n{len(path)} functions in {len(modules)} modules, {own} of them of the gateway itself:")
    print("\n".join(f"{sum(entry.startswith(module + ':') for entry in path):4} {module}" for module in modules))


if __name__ == "__main__":
    if "--trace" in sys.argv:
        trace(sys.argv[2], Path(sys.argv[3]))
    else:
        main()

"""Terminal output of `make run`: the table of addresses, commands to paste, and the log of every part."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from deploy.local.plan import Plan
from deploy.local.stack import STACK
from shared.settings import Settings

COLOURS = {"gateway": 36, "embedder": 35, "learner": 32, "redis": 31, "postgres": 33, "qdrant": 34, "simulator": 33}
USE = {
    "gateway": "the API",
    "embedder": "texts to vectors",
    "learner": "feedback to posteriors",
    "redis": "learned state, records, events",
    "qdrant": "similar requests",
    "postgres": "history",
    "simulator": "SIMULATED upstream",
}

CLEAR_LINE = "\r\x1b[K"
OVERCOMMIT = "Memory overcommit must be enabled"
"""Advice of Redis on kernel settings: useful on a server, and not on a laptop."""
STARTING = "the database system is starting up"
"""What PostgreSQL logs at each of our readiness probes during its start."""


def show_line(name: str, line: str) -> None:
    """Print a log line after the name of its part; one that ends in a carriage return is overwritten by the next."""
    if (name == "redis" and OVERCOMMIT in line) or (name == "postgres" and STARTING in line):
        return
    transient = line.endswith("\r")
    if not sys.stdout.isatty():
        if not transient:
            print(f"{name:<9} | {line}", flush=True)
        return
    colour = "" if os.environ.get("NO_COLOR") else f"\x1b[{COLOURS.get(_kind(name), 0)}m"
    prefix = f"{CLEAR_LINE}{colour}{name:<9} |\x1b[0m"
    print(prefix, line.rstrip("\r"), end="\r" if transient else "\n", flush=True)


def say(text: str) -> None:
    """Print a line of the stack itself."""
    show_line(STACK, text)


def show_banner(plan: Plan, settings: Settings, *, seconds: float, folder: str, models: Sequence[str] = ()) -> None:
    """Print the table of addresses, the lines on `models`, warnings, and the first commands."""
    console = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 120)
    table = Table(box=box.SIMPLE_HEAD, title=f"LLM Router is ready, after {seconds:.1f} s", title_justify="left")
    for column in ("part", "address", "purpose"):
        table.add_column(column, overflow="fold")
    for row in _address_rows(plan, settings):
        table.add_row(*row)
    console.print(table, soft_wrap=False)
    for line in models:
        print(line)
    if settings.DASHBOARD:
        print(f"Dashboard: {dashboard_url(plan)}")
    print(f"Data: {plan.data}, logs: {folder}/logs (kept between starts)")
    if plan.simulated:
        text = "No OPENROUTER_API_KEY is set: every answer is SIMULATED and free. Put a key into .env for real ones."
        console.print(Panel(text, style="bold yellow", expand=False), soft_wrap=False)
    if plan.warning is not None:
        console.print(Panel(plan.warning, style="bold red", expand=False), soft_wrap=False)
    console.print("Try it (paste into another terminal):\n")
    for line in commands(
        _public(plan.gateway_url), key_needed=bool(settings.API_KEYS), admin_key_needed=bool(settings.ADMIN_API_KEYS)
    ):
        print(line)
    console.print("\nCtrl-C stops everything. Logs follow.\n")


def _address_rows(plan: Plan, settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Yield part, address and purpose."""
    if sum(_kind(part.name) == "gateway" for part in plan.parts) > 1:
        yield "gateways", _public(plan.gateway_url), USE["gateway"]
    for part in reversed(plan.parts):
        yield part.name, _public(part.url), USE.get(part.name, "its own address, for metrics")
    for setting, url in plan.given.items():
        yield setting, url, "yours, used as set"
    if not plan.simulated and not {"OPENROUTER_BASE_URL", "MODELS_FILE"} & plan.given.keys():
        yield "upstream", settings.OPENROUTER_BASE_URL, "real models: those that are not free cost money"


def _kind(name: str) -> str:
    """Return the name of a part without the number of the process."""
    return name.partition("-")[0]


def dashboard_url(plan: Plan) -> str:
    """Return the address of the dashboard."""
    return f"{_public(plan.gateway_url)}/ui"


def commands(url: str, *, key_needed: bool, admin_key_needed: bool) -> list[str]:
    """Return shell commands that send a chat request, rate the answer, and show the results."""
    key = ' -H "Authorization: Bearer $API_KEY"' if key_needed else ""
    admin = ' -H "Authorization: Bearer $ADMIN_KEY"' if admin_key_needed else key
    json = " -H 'Content-Type: application/json'"
    chat = '{"messages": [{"role": "user", "content": "Why is the sky blue?"}]}'
    feedback = '{\\"request_id\\": \\"$ID\\", \\"score\\": 0.9}'
    return [
        *(["  API_KEY=...   # one of API_KEYS"] if key_needed else []),
        *(["  ADMIN_KEY=...   # one of ADMIN_API_KEYS"] if admin_key_needed else []),
        "  ID=try-$RANDOM$RANDOM",
        f"  curl -s {url}/chat/completions{key}{json} -H \"X-Request-ID: $ID\" -d '{chat}'; echo",
        f'  curl -s {url}/feedback{key}{json} -d "{feedback}"; echo',
        f"  curl -s {url}/requests/$ID{key}; echo",
        f"  curl -s {url}/arms{admin}; echo",
        f"  curl -s {url}/health{admin}; echo",
    ]


def _public(url: str) -> str:
    return url.replace("://127.0.0.1", "://localhost")

"""Generator of the tables in the docs: `make configuration` writes them into the pages.

A page marks the lines that are generated, `<!-- settings: begin -->` to `<!-- settings: end -->`; everything else in it
is written by hand. `tests/unit/docs/test_docs.py` fails where a page is out of date.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.registry import Collector
from pydantic import SecretStr

from shared.metrics import EmbedderMetrics, GatewayMetrics, LearnerMetrics, ProcessMetrics
from shared.settings import Settings
from shared.settings.explain import allowed
from tools.architecture_tables import contracts_table, packages_tree

ROOT = Path(__file__).resolve().parents[1]

BASIC = (
    *("OPENROUTER_API_KEY", "OPENROUTER_BASE_URL", "LLM_MODELS", "DEFAULT_MODEL"),
    *("HOST", "PORT", "API_KEYS", "ADMIN_API_KEYS", "BUDGET_USD_PER_DAY"),
    *("FEEDBACK_WEIGHT", "LATENCY_WEIGHT", "COST_WEIGHT", "EXPLORATION_RATE", "SAFE_START", "JUDGE_MODEL"),
    "ENABLE_PERSISTENCE",
)
"""Settings that most installations should look at; all others are advanced."""

_SETTINGS_HEAD = "| Variable | Value | Default | Description |\n|---|---|---|---|"
_METRICS_HEAD = "| Metric | Of | Type | Labels | What it says |\n|---|---|---|---|---|"


def setting_rows() -> dict[str, str]:
    """Return the table row of each setting, by its name."""
    rows = {}
    for name, field in Settings.model_fields.items():
        kind = "a secret" if "Secret" in str(field.annotation) else allowed(field)
        rows[name] = f"| `{name}` | {kind} | {_default(name, field.default)} | {field.description} |"
    return rows


def metric_rows() -> dict[str, str]:
    """Return the table row of each metric, by its name."""
    rows = {}
    kinds = (
        ("each", ProcessMetrics),
        ("gateway", GatewayMetrics),
        ("embedder", EmbedderMetrics),
        ("learner", LearnerMetrics),
    )
    for service, metrics in kinds:
        for metric in vars(metrics(CollectorRegistry())).values():
            name, kind, labels = _describe(metric)
            listed = ", ".join(f"`{label}`" for label in labels) or "-"
            rows[name] = f"| `{name}` | {service} | {kind} | {listed} | {_text(metric)} |"
    return rows


def _default(name: str, value: object) -> str:
    if value is None or value == ():
        return "-"
    if isinstance(value, SecretStr):
        raise TypeError(f"{name} has a secret as its default")
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)


def _describe(metric: Collector) -> tuple[str, str, tuple[str, ...]]:
    if not isinstance(metric, Counter | Gauge | Histogram):
        raise TypeError(f"{metric!r} is no metric")
    ending = "_total" if isinstance(metric, Counter) else ""
    kind = next(kind for kind in (Counter, Gauge, Histogram) if isinstance(metric, kind))
    name, labels = metric._name, metric._labelnames  # noqa: SLF001 - prometheus_client has no public way to ask
    return name + ending, kind.__name__.lower(), labels


def _text(metric: Collector) -> str:
    return str(getattr(metric, "_documentation"))  # noqa: B009 - prometheus_client has no public way to ask


def settings_tables() -> str:
    """Return the tables of all settings: the basic ones, then the advanced ones by section."""
    return "\n".join(_settings_lines())


def _settings_lines() -> Iterator[str]:
    rows = setting_rows()
    yield f"### Basic settings\n\n{_SETTINGS_HEAD}"
    yield from (rows[name] for name in BASIC)
    yield "\n### Advanced settings"
    for section, names in sections().items():
        advanced = [name for name in names if name not in BASIC]
        if advanced:
            yield f"\n#### {section.capitalize()}\n\n{_SETTINGS_HEAD}"
            yield from (rows[name] for name in advanced)


def sections() -> dict[str, list[str]]:
    """Return the settings' names by the section comments (`# -- name`) of their class and its bases."""
    found: dict[str, list[str]] = {}
    for kind in Settings.__mro__:
        section = ""
        for line in inspect.getsource(kind).splitlines() if "shared.settings" in kind.__module__ else ():
            if line.startswith("    # -- "):
                section = line.removeprefix("    # -- ")
            name = line.strip().partition(":")[0]
            if name in Settings.model_fields and line.startswith("    " + name):
                found.setdefault(section, []).append(name)
    return found


def metrics_table() -> str:
    """Return the table of all metrics."""
    return "\n".join((_METRICS_HEAD, *metric_rows().values()))


GENERATED: dict[tuple[str, str], Callable[[], str]] = {
    ("docs/configuration.md", "settings"): settings_tables,
    ("docs/operations.md", "metrics"): metrics_table,
    ("docs/architecture.md", "packages"): packages_tree,
    ("docs/architecture.md", "contracts"): contracts_table,
}
"""Makers of the generated lines, by page and mark."""


def up_to_date(page: str, mark: str) -> tuple[str, str]:
    """Return the text of a page as it is, and as it should be. Raises ValueError where its marks are missing."""
    text = (ROOT / page).read_text(encoding="utf-8")
    begin, end = f"<!-- {mark}: begin -->\n", f"\n<!-- {mark}: end -->"
    head, _, rest = text.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise ValueError(f"{page} has no lines between {begin.strip()} and {end.strip()}")
    return text, head + begin + GENERATED[page, mark]() + end + tail


def main() -> None:
    """Write all generated lines."""
    for page, mark in GENERATED:
        before, after = up_to_date(page, mark)
        if after != before:
            (ROOT / page).write_text(after, encoding="utf-8")
            print(f"{page}: updated")


if __name__ == "__main__":
    main()

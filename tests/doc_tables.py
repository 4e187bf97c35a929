"""The tables of the docs that are made from the code: `python -m tests.doc_tables` prints what they should be.

`tests/unit/test_docs.py` compares. The text stays in the Markdown files, so that they can be read without running
anything.
"""

from __future__ import annotations

import inspect

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.registry import Collector
from pydantic import SecretStr

from shared.metrics import EmbedderMetrics, GatewayMetrics, LearnerMetrics, ProcessMetrics
from shared.settings import Settings
from shared.settings.explain import allowed


def setting_rows() -> dict[str, str]:
    """Return the row of each setting in the README's table."""
    rows = {}
    for name, field in Settings.model_fields.items():
        kind = "a secret" if "Secret" in str(field.annotation) else allowed(field)
        rows[name] = f"| `{name}` | {kind} | {_default(name, field.default)} | {field.description} |"
    return rows


def metric_rows() -> dict[str, str]:
    """Return the row of each metric in the operations page's table."""
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
    return metric._name + ending, kind.__name__.lower(), metric._labelnames


def _text(metric: Collector) -> str:
    return str(getattr(metric, "_documentation"))  # noqa: B009 - prometheus_client has no public way to ask


def groups() -> dict[str, list[str]]:
    """Return the settings by the section comments (`# -- name`) of their class."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in inspect.getsource(Settings).splitlines():
        if line.startswith("    # -- "):
            section = line.removeprefix("    # -- ")
        name = line.strip().partition(":")[0]
        if name in Settings.model_fields and line.startswith("    " + name):
            found.setdefault(section, []).append(name)
    return found


def main() -> None:
    """Print all tables."""
    rows = setting_rows()
    for section, names in groups().items():
        print(f"\n**{section.capitalize()}**\n\n| Variable | Value | Default | Description |\n|---|---|---|---|")
        print("\n".join(rows[name] for name in names))
    print("\n| Metric | Of | Type | Labels | What it says |\n|---|---|---|---|---|")
    print("\n".join(metric_rows().values()))


if __name__ == "__main__":
    main()

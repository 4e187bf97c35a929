"""Recorded outcomes: scores and costs of real models on real prompts.

A folder holds `models.csv`, `prompts.jsonl.gz` and `outcomes.csv.gz`. Without one, the example files inside the wheel
`paretobandit` are read as files; the package is never imported. Missing costs are computed as tokens x price.
"""

from __future__ import annotations

import csv
import gzip
import importlib.metadata
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.bandit.arms import ArmId, Price

EXAMPLE = "paretobandit"
CHARS_PER_TOKEN = 4
MILLION = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """Outcomes of the same K models on n prompts.

    Attributes:
        name: name of the data set.
        models: K names.
        prices: K list prices; None where the data has none.
        prompts: n different texts.
        tasks: n names; "" where the data has none.
        scores: (n, K), 0 to 1.
        costs: (n, K), USD.
        prompt_tokens: (n, K); characters / 4 where the data has none.
        completion_tokens: (n, K); where the data has none, derived from cost and price, else 0.
    """

    name: str
    models: tuple[ArmId, ...]
    prices: tuple[Price | None, ...]
    prompts: tuple[str, ...]
    tasks: tuple[str, ...]
    scores: NDArray[np.float64]
    costs: NDArray[np.float64]
    prompt_tokens: NDArray[np.int64]
    completion_tokens: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of prompts."""
        return len(self.prompts)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Outcomes:
        """Return the outcomes of these prompts, in this order."""
        index = np.asarray(rows, dtype=np.int64)
        return Outcomes(
            self.name,
            self.models,
            self.prices,
            tuple(self.prompts[row] for row in index),
            tuple(self.tasks[row] for row in index),
            self.scores[index],
            self.costs[index],
            self.prompt_tokens[index],
            self.completion_tokens[index],
        )


@dataclass(slots=True)
class _Cell:
    score: float
    cost: float | None
    prompt_tokens: int | None
    completion_tokens: int | None


@dataclass(slots=True)
class _Row:
    prompt: str
    task: str
    cells: dict[ArmId, _Cell]


def load_outcomes(folder: Path | None) -> Outcomes:
    """Read a folder, or the example (None).

    Prompts without an outcome of every model are left out, and so are repeated prompts. Raises ValueError, with a
    message for the user, when the files are inconsistent, and OSError when they cannot be read.
    """
    if folder is None:
        return _build(EXAMPLE, *_read_example())
    return _build(folder.resolve().name, *_read_folder(folder))


def _build(name: str, prices: Mapping[ArmId, Price | None], rows: Iterator[_Row]) -> Outcomes:
    models = tuple(prices)
    complete: dict[str, _Row] = {}
    for row in rows:
        if len(row.cells) == len(models):
            complete.setdefault(row.prompt, row)
    if not models or not complete:
        raise ValueError(f"{name}: no prompt has an outcome of every model in models.csv")
    kept = list(complete.values())
    cells = [[_completed(row.cells[model], prices[model], row.prompt) for model in models] for row in kept]
    scores = np.array([[cell.score for cell in line] for line in cells])
    costs = np.array([[cell.cost for cell in line] for line in cells], dtype=np.float64)
    if not (np.isfinite(scores).all() and (scores >= 0).all() and (scores <= 1).all()):
        raise ValueError(f"{name}: a score is outside [0, 1]")
    if not (np.isfinite(costs).all() and (costs >= 0).all()):
        raise ValueError(f"{name}: a cost is missing and cannot be computed from a price, or is negative")
    return Outcomes(
        name=name,
        models=models,
        prices=tuple(prices.values()),
        prompts=tuple(row.prompt for row in kept),
        tasks=tuple(row.task for row in kept),
        scores=scores,
        costs=costs,
        prompt_tokens=np.array([[cell.prompt_tokens for cell in line] for line in cells], dtype=np.int64),
        completion_tokens=np.array([[cell.completion_tokens for cell in line] for line in cells], dtype=np.int64),
    )


def _completed(cell: _Cell, price: Price | None, prompt: str) -> _Cell:
    """Fill in missing values; a cost that cannot be computed becomes NaN."""
    prompt_tokens = cell.prompt_tokens
    if prompt_tokens is None:
        prompt_tokens = max(1, len(prompt) // CHARS_PER_TOKEN)
    completion_tokens = cell.completion_tokens
    if completion_tokens is None:
        completion_tokens = 0
        if price is not None and price.completion_usd > 0 and cell.cost is not None:
            completion_tokens = max(0, round((cell.cost - prompt_tokens * price.prompt_usd) / price.completion_usd))
    cost = cell.cost
    if cost is None:
        cost = float("nan") if price is None else price.cost_usd(prompt_tokens, completion_tokens)
    return _Cell(cell.score, cost, prompt_tokens, completion_tokens)


# -- a folder ----------------------------------------------------------------------------------------------------------


def _read_folder(folder: Path) -> tuple[dict[ArmId, Price | None], Iterator[_Row]]:
    with (folder / "models.csv").open(encoding="utf-8", newline="") as lines:
        prices = {line["model"]: _price_of(line) for line in csv.DictReader(lines)}
    return prices, _folder_rows(folder, prices)


def _price_of(line: Mapping[str, str | None]) -> Price | None:
    prompt, completion = line.get("price_in_usd_per_million"), line.get("price_out_usd_per_million")
    if not prompt or not completion:
        return None
    return Price(float(prompt) / MILLION, float(completion) / MILLION)


def _folder_rows(folder: Path, prices: Mapping[ArmId, Price | None]) -> Iterator[_Row]:
    cells: dict[str, dict[ArmId, _Cell]] = {}
    with gzip.open(folder / "outcomes.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        for line in csv.DictReader(lines):
            if line["model"] not in prices:
                raise ValueError(f"{folder.name}: outcomes.csv.gz names {line['model']}, which models.csv does not")
            cells.setdefault(line["prompt_id"], {})[line["model"]] = _Cell(
                float(line["score"]),
                _number(line.get("cost_usd")),
                _whole(line.get("input_tokens")),
                _whole(line.get("output_tokens")),
            )
    with gzip.open(folder / "prompts.jsonl.gz", "rt", encoding="utf-8") as texts:
        for text in texts:
            prompt = json.loads(text)
            yield _Row(prompt["prompt"], str(prompt.get("task") or ""), cells.get(prompt["id"], {}))


def _number(text: str | None) -> float | None:
    return float(text) if text else None


def _whole(text: str | None) -> int | None:
    return round(float(text)) if text else None


# -- the example -------------------------------------------------------------------------------------------------------


def _read_example() -> tuple[dict[ArmId, Price | None], Iterator[_Row]]:
    distribution = importlib.metadata.distribution(EXAMPLE)
    package = Path(str(distribution.locate_file("pareto_bandit")))
    listed: list[dict[str, Any]] = json.loads((package / "config" / "models.json").read_text("utf-8"))["models"]
    prices: dict[ArmId, Price | None] = {
        model["model_id"]: Price(model["input_cost_per_m"] / MILLION, model["output_cost_per_m"] / MILLION)
        for model in listed
    }
    return prices, _example_rows(package / "data" / "examples")


def _example_rows(folder: Path) -> Iterator[_Row]:
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise ValueError(f"the wheel {EXAMPLE} has no example data; reinstall it, or name a folder with DATA=")
    for file in files:
        for text in file.read_bytes().splitlines():  # bytes: a str would also split at U+2028, which prompts contain
            line = json.loads(text)
            cells = {arm: _Cell(seen["reward"], seen["cost"], None, None) for arm, seen in line["arms"].items()}
            yield _Row(line["prompt"], str(line.get("source") or ""), cells)

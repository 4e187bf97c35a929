"""Terminal output of the demo."""

from __future__ import annotations

import asyncio
import time

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deploy.local.demo.traffic import Progress
from deploy.local.demo.utility import Utilities, compare, shares
from deploy.simulator.recorded_outcomes import Outcomes

PLAIN_EVERY_S = 3.0
NOTE = (
    "All policies on the same prompts; a model's name: always this model; *: the best one, known only in hindsight. "
    "Quality and cost are recorded from real models. Latency is simulated: 40 to 120 ms, longer for expensive models."
)


class Screen:
    """Display of the progress: live tables on a terminal, else a line every few seconds."""

    def __init__(self, console: Console, outcomes: Outcomes, utility: Utilities, progress: Progress) -> None:
        self._console = console
        self._outcomes = outcomes
        self._utility = utility
        self._progress = progress

    async def follow(self) -> None:
        """Update until cancelled."""
        if not self._console.is_terminal:
            while True:
                await asyncio.sleep(PLAIN_EVERY_S)
                self._console.print(self._line())
        with Live(self._tables(), console=self._console, refresh_per_second=4, transient=True) as live:
            while True:
                await asyncio.sleep(0.25)
                live.update(self._tables())

    def final(self) -> None:
        """Print the final tables."""
        self._console.print(self._tables())

    def _line(self) -> Text:
        lines = {line.name: line for line in compare(self._outcomes, self._utility, self._progress.chosen)}
        text = f"{self._progress.answered}/{len(self._outcomes)} requests, {self._progress.rated} rated"
        if "router" in lines:
            router, random = lines["router"], lines["random"]
            text += f", utility {router.utility:.4f} (random {random.utility:.4f})"
            text += f", quality {router.quality:.3f}, USD {router.cost_usd * 1000:.4f} per 1000"
        return Text(text)

    def _tables(self) -> Group:
        return Group(self._head(), self._share_table(), self._comparison())

    def _head(self) -> Text:
        progress = self._progress
        kinds = ", ".join(f"{count} {kind}" for kind, count in progress.kinds.most_common())
        errors = ", ".join(f"{count} x {error}" for error, count in progress.errors.most_common())
        seconds = time.monotonic() - progress.began
        return Text(
            f"{self._outcomes.name}: {progress.answered} of {len(self._outcomes)} real prompts answered, "
            f"{progress.rated} ratings accepted, {seconds:.0f} s; decisions: {kinds or 'none yet'}"
            + (f"; FAILED: {errors}" if errors else "")
        )

    def _share_table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, title="Share of requests per model", title_justify="left")
        for column in ("model", "first 10 %", "last 10 %", "all"):
            table.add_column(column, justify="left" if column == "model" else "right")
        progress, models = self._progress, self._outcomes.models
        first, last = progress.part(0.0, 0.1), progress.part(0.9, 1.0)
        columns = [shares(part, len(models)) for part in (first, last, progress.part(0.0, 1.0))]
        for index, model in enumerate(models):
            cells = [f"{column[index]:.1%}" for column in columns]
            if not len(last):
                cells[1] = "-"
            table.add_row(model, *cells)
        return table

    def _comparison(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, title=self._utility.definition(), title_justify="left")
        table.caption, table.caption_justify = NOTE, "left"
        table.add_column("policy", overflow="fold")
        for column in ("quality", "USD/1000", "utility", "v random"):
            table.add_column(column, justify="right", no_wrap=True)
        lines = compare(self._outcomes, self._utility, self._progress.chosen)
        random = next((line.utility for line in lines if line.name == "random"), 0.0)
        for line in lines:
            table.add_row(
                line.name,
                f"{line.quality:.4f}",
                f"{line.cost_usd * 1000:.4f}",
                f"{line.utility:.4f}",
                f"{line.utility - random:+.4f}",
                style="bold green" if line.name == "router" else None,
            )
        return table

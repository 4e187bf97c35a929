"""Terminal output of the demo, at most 80 columns wide."""

from __future__ import annotations

import asyncio
import time

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deploy.local.demo.evaluation_cost import EvaluationCost
from deploy.local.demo.prompt_kinds import kind_lines
from deploy.local.demo.traffic import Progress
from deploy.local.demo.utility import Utilities, compare, shares
from deploy.local.demo.verdict import verdict
from deploy.simulator.recorded_outcomes import Outcomes

PLAIN_EVERY_S = 3.0
KINDS = 8
WIDTH = 80


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
        with Live(self._tables(0.0), console=self._console, refresh_per_second=4, transient=True) as live:
            while True:
                await asyncio.sleep(0.25)
                live.update(self._tables(0.0))

    def final(self, spent: EvaluationCost) -> None:
        """Print the final tables and the verdict."""
        progress = self._progress
        self._console.print(self._tables(spent.spent_usd))
        if progress.order:
            self._console.print(self._kinds())
        for sentence in verdict(self._outcomes, self._utility, progress.chosen, progress.order, spent):
            self._console.print(sentence, width=WIDTH, style="bold" if sentence.startswith("Verdict") else "")

    def _line(self) -> Text:
        text = f"{self._progress.answered}/{len(self._outcomes)} requests"
        if self._progress.rated:
            text += f", {self._progress.rated} rated"
        if self._progress.order:
            lines = compare(self._outcomes, self._utility, self._progress.chosen)
            text += f", utility {lines[0].utility:.4f} (at random {lines[-1].utility:.4f})"
        return Text(text)

    def _tables(self, evaluation_usd: float) -> Group:
        return Group(self._head(), self._comparison(evaluation_usd))

    def _head(self) -> Text:
        progress = self._progress
        errors = ", ".join(f"{count} x {error}" for error, count in progress.errors.most_common())
        seconds = time.monotonic() - progress.began
        return Text(
            f"{self._outcomes.name}: {progress.answered} of {len(self._outcomes)} real prompts answered, "
            f"{progress.rated} ratings accepted, {seconds:.0f} s"
            + (f"; {progress.degraded} decided WITHOUT CONTEXT: this machine is too busy" if progress.degraded else "")
            + (f"; FAILED: {errors}" if errors else "")
        )

    def _comparison(self, evaluation_usd: float) -> Table:
        progress, models = self._progress, self._outcomes.models
        table = Table(
            box=box.SIMPLE_HEAD,
            width=WIDTH,
            padding=(0, 1, 0, 0),
            title="Always one model, on the same prompts",
            title_justify="left",
        )
        table.caption_justify = "left"
        table.caption = f"{self._utility.definition()}. The router's cost is with its evaluations."
        table.add_column("always", overflow="fold", ratio=1)
        for column in ("quality", "USD/1000", "utility", "first 10%", "last 10%"):
            table.add_column(column, justify="right", no_wrap=True)
        ends = [shares(progress.part(*part), len(models)) for part in ((0.0, 0.1), (0.9, 1.0))]
        for line in compare(self._outcomes, self._utility, progress.chosen, evaluation_usd):
            table.add_row(
                line.name,
                f"{line.quality:.4f}",
                f"{line.cost_usd * 1000:.4f}",
                f"{line.utility:.4f}",
                *("" if line.column is None else f"{end[line.column]:.0%}" for end in ends),
                style="bold green" if line.name == "the router" else None,
            )
        return table

    def _kinds(self) -> Table:
        progress = self._progress
        names = [model.rpartition("/")[2] for model in self._outcomes.models]
        table = Table(
            box=box.SIMPLE_HEAD, width=WIDTH, padding=(0, 1, 0, 0), title="By kind of prompt", title_justify="left"
        )
        table.add_column("kind", overflow="fold", ratio=2)
        table.add_column("prompts", justify="right", no_wrap=True)
        table.add_column("chosen at the end", overflow="fold", ratio=3)
        table.add_column("share", justify="right", no_wrap=True)
        table.add_column("best in hindsight", overflow="fold", ratio=3)
        for line in kind_lines(self._outcomes, self._utility.utility, progress.chosen, progress.order, KINDS):
            table.add_row(line.name, str(line.prompts), names[line.favourite], f"{line.share:.0%}", names[line.best])
        return table

"""What the names of policies choose: a table of recorded outcomes."""

from __future__ import annotations

import pytest

from benchmarks.policies import main

MODELS = 3


def test_cheap_costs_less_than_best(capsys: pytest.CaptureFixture[str]) -> None:
    """And `always` rows are those of one model; each row's shares sum to 100 %."""
    main(["--learned", "200", "--prompts", "50"])
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    rows = {name: [float(cell.removesuffix(" %")) for cell in cells] for name, *cells in lines[1:]}
    assert [*rows][:3] == ["`auto`", "`auto:best`", "`auto:cheap`"]
    for shares in (cells[:MODELS] for cells in rows.values()):
        assert sum(shares) == pytest.approx(100, abs=1)
    assert all(max(cells[:MODELS]) == 100 for name, cells in rows.items() if name.startswith("always"))
    assert rows["`auto:cheap`"][-1] < 0.5 * rows["`auto:best`"][-1]


@pytest.mark.parametrize("given", [["--learned", "0"], ["--prompts", "0"], ["--learned", "10000000"]])
def test_too_few_prompts_are_a_message(given: list[str]) -> None:
    with pytest.raises(SystemExit, match="choose fewer"):
        main(given)

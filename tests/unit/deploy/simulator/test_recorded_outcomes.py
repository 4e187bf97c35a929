"""Recorded outcomes: what is read is what is in the files, and nothing is invented silently."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from deploy.simulator.recorded_outcomes import load_outcomes


def folder_with(path: Path, *, models: str, prompts: list[dict[str, str]], outcomes: str) -> Path:
    (path / "models.csv").write_text(models)
    with gzip.open(path / "prompts.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(prompt) + "\n" for prompt in prompts)
    with gzip.open(path / "outcomes.csv.gz", "wt") as file:
        file.write(outcomes)
    return path


PRICED = "model,price_in_usd_per_million,price_out_usd_per_million\na/x,1,10\nb/y,2,20\n"


def test_the_example_is_complete_and_in_range() -> None:
    """Without a folder there are thousands of real prompts, each answered by the same models at a real price."""
    outcomes = load_outcomes(None)
    shape = len(outcomes), len(outcomes.models)
    assert shape[0] > 3000
    assert shape[1] == 3
    assert outcomes.scores.shape == outcomes.costs.shape == shape
    assert len(set(outcomes.prompts)) == len(outcomes.prompts) == len(outcomes.tasks)
    assert np.isfinite(outcomes.costs).all()
    assert (outcomes.costs > 0).all()
    assert ((outcomes.scores >= 0) & (outcomes.scores <= 1)).all()
    assert all(price is not None for price in outcomes.prices)


def test_a_missing_cost_is_tokens_times_price(tmp_path: Path) -> None:
    """A folder without costs gets them from its tokens and list prices."""
    folder = folder_with(
        tmp_path,
        models=PRICED,
        prompts=[{"id": "1", "prompt": "p"}],
        outcomes="prompt_id,model,score,input_tokens,output_tokens\n1,b/y,1,100,10\n1,a/x,0,100,10\n",
    )
    outcomes = load_outcomes(folder)
    assert outcomes.models == ("a/x", "b/y")
    assert outcomes.costs[0] == pytest.approx([(100 * 1 + 10 * 10) / 1e6, (100 * 2 + 10 * 20) / 1e6])
    assert outcomes.scores[0].tolist() == [0.0, 1.0]
    assert outcomes.tasks == ("",)


def test_a_missing_price_stays_unknown(tmp_path: Path) -> None:
    """Without price columns the recorded cost holds and no price is made up."""
    folder = folder_with(
        tmp_path,
        models="model\na/x\n",
        prompts=[{"id": "1", "prompt": "a prompt", "task": "t"}],
        outcomes="prompt_id,model,score,cost_usd\n1,a/x,0.5,0.25\n",
    )
    outcomes = load_outcomes(folder)
    assert outcomes.prices == (None,)
    assert outcomes.costs.tolist() == [[0.25]]


def test_only_whole_rows_count_and_each_prompt_once(tmp_path: Path) -> None:
    """A prompt that one model has not answered is left out; so is the second copy of a prompt."""
    folder = folder_with(
        tmp_path,
        models=PRICED,
        prompts=[{"id": "1", "prompt": "same"}, {"id": "2", "prompt": "half"}, {"id": "3", "prompt": "same"}],
        outcomes="prompt_id,model,score,cost_usd\n1,a/x,1,1\n1,b/y,1,1\n2,a/x,1,1\n3,a/x,0,1\n3,b/y,0,1\n",
    )
    outcomes = load_outcomes(folder)
    assert outcomes.prompts == ("same",)
    assert outcomes.scores.tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize(
    ("models", "lines", "says"),
    [
        ("model\na/x\n", "1,a/x,0.5,\n", "cost is missing"),
        (PRICED, "1,a/x,1.5,1\n1,b/y,1,1\n", "outside"),
        (PRICED, "1,c/z,1,1\n", "c/z"),
        (PRICED, "1,a/x,1,1\n", "no prompt"),
    ],
)
def test_files_that_do_not_fit_are_refused_in_words(tmp_path: Path, models: str, lines: str, says: str) -> None:
    """What cannot be used is said, not guessed."""
    folder = folder_with(
        tmp_path,
        models=models,
        prompts=[{"id": "1", "prompt": "p"}],
        outcomes="prompt_id,model,score,cost_usd\n" + lines,
    )
    with pytest.raises(ValueError, match=says):
        load_outcomes(folder)


def test_take_keeps_rows_together() -> None:
    """A selection holds the same facts about the same prompts."""
    outcomes = load_outcomes(None)
    some = outcomes.take([7, 3])
    assert some.prompts == (outcomes.prompts[7], outcomes.prompts[3])
    assert some.scores.tolist() == outcomes.scores[[7, 3]].tolist()
    assert some.costs.tolist() == outcomes.costs[[7, 3]].tolist()

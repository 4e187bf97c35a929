"""MODELS_FILE: what it says, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.models_file import ModelsFile, load_models_file, models_of
from shared.models_file.masked import masked_lines
from shared.settings import load_settings

EXAMPLE = Path(__file__).parents[4] / "deploy" / "models.example.yaml"
KEYS = {"OPENROUTER_API_KEY": "sk-or-123456", "OPENAI_API_KEY": "sk-oa-654321"}
UPSTREAM = "upstreams: {one: {base_url: http://one/v1}}\n"


def load(folder: Path, text: str, variables: dict[str, str] | None = None) -> ModelsFile:
    path = folder / "models.yaml"
    path.write_text(text, encoding="utf-8")
    return load_models_file(path, variables or {})


def refused(folder: Path, text: str, variables: dict[str, str] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load(folder, text, variables)
    return str(caught.value).replace(str(folder), "")


def test_the_example_is_valid_and_says_what_its_comments_say() -> None:
    file = load_models_file(EXAMPLE, KEYS)
    assert list(file.upstreams) == ["openrouter", "openai", "local"]
    openai, local = file.upstreams["openai"], file.upstreams["local"]
    assert openai.api_key is not None
    assert openai.api_key.get_secret_value() == KEYS["OPENAI_API_KEY"]
    assert (local.timeout_s, local.stream_options, local.private, openai.private) == (120, False, True, False)
    price = file.models[1].price
    assert price is not None
    assert price.per_token().cache_read_usd == pytest.approx(0.025e-6)
    assert file.models[2].model == "qwen3:8b"
    assert file.policies["coding"].weights.cost == -0.05


def test_capabilities_are_all_that_a_model_can_do_besides_text(tmp_path: Path) -> None:
    file = load(
        tmp_path, UPSTREAM + "models: [{id: a, capabilities: [tools, image]}, {id: b}, {id: c, capabilities: []}]"
    )
    able, unknown, plain = file.models
    assert able.input_modalities == frozenset({"text", "image"})
    assert able.parameters == frozenset({"tools", "tool_choice"})
    assert unknown.input_modalities is None
    assert unknown.parameters is None
    assert plain.input_modalities == plain.output_modalities == frozenset({"text"})
    assert plain.parameters == frozenset()


def test_a_value_means_what_is_written(tmp_path: Path) -> None:
    """YAML 1.1 would read `no` as false and 012 as 10."""
    text = UPSTREAM + "models: [{id: no}, {id: 012, model: 1e3, context_length: 0100}]"
    assert [(model.id, model.model, model.context_length) for model in load(tmp_path, text).models] == [
        ("no", None, None), ("012", "1e3", 100),
    ]  # fmt: skip


def test_a_variable_cannot_add_yaml(tmp_path: Path) -> None:
    text = "upstreams: {one: {base_url: http://one/v1, api_key: ${KEY}}}  # not ${THIS}"
    key = load(tmp_path, text, {"KEY": "a: b}, #"}).upstreams["one"].api_key
    assert key is not None
    assert key.get_secret_value() == "a: b}, #"


def test_a_variable_with_a_default_need_not_be_set(tmp_path: Path) -> None:
    text = "upstreams: {one: {base_url: http://${HOST:-one}/v1, api_key: ${KEY:-}}}"
    upstream = load(tmp_path, text).upstreams["one"]
    assert (upstream.base_url, upstream.api_key) == ("http://one/v1", None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: [{id: a}]", "line 1: upstreams: it is missing"),
        ("upstreams: {}", "line 1: upstreams: this is not allowed; it must be one upstream or more, by name"),
        ("- a", "must be YAML with `upstreams`"),
        ("upstreams: {a: {base_url: x: y}}", "line 1 is not YAML"),
        ("upstreams:\n  One: {base_url: http://one/v1}", "line 2: upstreams.One: 'One' is not allowed: a name is 1 to"),
        ("upstreams:\n  one: {api_key: a}", "line 2: upstreams.one.base_url: it is missing"),
        ("upstreams:\n  one: {base_url: one/v1}",
         "line 2: upstreams.one.base_url: 'one/v1' is not allowed; it must be http:// or https:// and a host"),
        ("upstreams:\n  one:\n    base_url: http://one/v1\n    time_out_s: 3",
         "line 4: upstreams.one.time_out_s: there is no such field; did you mean timeout_s?"),
        ("upstreams:\n  one: {base_url: http://one/v1, timeout_s: 0}",
         "line 2: upstreams.one.timeout_s: '0' is not allowed; it must be a number of seconds, above 0"),
        ("upstreams:\n  one: {base_url: http://one/v1, stream_options: maybe}",
         "line 2: upstreams.one.stream_options: 'maybe' is not allowed; it must be true or false"),
        ("upstreams:\n  one: {base_url: http://one/v1, dialects: [chat, soap]}",
         "line 2: upstreams.one.dialects: this is not allowed: 'soap' is none of chat, responses, messages"),
        ("upstreams:\n  one: {base_url: http://one/v1, extra_headers: {host: x}}", "the router sets this header"),
        ("upstreams: {one: {base_url: https://openrouter.ai/api/v1}}",
         "upstreams.one.api_key: it is required for openrouter.ai"),
        ("upstreams: {one: {base_url: http://user:word@one/v1, api_key: a}}", "upstreams.one.api_key: base_url holds"),
        ("upstreams: {one: {base_url: http://one/v1}}\nupstreams: {}", "line 2: upstreams: it is given twice"),
        (UPSTREAM + "models:\n  - {id: a, upstream: two}",
         "line 3: models[0].upstream: there is no upstream 'two'; there are one"),
        (UPSTREAM + "models:\n  - {id: a}\n  - {id: b}\n  - {id: a, model: c}",
         "line 5: models[2].id: a is the id of another model, too"),
        (UPSTREAM + "models:\n  - {id: auto}", "line 3: models[0].id: auto is a name of the router's own"),
        (UPSTREAM + "models:\n  - {id: auto:cheap}", "auto:cheap is a name of the router's own"),
        (UPSTREAM + "models:\n  - {id: a, price: {prompt: -1, completion: 1}}",
         "line 3: models[0].price.prompt: '-1' is not allowed; it must be a number, 0 to"),
        (UPSTREAM + "models:\n  - {id: a, price: {prompt: nan}}", "models[0].price.prompt: 'nan' is not"),
        (UPSTREAM + "models:\n  - {id: a, price: {prompt: 1}}", "line 3: models[0].price.completion: it is missing"),
        (UPSTREAM + "models:\n  - {id: a, price: 3}",
         "line 3: models[0].price: '3' is not allowed; it must be lines with prompt, completion, cache_read, request"),
        (UPSTREAM + "models: {a: {}}", "line 2: models: this is not allowed; it must be a list of entries with id"),
        (UPSTREAM + "models: [{id: a, capabilities: [tool]}]", "models[0].capabilities: this is not allowed: 'tool'"),
        (UPSTREAM + "models: [{id: a, context_length: many}]", "models[0].context_length: 'many' is not allowed"),
        (UPSTREAM + "models: [{id: a}]\npolicies:\n  p: {arms: [b]}", "line 4: policies.p.arms: b is not in `models`"),
        (UPSTREAM + "models: [{id: a}]\npolicies:\n  p: {default: b}", "line 4: policies.p.default: b is not in"),
        (UPSTREAM + "models: [{id: a, capabilities: [tools]}]\npolicies:\n  p: {require: [image]}",
         "line 4: policies.p.require: none of its models has image"),
        (UPSTREAM + "policies:\n  p: {weights: {cost: 1}}",
         "line 3: policies.p.weights.cost: '1' is not allowed; it must be a number, -1 to 0"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_line_and_what_is_allowed(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(tmp_path, text)


def test_every_problem_is_named_and_no_secret(tmp_path: Path) -> None:
    text = (
        "upstreams:\n  one: {base_url: http://one/v1, api_key: 'sk-se\u00e9cret'}\n"
        "  two: {base_url: http://me:sk-secret@two:x/v1}\n  three: {base_url: http://three/v1, api_key: ${MISSING}}\n"
    )
    said = refused(tmp_path, text).splitlines()
    assert [line.partition("line ")[2][:1] for line in sorted(said)] == ["2", "3", "4"]
    assert "the variable MISSING is not set" in "".join(said)
    assert "sk-se" not in "".join(said)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.yaml cannot be read: No such file"):
        load_models_file(tmp_path / "none.yaml", {})


def test_without_a_file_the_settings_are_the_only_upstream() -> None:
    settings = load_settings({"OPENROUTER_BASE_URL": "http://one/v1", "OPENROUTER_API_KEY": "abc"}, None)
    file = models_of(settings, {})
    assert list(file.upstreams) == ["openrouter"]
    assert file.upstreams["openrouter"].base_url == "http://one/v1"
    assert (file.models, file.policies) == ((), {})


def test_models_are_named_in_one_place() -> None:
    settings = load_settings({"MODELS_FILE": str(EXAMPLE), "LLM_MODELS": "a"}, None)
    with pytest.raises(SettingsError, match="LLM_MODELS and MODELS_FILE are both set"):
        models_of(settings, KEYS)


def test_keys_of_the_file_may_stand_in_the_dotenv_file(tmp_path: Path) -> None:
    """Any other unknown name in `.env` is still refused."""
    dotenv = tmp_path / ".env"
    dotenv.write_text("OPENAI_API_KEY=abc\n", encoding="utf-8")
    assert load_settings({"MODELS_FILE": str(EXAMPLE)}, dotenv).MODELS_FILE == EXAMPLE
    with pytest.raises(SettingsError, match="OPENAI_API_KEY in"):
        load_settings({}, dotenv)


def test_the_shown_file_has_every_value_and_no_key() -> None:
    lines = masked_lines(load_models_file(EXAMPLE, KEYS))
    assert "upstreams.openai.api_key=********" in lines
    assert "models.gpt-5-mini.price.prompt=0.25" in lines
    assert "policies.coding.arms=gpt-5-mini,deepseek/deepseek-chat-v3.1" in lines
    assert not any(key in line for key in KEYS.values() for line in lines)

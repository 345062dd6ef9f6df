"""Which template a chat is rendered with: the user's choice, the model's own, a guess, and how sure each is."""

# ruff: noqa: RUF001 - DeepSeek's tags are written with wide bars

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.errors import SettingsError
from server.prompt import preset
from server.prompt.chat import Template, render
from server.prompt.jinja import Renderer
from server.prompt.message import Chat, Message, Tool, ToolCall
from server.prompt.preset import NO_TAGS, Preset
from server.prompt.templates import Choice, check, choose, names, of_adapter, read_choice, with_tags_only
from tests.fake_model import PLAIN_TEMPLATE, TINY

KEPT = sorted((Path(__file__).parent / "chat_templates").glob("*.jinja"))
ENDS = {"DeepSeek-V2": "<｜end▁of▁sentence｜>", "OLMo-2": "<|endoftext|>", "Tulu-3": "<|endoftext|>"}
OF_NO_FAMILY = ("Command-R7B",)  # recognised as Command-R, but puts further tags around a reply
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
LOOK = Tool("look", "Looks around.", {"type": "object", "properties": {"where": {"type": "string"}}})
USER = Message("user", "Hello")


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    renderer = Renderer(time_limit=0.5)
    yield renderer
    renderer.close()


@pytest.fixture(scope="module")
def chosen(renderer: Renderer) -> Callable[..., Template]:
    """The template for a model with this Jinja and name."""

    def chosen(jinja: str = "", *, setting: str = "AutoGuess", **model: Any) -> Template:
        return choose(read_choice(setting), replace(TINY, chat_template=jinja, **model), renderer)

    return chosen


def refusal(setting: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read_choice(setting)
    return str(caught.value)


# --- what the setting can be ---


@pytest.mark.parametrize("setting", ["", "AutoGuess", "autoguess", "AUTOGUESS"])
def test_autoguess_is_no_choice(setting):
    assert read_choice(setting) is None


@pytest.mark.parametrize("setting", ["ChatML", "chatml", "ChatML.json", "CHATML"])
def test_a_preset_is_found_however_it_is_written(setting):
    assert read_choice(setting) == Choice("ChatML", preset.bundled()["ChatML"])


def test_everything_that_can_be_chosen_has_a_name():
    assert names()[0] == "AutoGuess"
    assert [read_choice(name).name for name in names()[1:]] == list(preset.bundled())


FLAT = {"user_start": "Q: ", "assistant_start": "A: ", "assistant_gen": "A:", "max_length": 99}
NESTED = {"templates": {"user": {"start": "Q: "}, "assistant": {"start": "A: ", "gen": "A:"}}, "max_length": 99}
MINE = Preset(user_start="Q: ", assistant_start="A: ", assistant_gen="A:", defaults=(("max_length", 99),))


@pytest.mark.parametrize("adapter", [FLAT, NESTED], ids=["flat", "nested"])
@pytest.mark.parametrize("indent", [None, 2])
def test_json_may_stand_in_the_setting_itself(adapter, indent):
    assert read_choice(json.dumps(adapter, indent=indent)) == Choice("your own", MINE)


@pytest.mark.parametrize("adapter", [FLAT, NESTED], ids=["flat", "nested"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_json_may_be_a_file(tmp_path, adapter, encoding):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(adapter), encoding)
    assert read_choice(str(file)) == Choice("mine.json", MINE)


@pytest.mark.parametrize("text", [CHATML, "{{ messages[0].content }}", " \n{# mine #}{{ messages }}"])
def test_jinja_may_stand_in_the_setting_itself(text):
    assert read_choice(text) == Choice("your own", jinja=text)


@pytest.mark.parametrize("name", ["mine.jinja", "mine.txt", "template"])
def test_jinja_may_be_a_file_of_any_name(tmp_path, name):
    file = tmp_path / name
    file.write_text(CHATML, "utf-8")
    assert read_choice(str(file)) == Choice(name, jinja=CHATML)


def test_json_with_jinja_in_its_texts_is_json():
    assert read_choice('{"user_start": "{{ user }}: "}').preset.user_start == "{{ user }}: "


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "Expecting property name"),
        ("", "Expecting value"),
        ("Dear diary", "Expecting value"),
        ("[]", "it must be an object with texts such as user_start"),
        ("5", "it must be an object with texts such as user_start"),
        ('{"user_start": 5}', "user_start must be text"),
        ('{"stop": "#"}', "stop must be a list of texts"),
        ('{"system_joins_user": "yes"}', "system_joins_user must be true or false"),
        ("\x00", "Expecting value"),
        ("[" * 10**5, ""),
    ],
    ids=lambda value: value[:20],
)
def test_a_file_that_is_no_template_is_refused_with_a_sentence(tmp_path, content, words):
    file = tmp_path / "mine"
    file.write_text(content, "utf-8")
    sentence = refusal(str(file))
    assert sentence.startswith(f"chatcompletionsadapter: {str(file)[:80]} cannot be used: {words}")
    assert sentence.endswith(".")


@pytest.mark.parametrize("setting", ["{", '{"user_start": 5}', '{"templates": {"user": {"start": 5}}}'])
def test_json_that_cannot_be_used_is_refused_with_a_sentence(setting):
    assert refusal(setting).startswith(f"chatcompletionsadapter: {setting} cannot be used: ")


def test_an_unknown_name_is_refused_with_the_names_that_exist():
    sentence = refusal("ChatXL")
    assert sentence.startswith("chatcompletionsadapter: 'ChatXL' is neither a preset nor a file that can be read.")
    assert "AutoGuess" in sentence
    assert "Alpaca, ChatML" in sentence


@pytest.mark.parametrize("setting", ["../../pyproject", "no\x00name", "x" * 5000, "."])
def test_what_cannot_be_read_is_refused(setting):
    assert "is neither a preset nor a file" in refusal(setting)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF\xff\xfe")
    assert "is neither a preset nor a file" in refusal(str(file))


# --- a Jinja template that was chosen is tried at once ---


@pytest.mark.parametrize(
    ("jinja", "words"),
    [
        ("{% if %}", "line 1"),
        ("{{ broken", "line 1"),
        ("{{ raise_exception('Not today') }}", "Not today"),
        ("{{ nothing.at.all }}", "undefined"),
        (ENDLESS, "it ran for more than 0.5 s"),
    ],
)
def test_a_jinja_template_that_cannot_greet_is_refused_at_once(renderer, jinja, words):
    with pytest.raises(
        SettingsError, match=r"^chatcompletionsadapter: the template your own cannot be used: "
    ) as caught:
        check(read_choice(jinja), renderer)
    assert words in str(caught.value)
    assert "AutoGuess" in str(caught.value)


@pytest.mark.parametrize("setting", [CHATML, "ChatML", '{"user_start": "Q: "}'])
def test_a_choice_that_works_passes(renderer, setting):
    check(read_choice(setting), renderer)


# --- the order of sources ---


def test_the_users_choice_comes_first(chosen):
    template = chosen(CHATML, setting="Alpaca")
    assert (template.info.name, template.info.source) == ("Alpaca", "your choice")
    assert template.info.reason == "It was chosen in the settings."
    assert (template.family, template.jinja) == (preset.bundled()["Alpaca"], "")


def test_a_jinja_template_of_the_users_keeps_what_is_known_of_its_family(chosen):
    template = chosen(PLAIN_TEMPLATE, setting=CHATML)
    assert (template.info.name, template.info.source) == ("your own", "your choice")
    assert (template.jinja, template.family) == (CHATML, preset.bundled()["ChatML"])
    assert (template.bos, template.eos) == (TINY.bos_text, TINY.eos_text)


def test_then_comes_the_models_own(chosen):
    template = chosen(CHATML, tool_template="{{ tools }}", name="Vicuna 7B")
    assert (template.info.name, template.info.source, template.info.warning) == ("ChatML", "the model's own", "")
    assert template.info.reason == "The model file carries it, and it is of the family ChatML."
    assert (template.jinja, template.tool_jinja) == (CHATML, "{{ tools }}")
    assert (template.bos, template.eos) == (TINY.bos_text, TINY.eos_text)


def test_a_template_of_no_known_family_is_used_without_tags(chosen):
    template = chosen(PLAIN_TEMPLATE)
    assert (template.info.name, template.info.reason) == ("Jinja", "The model file carries it.")
    assert template.family == NO_TAGS
    assert template.family.stop_texts == ()


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("{{ raise_exception('never') }}", "(never)"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ messages['x'] + 1 }}", "no attribute 'x'"),
        ("{{ nothing.at.all }}", "undefined"),
        ("{{ messages[99].content }}", "(line 1)"),
        ("{% include 'secret' %}", "(line 1)"),
        ("{{ 'x' | no_such_filter }}", "no_such_filter"),
        ("{{ range(10 ** 9) | list }}", "cannot be used"),
        ("{{ 'x' * 10 ** 15 }}", "cannot be used"),
        ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "calls itself"),
        (ENDLESS, "it ran for more than 0.5 s"),
    ],
)
def test_a_template_that_cannot_be_used_is_guessed_by_its_text(chosen, broken, words):
    template = chosen("<|im_start|>" + broken, name="Vicuna 7B")
    assert (template.info.name, template.info.source, template.jinja) == ("ChatML", "a guess", "")
    assert template.family == preset.bundled()["ChatML"]
    assert template.info.reason.startswith("The model's own template cannot be used (")
    assert template.info.reason.endswith("; that is what its text looks like.")
    assert words in template.info.reason
    assert template.info.warning == "It is a guess: check the replies."


def test_a_broken_template_of_no_known_family_is_guessed_by_the_name(chosen):
    info = chosen("{{ broken", name="Vicuna 7B").info
    assert (info.name, info.source) == ("Vicuna", "a guess")
    assert info.reason.endswith("; the model's name says so.")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ({"name": "Vicuna 7B v1.5"}, "Vicuna"),
        ({"name": "Meta-Llama-3-8B-Instruct"}, "Llama-3"),
        ({"name": "my finetune", "architecture": "gemma2"}, "Gemma-2"),
    ],
)
def test_a_model_without_a_template_is_guessed_by_its_name(chosen, model, name):
    template = chosen("", **model)
    assert (template.info.name, template.info.source) == (name, "a guess")
    assert template.info.reason == "The model file has no template of its own; the model's name says so."
    assert template.family == preset.bundled()[name]


def test_the_last_resort_is_alpaca_and_its_stops(chosen):
    template = chosen("")
    assert (template.info.name, template.info.source) == ("Alpaca", "the last resort")
    assert template.info.reason == "The model file has no template of its own, and nothing tells its family."
    assert template.info.warning
    assert "### Instruction:" in template.family.stop_texts


@pytest.mark.parametrize("jinja", ["", CHATML, PLAIN_TEMPLATE, "{{ broken"])
@pytest.mark.parametrize("setting", ["AutoGuess", "Vicuna", CHATML])
def test_whatever_is_used_says_so_in_whole_sentences(chosen, jinja, setting):
    info = chosen(jinja, setting=setting).info
    assert info.name
    assert info.source
    assert info.reason.endswith(".")
    assert not info.warning or info.warning.endswith(".")


def test_an_adapter_of_a_request_is_a_template():
    template = of_adapter(MINE)
    assert (template.info.source, template.family, template.jinja) == ("the request", MINE, "")


@pytest.mark.parametrize(("jinja", "name"), [(CHATML, "ChatML"), (PLAIN_TEMPLATE, "Alpaca"), ("", "Alpaca")])
def test_where_jinja_fails_its_familys_tags_remain(jinja, name):
    template = with_tags_only(Template(of_adapter(MINE).info, NO_TAGS, jinja=jinja))
    assert (template.info.name, template.family, template.jinja) == (name, preset.bundled()[name], "")


# --- a choice that does not suit the model ---


@pytest.mark.parametrize("setting", ["Alpaca", "Llama-3", "Vicuna", PLAIN_TEMPLATE.replace("{% endfor", "#{% endfor")])
def test_a_choice_that_writes_turns_otherwise_is_warned_of(chosen, setting):
    assert chosen(CHATML, setting=setting).info.warning == (
        "The model's own template, which looks like ChatML, writes turns differently."
    )


def test_a_warning_names_no_family_where_none_is_known(chosen):
    warning = chosen(PLAIN_TEMPLATE, setting="ChatML").info.warning
    assert warning == "The model's own template writes turns differently."


@pytest.mark.parametrize(
    "own",
    [
        CHATML,
        "<s>" + CHATML,
        "{% if messages[0].role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}" + CHATML,
        "<|im_start|>system\nToday is {{ strftime_now('%d %b') }}.<|im_end|>\n" + CHATML,
        CHATML + "{% if add_generation_prompt %}<think>\n{% endif %}",
        CHATML + "{% if add_generation_prompt %}<think>\n\n</think>\n\n{% endif %}",
        "",
        "<|im_start|>{{ broken",
    ],
    ids=["same", "preamble", "own system", "date", "opened thought", "closed thought", "none", "broken"],
)
@pytest.mark.parametrize("setting", ["ChatML", CHATML], ids=["tags", "jinja"])
def test_a_choice_that_agrees_with_the_model_is_not_warned_of(chosen, own, setting):
    assert chosen(own, setting=setting).info.warning == ""


@pytest.mark.parametrize("file", KEPT, ids=lambda file: file.stem)
def test_no_family_is_warned_of_for_a_model_of_its_own(chosen, file):
    own = {"jinja": file.read_text("utf-8"), "eos_text": ENDS.get(file.stem, TINY.eos_text)}
    template = chosen(**own)
    if template.jinja and file.stem not in OF_NO_FAMILY:
        assert chosen(**own, setting=template.info.name).info.warning == ""


# --- tools ---


@pytest.mark.parametrize(
    ("jinja", "knows"),
    [
        (CHATML, False),
        ("{{ tools | tojson }}" + CHATML, True),
        ("{% for tool in tools or [] %}{{ tool.function.name }}{% endfor %}" + CHATML, True),
        ("{% if tools %}{{ raise_exception('no tools') }}{% endif %}" + CHATML, False),
        ("", False),
    ],
)
def test_whether_a_template_knows_tools_is_found_out_by_trying(chosen, jinja, knows):
    assert chosen(jinja).knows_tools is knows
    if jinja:
        assert chosen(CHATML, setting=jinja).knows_tools is knows


def test_a_template_for_tools_beside_the_models_own_counts(chosen):
    assert chosen(CHATML, tool_template="{{ tools | tojson }}" + CHATML).knows_tools


@pytest.mark.parametrize("file", KEPT, ids=lambda file: file.stem)
def test_calls_and_results_read_well_in_every_template_that_people_use(chosen, renderer, file):
    call = Message("assistant", "", tool_calls=(ToolCall("look", '{"where": "up"}', "call_12345"),))
    seen = Message("tool", "A dragon.", tool_call_id="call_12345")
    messages = (USER, call, seen, Message("assistant", "Run!"), Message("user", "Where to?"))
    prompt = render(Chat(messages, tools=(LOOK,)), chosen(file.read_text("utf-8")), renderer).prompt
    assert all(text in prompt for text in ("Looks around.", "Hello", "look", "up", "A dragon.", "Run!", "Where to?"))
    assert "None" not in prompt
    assert "{'" not in prompt

"""Messages to one prompt: real templates, strict ones, broken ones, hostile ones, and the presets."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from server.errors import SettingsError
from server.events import ModelInfo
from server.model import gguf
from server.prompt import chat, jinja
from server.prompt.chat import Message, Preset
from tests.fake_model import TINY

# Written after Gemma's and Mistral's: no system role, and strictly by turns, the user first.
STRICT = """{{ bos_token }}{% for message in messages %}
{% if message['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}
<{{ message['role'] }}>{{ message['content'] | trim }}</>{% endfor %}
{% if add_generation_prompt %}<assistant>{% endif %}"""
SYSTEM = Message("system", "Be brave.")
USER = Message("user", "Hello")
MORE = Message("user", "Anyone there?")
REPLY = Message("assistant", "Well met.")


def model_with(template: str) -> ModelInfo:
    return replace(TINY, chat_template=template)


def strictly(*messages: Message) -> str:
    return chat.render(messages, model_with(STRICT), None).prompt.replace("\n<", "<")


def rendered(template: str, **names: object) -> str:
    return jinja.render(template, [{"role": "user", "content": "Hello"}], bos="<s>", eos="</s>")


@pytest.fixture(scope="module")
def starter(starter_model: Path) -> ModelInfo:
    return model_with(gguf.inspect(str(starter_model)).chat_template)


# --- the starter model's own template ---


def test_the_starter_models_template_is_chatml(starter):
    assert chat.render([SYSTEM, USER], starter, None).prompt == (
        "<|im_start|>system\nBe brave.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_starter_models_template_adds_its_own_system_message(starter):
    assert "You are a helpful AI assistant named SmolLM" in chat.render([USER], starter, None).prompt


@pytest.mark.parametrize(
    "messages",
    [[SYSTEM], [REPLY], [REPLY, USER], [USER, USER], [USER, SYSTEM], [USER, REPLY], [Message("user", "")]],
    ids=lambda messages: "-".join(message.role for message in messages),
)
def test_the_starter_models_template_takes_any_order_of_roles(starter, messages):
    prompt = chat.render(messages, starter, None).prompt
    assert prompt.endswith("<|im_start|>assistant\n")
    assert all(message.content in prompt for message in messages)


def test_messages_are_text_and_never_template_code(starter):
    assert "{{ 7 * 7 }}" in chat.render([Message("user", "{{ 7 * 7 }}")], starter, None).prompt


# --- templates that refuse ---


def test_a_strict_template_is_used_as_it_is_where_the_messages_suit_it():
    assert strictly(USER, REPLY, MORE) == ("<s><user>Hello</><assistant>Well met.</><user>Anyone there?</><assistant>")


def test_turns_of_one_role_in_a_row_are_merged():
    assert strictly(USER, MORE) == "<s><user>Hello\n\nAnyone there?</><assistant>"


def test_the_system_message_moves_into_the_users_turn():
    assert strictly(SYSTEM, USER) == "<s><user>Be brave.\n\nHello</><assistant>"


def test_a_system_message_in_the_middle_or_at_the_end_moves_too():
    assert strictly(USER, REPLY, SYSTEM, MORE).endswith("<user>Be brave.\n\nAnyone there?</><assistant>")
    assert strictly(USER, SYSTEM) == "<s><user>Hello\n\nBe brave.</><assistant>"


def test_a_system_message_alone_becomes_the_users_turn():
    assert strictly(SYSTEM) == "<s><user>Be brave.</><assistant>"


def test_a_template_that_takes_the_system_role_keeps_it_while_turns_are_merged():
    template = "{{ messages[0].role }}={{ messages[0].content }};{% set messages = messages[1:] %}" + STRICT
    prompt = chat.render([SYSTEM, USER, MORE], model_with(template), None).prompt
    assert prompt.startswith("system=Be brave.;")
    assert "Hello\n\nAnyone there?" in prompt


@pytest.mark.parametrize(
    "messages", [[REPLY, USER], [REPLY], [REPLY, REPLY, USER, MORE]], ids=["greeting", "only", "twice"]
)
def test_a_chat_that_the_assistant_opens_still_gets_the_models_own_template(messages):
    prompt = strictly(*messages)
    assert "###" not in prompt
    assert "<assistant>Well met." in prompt


@pytest.mark.parametrize(
    "template",
    [
        "{{ broken",
        "{% if %}",
        "{{ raise_exception('never') }}",
        "{{ 1 / 0 }}",
        "{{ messages['x'] + 1 }}",
        "{{ nothing.at.all }}",
        "{{ messages[99].content }}",
        "{% include 'secret' %}",
        "{{ 'x' | no_such_filter }}",
        "{{ range(10 ** 9) | list }}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{{ 'x' * 10 ** 15 }}",
    ],
)
def test_a_template_that_cannot_be_used_falls_back_to_alpaca(template):
    prompt = chat.render([USER], model_with(template), None).prompt
    assert prompt == "\n### Instruction:\nHello\n### Response:\n"


def test_a_model_without_a_template_gets_alpaca_and_its_stops():
    assert "### Instruction:\nHello" in chat.render([USER], model_with(""), None).prompt
    assert chat.render([USER], model_with(""), None).stop == ("### Instruction:", "### Response:")


def test_a_models_own_template_needs_no_stop_texts(starter):
    assert chat.render([USER], starter, None).stop == ()


# --- the sandbox ---


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__class__.__base__.__subclasses__() }}",
        "{{ raise_exception.__globals__ }}",
        "{{ strftime_now.__globals__['datetime'] }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ '{0.__class__.__mro__}'.format('') }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'x'}) }}",
        "{{ lipsum.__globals__['os'].popen('id') }}",
        "{{ ''|attr('__class__')|attr('__mro__') }}",
        "{{ (messages|map(attribute='__class__')|list)[0].__mro__ }}",
    ],
)
def test_a_template_cannot_reach_out_of_its_sandbox(template):
    try:
        text = rendered(template)
    except jinja.TemplateFailed:
        return
    assert not any(word in text for word in ("class", "module", "builtins", "uid", "object"))


def test_a_template_cannot_change_the_messages():
    messages = [{"role": "user", "content": "Hello"}]
    with pytest.raises(jinja.TemplateFailed):
        jinja.render("{{ messages.clear() }}", messages, bos="", eos="")
    assert messages == [{"role": "user", "content": "Hello"}]


def test_a_refusal_keeps_the_templates_own_words():
    with pytest.raises(jinja.TemplateFailed, match=r"^System role not supported$"):
        rendered("{{ raise_exception('System role not supported') }}")


# --- what templates of Hugging Face rely on ---


def test_blocks_are_trimmed():
    assert rendered("{% if true %}\n  a\n  {% endif %}\nb") == "  a\nb"


def test_loops_can_be_left():
    assert rendered("{% for n in [1, 2, 3] %}{% if n == 2 %}{% break %}{% endif %}{{ n }}{% endfor %}") == "1"


def test_a_namespace_survives_a_loop():
    template = "{% set found = namespace(x=0) %}{% for n in [1, 2] %}{% set found.x = n %}{% endfor %}{{ found.x }}"
    assert rendered(template) == "2"


def test_undefined_names_are_false():
    assert rendered("{% if tools or documents or enable_thinking is defined %}x{% endif %}y") == "y"


def test_both_ends_of_text_are_known():
    assert rendered("{{ bos_token }}{{ eos_token }}") == "<s></s>"


def test_the_date_can_be_asked_for():
    assert rendered("{{ strftime_now('%Y') }}").isdigit()


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        ("", '{"a": "<é>"}'),
        ("(indent=1)", '{\n "a": "<é>"\n}'),
        ("(ensure_ascii=False)", '{"a": "<é>"}'),
        ("(separators=(',', ':'))", '{"a":"<é>"}'),
        ("(sort_keys=True)", '{"a": "<é>"}'),
    ],
)
def test_json_is_written_as_hugging_face_does_and_without_html(arguments, written):
    assert rendered("{{ {'a': '<é>'} | tojson" + arguments + " }}") == written


def test_the_generation_tags_of_training_templates_render_their_content():
    assert rendered("{% generation %}Hi{% endgeneration %}") == "Hi"


# --- presets ---


@pytest.mark.parametrize("file", sorted(chat.PRESETS.glob("*.json")), ids=lambda file: file.stem)
def test_every_preset_loads_and_renders_every_role(file):
    preset = chat.load_preset(file.stem)
    assert preset
    rendered = chat.render([SYSTEM, USER, REPLY, MORE], model_with(STRICT), preset)
    places = [rendered.prompt.index(message.content) for message in (SYSTEM, USER, REPLY, MORE)]
    assert places == sorted(places)
    assert rendered.stop
    assert "" not in rendered.stop


@pytest.mark.parametrize("file", sorted(chat.PRESETS.glob("*.json")), ids=lambda file: file.stem)
def test_no_preset_has_a_key_that_nobody_reads(file):
    assert set(json.loads(file.read_text("utf-8"))) <= set(Preset.__dataclass_fields__)


@pytest.mark.parametrize("choice", ["AutoGuess", "autoguess", ""])
def test_autoguess_is_no_preset(choice):
    assert chat.load_preset(choice) is None


@pytest.mark.parametrize("choice", ["ChatML", "chatml", "ChatML.json", "CHATML"])
def test_a_preset_is_found_however_it_is_written(choice):
    preset = chat.load_preset(choice)
    assert preset
    assert preset.user_start == "<|im_start|>user\n"


def test_the_chatml_preset_writes_what_the_starter_models_template_does(starter):
    messages = [SYSTEM, USER, REPLY, MORE]
    assert (
        chat.render(messages, starter, chat.load_preset("ChatML")).prompt == chat.render(messages, starter, None).prompt
    )


def test_a_preset_can_be_a_file_of_ones_own(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"user_start": "Q: ", "assistant_start": "A: ", "assistant_gen": "A:", "max_length": 99}')
    preset = chat.load_preset(str(file))
    assert preset == Preset(user_start="Q: ", assistant_start="A: ", assistant_gen="A:")
    assert preset.render([USER]).prompt == "Q: HelloA:"


@pytest.mark.parametrize("content", ["{", "[]", "5", '{"user_start": 5}', '{"user_end": null}', "\x00"])
def test_a_file_that_is_no_preset_is_refused_by_name(tmp_path, content):
    file = tmp_path / "mine.json"
    file.write_text(content)
    with pytest.raises(SettingsError) as caught:
        chat.load_preset(str(file))
    assert str(file) in str(caught.value)


def test_an_unknown_preset_is_refused_with_the_names_that_exist():
    with pytest.raises(SettingsError, match=r"^chatcompletionsadapter: 'ChatXL' is neither .*Alpaca, ChatML"):
        chat.load_preset("ChatXL")


def test_a_preset_does_not_lead_out_of_its_folder():
    with pytest.raises(SettingsError):
        chat.load_preset("../../pyproject")

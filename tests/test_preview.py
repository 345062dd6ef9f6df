"""A chat as a model would read it, before it is loaded: rendered in the real sandbox."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from server.errors import SettingsError
from server.model import gguf
from server.prompt.jinja import Renderer
from server.prompt.preview import preview
from server.snapshot import ModelFile


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    renderer = Renderer()
    yield renderer
    renderer.close()


@pytest.fixture(scope="module")
def starter(starter_model: Path) -> ModelFile:
    return gguf.inspect(str(starter_model))


def test_the_models_own_template_is_used_and_the_reason_said(starter, renderer):
    shown = preview(starter, "AutoGuess", renderer)
    assert (shown.template.name, shown.template.source) == ("ChatML", "the model's own")
    assert shown.text.startswith("<|im_start|>system\nYou are Hulda")
    assert shown.text.endswith("<|im_start|>user\nAnd something to drink?<|im_end|>\n<|im_start|>assistant\n")


def test_a_chosen_preset_is_shown_with_what_speaks_against_it(starter, renderer):
    shown = preview(starter, "Alpaca", renderer)
    assert "### Instruction:" in shown.text
    assert "writes turns differently" in shown.template.warning


def test_a_file_without_a_template_gets_a_guess(starter, renderer):
    bare = ModelFile("/m/Mistral-Nemo-Instruct.gguf", 1, "llama", "", "", 1, 1, "")
    assert preview(bare, "", renderer).template.source in ("a guess", "the last resort")


def test_a_setting_that_is_no_template_is_refused(starter, renderer):
    with pytest.raises(SettingsError, match="neither a preset nor a file"):
        preview(starter, "/nowhere.json", renderer)


def test_a_template_that_only_greets_says_so(starter, renderer):
    picky = "{% if messages|length > 1 %}{{ raise_exception('too much') }}{% endif %}{{ messages[0].content }}"
    shown = preview(starter, picky, renderer)
    assert shown.text == ""
    assert "cannot render a chat: too much" in shown.problem

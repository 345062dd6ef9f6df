"""The bundled instruct presets say what the models' own templates say, and are recognised by them."""

# ruff: noqa: RUF001 - DeepSeek's tags are written with wide bars

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from server.prompt import preset
from server.prompt.message import Message
from server.prompt.preset import bundled, by_name, from_dict, recognise

TEMPLATES = Path(__file__).parent / "chat_templates"
SYSTEM, HELLO, HI, WHY = CONVERSATION = (
    Message("system", "Be brief."),
    Message("user", "Hello!"),
    Message("assistant", "Hi."),
    Message("user", "Why?"),
)

RENDERED = {
    "Alpaca": (
        "Be brief.\n\n### Instruction:\nHello!\n\n### Response:\nHi.</s>\n\n### Instruction:\nWhy?\n\n### Response:\n"
    ),
    "ChatML": (
        "<|im_start|>system\nBe brief."
        "<|im_end|>\n<|im_start|>user\nHello!"
        "<|im_end|>\n<|im_start|>assistant\nHi."
        "<|im_end|>\n<|im_start|>user\nWhy?"
        "<|im_end|>\n<|im_start|>assistant\n"
    ),
    "Command-R": (
        "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Be brief."
        "<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hello!"
        "<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>Hi."
        "<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|USER_TOKEN|>Why?"
        "<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"
    ),
    "DeepSeek-R1": (
        "Be brief.<｜User｜>Hello!<｜Assistant｜>Hi.<｜end▁of▁sentence｜><｜User｜>Why?<｜Assistant｜><think>\n"
    ),
    "DeepSeek-V2": ("Be brief.\n\nUser: Hello!\n\nAssistant: Hi.<｜end▁of▁sentence｜>User: Why?\n\nAssistant:"),
    "DeepSeek-V2.5": ("Be brief.<｜User｜>Hello!<｜Assistant｜>Hi.<｜end▁of▁sentence｜><｜User｜>Why?<｜Assistant｜>"),
    "DeepSeek-V3": ("Be brief.<｜User｜>Hello!<｜Assistant｜>Hi.<｜end▁of▁sentence｜><｜User｜>Why?<｜Assistant｜>"),
    "EXAONE": (
        "[|system|]Be brief.[|endofturn|]\n[|user|]Hello!\n[|assistant|]Hi.[|endofturn|]\n[|user|]Why?\n[|assistant|]"
    ),
    "EXAONE-4": (
        "[|system|]\nBe brief."
        "[|endofturn|]\n[|user|]\nHello!"
        "[|endofturn|]\n[|assistant|]\n<think>\n\n</think>\n\nHi."
        "[|endofturn|]\n[|user|]\nWhy?"
        "[|endofturn|]\n[|assistant|]\n<think>\n\n</think>\n\n"
    ),
    "Falcon": ("Be brief.\n\nUser: Hello!\n\nAssistant: Hi.\n\nUser: Why?\n\nAssistant:"),
    "Falcon-3": (
        "<|system|>\nBe brief.\n<|user|>\nHello!\n<|assistant|>\nHi.<|endoftext|>\n<|user|>\nWhy?\n<|assistant|>\n"
    ),
    "Gemma-2": (
        "<start_of_turn>user\nBe brief."
        "\n\nHello!"
        "<end_of_turn>\n<start_of_turn>model\nHi."
        "<end_of_turn>\n<start_of_turn>user\nWhy?"
        "<end_of_turn>\n<start_of_turn>model\n"
    ),
    "Gemma-3": (
        "<start_of_turn>user\nBe brief."
        "\n\nHello!"
        "<end_of_turn>\n<start_of_turn>model\nHi."
        "<end_of_turn>\n<start_of_turn>user\nWhy?"
        "<end_of_turn>\n<start_of_turn>model\n"
    ),
    "Gemma-4": (
        "<|turn>system\nBe brief."
        "<turn|>\n<|turn>user\nHello!"
        "<turn|>\n<|turn>model\nHi."
        "<turn|>\n<|turn>user\nWhy?"
        "<turn|>\n<|turn>model\n<|channel>thought\n<channel|>"
    ),
    "GLM-4": ("[gMASK]<sop><|system|>\nBe brief.<|user|>\nHello!<|assistant|>\nHi.<|user|>\nWhy?<|assistant|>"),
    "GLM-4.5": (
        "[gMASK]<sop><|system|>\nBe brief."
        "<|user|>\nHello!"
        "<|assistant|>\n<think></think>\nHi."
        "<|user|>\nWhy?"
        "<|assistant|>"
    ),
    "Granite-3": (
        "<|start_of_role|>system<|end_of_role|>Be brief."
        "<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>Hello!"
        "<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>Hi."
        "<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>Why?"
        "<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>"
    ),
    "Granite-4": (
        "<|start_of_role|>system<|end_of_role|>Be brief."
        "<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>Hello!"
        "<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>Hi."
        "<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>Why?"
        "<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>"
    ),
    "Harmony": (
        "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\nKnowledge "
        "cutoff: 2024-06\n\nReasoning: medium\n\n# Valid channels: analysis, commentary, final. Channel "
        "must be included for every message.<|end|><|start|>developer<|message|># Instructions\n\nBe brief."
        "\n\n<|end|><|start|>user<|message|>Hello!"
        "<|end|><|start|>assistant<|channel|>final<|message|>Hi."
        "<|end|><|start|>user<|message|>Why?"
        "<|end|><|start|>assistant"
    ),
    "Kimi": (
        "<|im_system|>system<|im_middle|>Be brief."
        "<|im_end|><|im_user|>user<|im_middle|>Hello!"
        "<|im_end|><|im_assistant|>assistant<|im_middle|>Hi."
        "<|im_end|><|im_user|>user<|im_middle|>Why?"
        "<|im_end|><|im_assistant|>assistant<|im_middle|>"
    ),
    "Llama-2-Chat": ("[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHello! [/INST] Hi. </s><s>[INST] Why? [/INST]"),
    "Llama-3": (
        "<|start_header_id|>system<|end_header_id|>\n\nBe brief."
        "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHello!"
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHi."
        "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhy?"
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "Llama-4": (
        "<|header_start|>system<|header_end|>\n\nBe brief."
        "<|eot|><|header_start|>user<|header_end|>\n\nHello!"
        "<|eot|><|header_start|>assistant<|header_end|>\n\nHi."
        "<|eot|><|header_start|>user<|header_end|>\n\nWhy?"
        "<|eot|><|header_start|>assistant<|header_end|>\n\n"
    ),
    "Metharme": ("<|system|>Be brief.<|user|>Hello!<|model|>Hi.<|user|>Why?<|model|>"),
    "Mistral-V1": (" [INST] Be brief.\n\nHello! [/INST] Hi.</s> [INST] Why? [/INST]"),
    "Mistral-V2-V3": ("[INST] Be brief.\n\nHello![/INST] Hi.</s>[INST] Why?[/INST]"),
    "Mistral-V3-Tekken": ("[INST]Be brief.\n\nHello![/INST]Hi.</s>[INST]Why?[/INST]"),
    "Mistral-V7": ("[SYSTEM_PROMPT] Be brief.[/SYSTEM_PROMPT][INST] Hello![/INST] Hi.</s>[INST] Why?[/INST]"),
    "Mistral-V7-Tekken": ("[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT][INST]Hello![/INST]Hi.</s>[INST]Why?[/INST]"),
    "OLMo-2": (
        "<|system|>\nBe brief.\n<|user|>\nHello!\n<|assistant|>\nHi.<|endoftext|>\n<|user|>\nWhy?\n<|assistant|>\n"
    ),
    "OpenChat": (
        "GPT4 Correct System: Be brief."
        "<|end_of_turn|>GPT4 Correct User: Hello!"
        "<|end_of_turn|>GPT4 Correct Assistant: Hi."
        "<|end_of_turn|>GPT4 Correct User: Why?"
        "<|end_of_turn|>GPT4 Correct Assistant:"
    ),
    "Phi-3": (
        "<|system|>\nBe brief."
        "<|end|>\n<|user|>\nHello!"
        "<|end|>\n<|assistant|>\nHi."
        "<|end|>\n<|user|>\nWhy?"
        "<|end|>\n<|assistant|>\n"
    ),
    "Phi-4": (
        "<|im_start|>system<|im_sep|>Be brief."
        "<|im_end|><|im_start|>user<|im_sep|>Hello!"
        "<|im_end|><|im_start|>assistant<|im_sep|>Hi."
        "<|im_end|><|im_start|>user<|im_sep|>Why?"
        "<|im_end|><|im_start|>assistant<|im_sep|>"
    ),
    "Phi-4-mini": (
        "<|system|>Be brief.<|end|><|user|>Hello!<|end|><|assistant|>Hi.<|end|><|user|>Why?<|end|><|assistant|>"
    ),
    "Qwen-2.5": (
        "<|im_start|>system\nBe brief."
        "<|im_end|>\n<|im_start|>user\nHello!"
        "<|im_end|>\n<|im_start|>assistant\nHi."
        "<|im_end|>\n<|im_start|>user\nWhy?"
        "<|im_end|>\n<|im_start|>assistant\n"
    ),
    "Qwen-3": (
        "<|im_start|>system\nBe brief."
        "<|im_end|>\n<|im_start|>user\nHello!"
        "<|im_end|>\n<|im_start|>assistant\nHi."
        "<|im_end|>\n<|im_start|>user\nWhy?"
        "<|im_end|>\n<|im_start|>assistant\n"
    ),
    "Raw": ("Be brief.Hello!Hi.Why?"),
    "RWKV-World": ("System: Be brief.\n\nUser: Hello!\n\nAssistant: Hi.\n\nUser: Why?\n\nAssistant:"),
    "Synthia": ("SYSTEM: Be brief.\nUSER: Hello!\nASSISTANT: Hi.\nUSER: Why?\nASSISTANT:"),
    "Tulu-3": (
        "<|system|>\nBe brief.\n<|user|>\nHello!\n<|assistant|>\nHi.<|end_of_text|>\n<|user|>\nWhy?\n<|assistant|>\n"
    ),
    "Vicuna": ("Be brief. USER: Hello! ASSISTANT: Hi.</s>USER: Why? ASSISTANT:"),
    "Zephyr": (
        "<|system|>\nBe brief.</s>\n<|user|>\nHello!</s>\n<|assistant|>\nHi.</s>\n<|user|>\nWhy?</s>\n<|assistant|>\n"
    ),
}

FAMILIES = {
    "Alpaca": "Alpaca",
    "Aya": "Command-R",
    "ChatML": "ChatML",
    "Command-R": "Command-R",
    "Command-R7B": "Command-R",
    "DeepSeek-R1": "DeepSeek-R1",
    "DeepSeek-V2": "DeepSeek-V2",
    "DeepSeek-V2.5": "DeepSeek-V3",  # the tags are the same, and so are the templates
    "DeepSeek-V3": "DeepSeek-V3",
    "EXAONE-3.5": "EXAONE",
    "EXAONE-4": "EXAONE-4",
    "GLM-4": "GLM-4",
    "GLM-4.6": "GLM-4.5",
    "Gemma-2": "Gemma-2",
    "Gemma-3": "Gemma-3",
    "Gemma-3n": "Gemma-3",  # one preset serves both: the tags are the same
    "Gemma-4": "Gemma-4",
    "Granite-3.0": "Granite-3",
    "Granite-3.3": "Granite-3",
    "Granite-4.0": "Granite-4",
    "Harmony": "Harmony",
    "Hermes-3": "ChatML",
    "Kimi-K2": "Kimi",
    "Llama-2-Chat": "Llama-2-Chat",
    "Llama-3": "Llama-3",
    "Llama-3.1": "Llama-3",
    "Llama-3.2": "Llama-3",
    "Llama-4": "Llama-4",
    "Metharme": "Metharme",
    "Ministral-3-Reasoning": "Mistral-V7-Tekken",
    "Mistral-7B-v0.2": "Mistral-V1",
    "Mistral-Large-2411": "Mistral-V7",
    "Mistral-Nemo": "Mistral-V3-Tekken",
    "Mistral-Small-2501": "Mistral-V7-Tekken",
    "Mistral-Small-3.2": "Mistral-V7-Tekken",
    "Mistral-V2-V3": "Mistral-V2-V3",
    "Mixtral-8x7B": "Mistral-V1",
    "OLMo-2": "OLMo-2",
    "OpenChat": "OpenChat",
    "Phi-3": "Phi-3",
    "Phi-3-medium": "Phi-3",
    "Phi-3.5": "Phi-3",
    "Phi-4": "Phi-4",
    "Phi-4-mini": "Phi-4-mini",
    "Qwen-2.5": "Qwen-2.5",
    "Qwen-3": "Qwen-3",
    "RWKV-World": "RWKV-World",
    "SmolLM2": "ChatML",
    "TinyLlama": "Zephyr",
    "Tulu-3": "OLMo-2",  # the same but for the token at the end of a reply, which is the model's own
    "Vicuna": "Vicuna",
    "Zephyr": "Zephyr",
}

# Templates that leave a system message out, or refuse it.
WITHOUT_SYSTEM = {"Gemma-2", "Phi-3-medium", "Mistral-7B-v0.2"}

# Mistral's later templates put the system message into the last user turn, which moves it with every turn; ours stands
# in the first. With one user turn there is no difference, and without a system message there is none either.
SYSTEM_IN_THE_LAST_TURN = {"Mistral-Nemo", "Mistral-V2-V3"}

# What a template says before this text is a preamble of its own (dates, house rules, the tools' schema) around the
# system message, which no preset can know.
COMPARED_FROM = {
    "Command-R7B": "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>",
    "Harmony": "<|start|>developer",
    "Hermes-3": "<|im_start|>user",
    "Llama-3.1": "<|eot_id|><|start_header_id|>user",
    "Llama-3.2": "<|eot_id|><|start_header_id|>user",
}

# What one model's template writes and its family's preset does not, or the other way round.
REPLACED = {
    # Command R7B wraps what it says; the wrapping is left out of its replies, and so of what it is shown of them.
    "Command-R7B": (("<|START_RESPONSE|>", ""), ("<|END_RESPONSE|>", ""), ("<|START_THINKING|><|END_THINKING|>", "")),
    "Llama-2-Chat": (("</s>[INST]", "</s><s>[INST]"),),  # the <s> is its bos_token, which is empty here
    "Mistral-7B-v0.2": (
        ("[INST] ", " [INST] "),
        ("[/INST]H", "[/INST] H"),
    ),  # the tokens are the same: a space is added
}

NAMES = {
    "Meta-Llama-3.1-8B-Instruct-Q4_K_M": "Llama-3",
    "L3-8B-Stheno-v3.2": "Llama-3",
    "Llama-3.2-3B-Instruct-Q8_0": "Llama-3",
    "Llama-4-Scout-17B-16E-Instruct": "Llama-4",
    "llama-2-13b-chat.Q5_K_M": "Llama-2-Chat",
    "codellama-7b-instruct.Q4_K_M": "Llama-2-Chat",
    "Hermes-3-Llama-3.1-8B": "ChatML",
    "dolphin-2.9-llama3-8b": "ChatML",
    "OpenHermes-2.5-Mistral-7B": "ChatML",
    "Nous-Hermes-2-Mixtral-8x7B-DPO": "ChatML",
    "SmolLM2-1.7B-Instruct-Q4_K_M": "ChatML",
    "Qwen2.5-7B-Instruct": "Qwen-2.5",
    "Qwen3-8B-Q4_K_M": "Qwen-3",
    "Qwen3-30B-A3B-Instruct-2507": "Qwen-3",
    "QwQ-32B": "Qwen-3",
    "DeepSeek-R1-Distill-Llama-8B": "DeepSeek-R1",
    "DeepSeek-R1-Distill-Qwen-32B": "DeepSeek-R1",
    "DeepSeek-V3-0324": "DeepSeek-V3",
    "DeepSeek-V2.5-1210": "DeepSeek-V2.5",
    "DeepSeek-Coder-V2-Lite-Instruct": "DeepSeek-V2",
    "gemma-2-9b-it": "Gemma-2",
    "gemma-3-12b-it-Q4_K_M": "Gemma-3",
    "gemma-3n-E4B-it": "Gemma-3",
    "gemma-4-31B-it": "Gemma-4",
    "Phi-3-mini-4k-instruct": "Phi-3",
    "Phi-3.5-mini-instruct": "Phi-3",
    "phi-4-Q4_K_M": "Phi-4",
    "Phi-4-mini-instruct": "Phi-4-mini",
    "zephyr-7b-beta": "Zephyr",
    "tinyllama-1.1b-chat-v1.0": "Zephyr",
    "openchat-3.5": "OpenChat",
    "mythomax-l2-13b": "Alpaca",
    "pygmalion-2-7b": "Metharme",
    "Synthia-7B": "Synthia",
    "vicuna-13b-v1.5": "Vicuna",
    "WizardLM-2-7B": "Vicuna",
    "c4ai-command-r-v01": "Command-R",
    "aya-expanse-8b": "Command-R",
    "granite-3.1-8b-instruct": "Granite-3",
    "granite-4.0-h-tiny": "Granite-4",
    "OLMo-2-1124-7B-Instruct": "OLMo-2",
    "Llama-3.1-Tulu-3-8B": "Tulu-3",
    "falcon-7b-instruct": "Falcon",
    "Falcon3-7B-Instruct": "Falcon-3",
    "EXAONE-3.5-7.8B-Instruct": "EXAONE",
    "EXAONE-4.0-32B": "EXAONE-4",
    "glm-4-9b-chat": "GLM-4",
    "GLM-4.5-Air": "GLM-4.5",
    "Kimi-K2-Instruct": "Kimi",
    "gpt-oss-20b": "Harmony",
    "RWKV-6-World-7B": "RWKV-World",
    "Mistral-7B-Instruct-v0.2": "Mistral-V1",
    "Mixtral-8x7B-Instruct-v0.1": "Mistral-V1",
    "Mistral-7B-Instruct-v0.3": "Mistral-V2-V3",
    "Mixtral-8x22B-Instruct-v0.1": "Mistral-V2-V3",
    "Mistral-Nemo-Instruct-2407": "Mistral-V3-Tekken",
    "Mistral-Large-Instruct-2411": "Mistral-V7",
    "Mistral-Small-24B-Instruct-2501": "Mistral-V7-Tekken",
    "Magistral-Small-2506": "Mistral-V7-Tekken",
}


def official(name: str, messages: tuple[Message, ...], **variables: Any) -> str:
    """What the model's own template makes of ``messages``, without a beginning-of-text token."""

    def refuse(reason: str) -> None:
        raise AssertionError(f"{name}: {reason}")

    def today(layout: str) -> str:
        return datetime.date(2026, 1, 1).strftime(layout)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals.update(raise_exception=refuse, strftime_now=today)
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    family = bundled()[FAMILIES[name]]
    ending = family.assistant_end.strip().removesuffix("<s>")
    turns = [{"role": message.role, "content": message.content} for message in messages]
    template = environment.from_string((TEMPLATES / f"{name}.jinja").read_text("utf-8"))
    text = template.render(messages=turns, bos_token="", eos_token=ending, add_generation_prompt=True, **variables)
    for written, ours in REPLACED.get(name, ()):
        text = text.replace(written, ours)
    return compared(name, text)


def compared(name: str, text: str) -> str:
    return text[text.index(COMPARED_FROM[name]) :] if name in COMPARED_FROM else text.lstrip(" ")


def conversations(name: str) -> list[tuple[Message, ...]]:
    if name in WITHOUT_SYSTEM:
        return [(HELLO, HI, WHY)]
    return [(SYSTEM, HELLO), (HELLO, HI, WHY)] if name in SYSTEM_IN_THE_LAST_TURN else [(SYSTEM, HELLO), CONVERSATION]


@pytest.mark.parametrize("name", RENDERED)
def test_a_preset_renders_a_conversation(name: str) -> None:
    assert bundled()[name].render(CONVERSATION) == RENDERED[name]


def test_every_bundled_preset_has_its_expected_text() -> None:
    assert set(bundled()) == set(RENDERED)


def test_every_kept_template_is_of_a_known_family_and_names_its_source() -> None:
    kept = {file.stem for file in TEMPLATES.glob("*.jinja")}
    assert kept == set(FAMILIES)
    sources = (TEMPLATES / "SOURCES.md").read_text("utf-8")
    assert [name for name in kept if f"| {name}.jinja |" not in sources] == []


@pytest.mark.parametrize("name", FAMILIES)
def test_a_preset_says_what_the_models_own_template_says(name: str) -> None:
    family = bundled()[FAMILIES[name]]
    for conversation in conversations(name):
        assert official(name, conversation) == compared(name, family.render(conversation))


@pytest.mark.parametrize("name", FAMILIES)
def test_an_opened_reply_continues_as_the_models_own_template_has_it(name: str) -> None:
    family = bundled()[FAMILIES[name]]
    whole = conversations(name)[-1]
    opened = family.render(whole[:-2], reply=False) + family.opening(HI)
    assert official(name, whole).startswith(compared(name, opened) + family.assistant_end)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_models_own_template_is_recognised_as_its_family(name: str) -> None:
    assert recognise((TEMPLATES / f"{name}.jinja").read_text("utf-8")) == FAMILIES[name]


def test_an_unknown_template_is_not_recognised() -> None:
    assert recognise("{% for m in messages %}{{ m.content }}{% endfor %}") == ""


@pytest.mark.parametrize("model", NAMES)
def test_a_model_is_known_by_its_name(model: str) -> None:
    assert by_name(model, "llama") == NAMES[model]


@pytest.mark.parametrize(
    ("architecture", "family"),
    [("qwen3moe", "Qwen-3"), ("gemma3n", "Gemma-3"), ("cohere2", "Command-R"), ("gpt-oss", "Harmony")],
)
def test_a_model_with_a_strange_name_is_known_by_its_architecture(architecture: str, family: str) -> None:
    assert by_name("my-finetune-v7", architecture) == family


def test_a_model_nobody_knows_is_of_no_family() -> None:
    assert by_name("my-finetune-v7", "llama") == ""
    assert by_name("", "") == ""


def test_the_tags_of_harmony_inside_a_reply_do_not_end_it() -> None:
    assert bundled()["Harmony"].stop_texts == ("<|start|>user<|message|>", "<|return|>", "<|call|>")


def test_stop_texts_are_the_tags_and_the_further_ones_without_repetition() -> None:
    stops = from_dict({"user_start": "\nUser: ", "assistant_start": "\nBot: ", "stop": ["Bot:", "###"]}).stop_texts
    assert stops == ("User:", "Bot:", "###")


def test_a_system_message_at_the_end_gets_a_user_turn_where_it_has_none_of_its_own() -> None:
    assert bundled()["Gemma-2"].render([SYSTEM], reply=False) == "<start_of_turn>user\nBe brief.\n\n<end_of_turn>\n"


def test_an_empty_adapter_is_alpacas_as_in_koboldcpp() -> None:
    text = from_dict({}).render([HELLO])
    assert text == "\n### Instruction:\nHello!\n### Response:\n"


def test_a_flat_adapter_and_a_nested_one_mean_the_same() -> None:
    flat = {"user_start": "U:", "user_end": ";", "assistant_start": "A:", "assistant_gen": "", "tools_start": "T:"}
    nested = {"user": {"start": "U:", "end": ";"}, "assistant": {"start": "A:", "gen": ""}, "tool": {"start": "T:"}}
    assert from_dict(flat) == from_dict({"templates": nested})
    assert from_dict(flat).render([HELLO]) == "U:Hello!;"


def test_keys_that_are_not_a_presets_are_left_out() -> None:
    assert from_dict({"add_sd_prompt": "x"}) == from_dict({})


@pytest.mark.parametrize(
    ("adapter", "sentence"),
    [
        ({"user_start": 5}, "user_start must be text"),
        ({"assistant_gen": []}, "assistant_gen must be text"),
        ({"system_joins_user": "yes"}, "system_joins_user must be true or false"),
        ({"stop": "###"}, "stop must be a list of texts"),
        ({"stop": [1]}, "stop must be a list of texts"),
        ({"reasoning": [["<think>"]]}, "reasoning must be a list of pairs of texts"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_a_sentence(adapter: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        from_dict(adapter)


@pytest.mark.parametrize("file", sorted(preset.FOLDER.glob("*.json")), ids=lambda file: file.stem)
def test_a_bundled_file_has_only_keys_of_a_preset(file: Path) -> None:
    known = {field.name for field in preset.FIELDS}
    assert set(json.loads(file.read_text("utf-8"))) <= known


def test_names_are_in_lower_case_and_plain_llama_is_none() -> None:
    names = [name for entry in bundled().values() for name in entry.names]
    assert [name for name in names if name != name.lower()] == []
    assert "llama" not in names

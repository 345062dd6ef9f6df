"""The orders of roles that mods and SillyTavern send, rendered with every official template: nothing is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from server.prompt import chat, templates
from server.prompt.jinja import Renderer
from server.prompt.message import Chat, Ending, Message, Tool, ToolCall
from tests.fake_model import TINY

FILES = sorted((Path(__file__).parent / "chat_templates").glob("*.jinja"))
SYSTEM = Message("system", "Be brave.")
INJECTED = Message("system", "It rains now.")
HELLO = Message("user", "Hello there")
GREETING = Message("assistant", "Well met.")
WHO = Message("user", "Who goes there?")
LOOK = Tool("look", "Look at something.", {"type": "object", "properties": {"at": {"type": "string"}}})
CALL = ToolCall("look", '{"at": "horizon"}', "call_0123456789abcdef01234567")
CALLED = Message("assistant", "", tool_calls=(CALL,))
RESULT = Message("tool", "Dragons!", tool_call_id=CALL.id)
ORDERS = {
    "usual": (SYSTEM, HELLO, GREETING, WHO),
    "system in the middle": (SYSTEM, HELLO, GREETING, INJECTED, WHO),
    "system last": (SYSTEM, HELLO, GREETING, WHO, INJECTED),
    "several systems first": (SYSTEM, INJECTED, HELLO),
    "system only": (SYSTEM,),
    "greeting first": (SYSTEM, GREETING, WHO),
    "greeting only": (GREETING,),
    "two users": (SYSTEM, HELLO, WHO),
    "two replies": (HELLO, GREETING, GREETING, WHO),
    "an empty reply": (HELLO, Message("assistant", ""), WHO),
    "a call": (SYSTEM, HELLO, CALLED, RESULT),
    "a call, then the user": (SYSTEM, HELLO, CALLED, RESULT, WHO),
}


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def template(request: pytest.FixtureRequest, renderer: Renderer) -> chat.Template:
    model = replace(TINY, chat_template=request.param.read_text("utf-8"), bos_text="<s>", eos_text="</s>")
    return templates.choose(None, model, renderer)


def test_no_order_of_roles_is_refused_and_nothing_is_left_out(template: chat.Template, renderer: Renderer) -> None:
    for name, messages in ORDERS.items():
        tools = (LOOK,) if "call" in name else ()
        prompt = chat.render(Chat(messages, tools=tools), template, renderer).prompt
        lost = [message.content for message in messages if message.content not in prompt]
        assert not lost, f"{name}: {lost}"
        if tools:
            assert "horizon" in prompt, name


def test_a_reply_can_be_continued(template: chat.Template, renderer: Renderer) -> None:
    begun = Chat((SYSTEM, HELLO, Message("assistant", "I am the")), ending=Ending.CONTINUE)
    assert chat.render(begun, template, renderer).prompt.endswith("I am the")

"""One request followed through every stage, from the bytes a mod sends to the bytes it gets back.

Read it beside the map in ``server/__init__.py``. Each step feeds the next; only the model is scripted, so that every
value on the way can be written down here.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace

from server.api import sse
from server.engine.client import Generation
from server.engine.engine import Engine
from server.events import Constraint, EngineEvent, Finished, FinishReason, TextPiece
from server.prompt import chat, templates
from server.prompt.jinja import Renderer
from server.prompt.message import Message
from server.request import openai
from server.request.fields import parse_body
from server.request.prepare import Preparer
from server.settings import Settings
from tests.fake_model import TINY, FakeModel, tokens_of

TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}<assistant>"
MODEL = replace(TINY, chat_template=TEMPLATE)
PROMPT = "<system>You are a guard.\n<user>Who goes there?\n<assistant>"


class Bytes:
    """One token a byte, as the scripted model has them; nothing is added in front."""

    def tokenize(self, text: str, *, special: bool) -> tuple[int, ...]:
        return tokens_of(text)

    def check_constraint(self, constraint: Constraint) -> str:
        return ""


def test_the_story_of_a_request() -> None:
    # A mod sends bytes. Its JSON is parsed whatever the Content-Type said.
    sent = {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "You are a guard."},
            {"role": "user", "content": "Who goes there?"},
        ],
        "max_tokens": 40,
        "stop": "#",
        "stream": True,
    }
    body = parse_body(json.dumps(sent).encode())

    # The dialect turns it into a request that knows no dialect any more.
    request = openai.read_chat(body, defaults={})
    assert request.chat
    assert request.chat.messages[1] == Message("user", "Who goes there?")
    assert request.stop == ("#",)

    # The messages become one prompt, in the model's own format.
    with closing(Renderer()) as renderer:
        template = templates.choose(None, MODEL, renderer)
        assert template.info.source == "the model's own"
        assert chat.render(request.chat, template, renderer).prompt == PROMPT

        # Prompt and reply are fitted into the context, and the engine's command is ready.
        command = Preparer(Bytes(), MODEL, template, renderer, Settings()).prepare(request).build(1)
    assert command.prompt == tokens_of(PROMPT)
    assert command.max_tokens == 40

    # In the engine process the scheduler reads the prompt in chunks of the batch, then decodes token by token.
    model = FakeModel({PROMPT: "Me, ol\u00e9! # never said"}, batch=32)
    engine = Engine(model)
    events: list[EngineEvent] = engine.submit(command)
    while not engine.idle:
        events += engine.step()
    read = [len(batch[0].tokens) for batch in model.batches]
    assert sum(read[:2]) == len(PROMPT.encode())
    assert set(read[2:]) == {1}

    # Text leaves as whole characters, and nothing of the stop text does.
    pieces = [event.text for event in events if isinstance(event, TextPiece)]
    assert "".join(pieces) == "Me, ol\u00e9! "
    assert "\u00e9" in pieces
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.reason is FinishReason.STOP
    assert finished.stop_text

    # Back in the launcher the events land in the mailbox of the waiting route.
    generation = Generation(command, cancel=lambda _: None, genkey="", client="127.0.0.1", route="/v1/chat/completions")
    for event in events:
        assert isinstance(event, (TextPiece, Finished))
        generation.deliver(event)
    assert generation.text == "Me, ol\u00e9! "

    # And leave as server-sent events.
    frames = list(
        sse.stream(
            generation,
            gone=lambda: False,
            on_piece=lambda piece: sse.data_frame({"text": piece.text}),
            on_end=lambda end: sse.data_frame({"finish_reason": sse.finish_word(end)}) + sse.DONE,
            on_error=lambda error: sse.data_frame({"error": str(error)}),
        )
    )
    assert frames[0] == b'data: {"text": "M"}\n\n'
    assert frames[-1] == b'data: {"finish_reason": "stop"}\n\ndata: [DONE]\n\n'

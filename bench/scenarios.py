"""What is measured. A scenario drives one server once and returns one figure for each of its rows.

To add a row: write a function of a server and a story, and name it in ``SCENARIOS``. The story is the seed of all
prompts, so that no server has seen any of them before; all servers get the same.
"""

from __future__ import annotations

import functools
import math
import statistics
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence as ReadOnly
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bench.bare_loop import BareLoop
from bench.client import Reply
from bench.processes import Server
from bench.prompts import prose, turn

REPLY = 128
SHORT_REPLY = 16
OPENING = 16
CHAT = 1000
SHARED = 550
OWN = 220  # 250 with the first turn
LONG = 2000
RUNNING = 300
RUNNING_BEFORE = 30
# A merchant's wares: long enough that no reply ends early.
WARE = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 4, "maxLength": 30},
        "kind": {"enum": ["ale", "bread", "sword"]},
        "price": {"type": "integer", "minimum": 1, "maximum": 500},
        "stolen": {"type": "boolean"},
    },
    "required": ["name", "kind", "price", "stolen"],
    "additionalProperties": False,
}
INVENTORY = {"type": "array", "items": WARE, "minItems": 20, "maxItems": 40}
INVENTORY_GRAMMAR = r"""
root   ::= "[" ware ("," " "? ware){19,39} "]"
ware   ::= "{\"name\": " name ", \"kind\": " kind ", \"price\": " price ", \"stolen\": " stolen "}"
name   ::= "\"" [a-zA-Z '-]{4,30} "\""
kind   ::= "\"ale\"" | "\"bread\"" | "\"sword\""
price  ::= [1-9] [0-9]? | [1-4] [0-9] [0-9] | "500"
stolen ::= "true" | "false"
"""


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    title: str
    unit: str
    more_is_better: bool = False


@dataclass(frozen=True)
class Scenario:
    """How some rows are measured.

    ``busy`` says beside how many busy processes; ``repeats`` is the number of runs in each round; ``slots`` how many
    requests a server must run at once, 0 for its own choice; ``bare`` drives the bare loop, where that makes sense.
    """

    name: str
    rows: tuple[Row, ...]
    run: Callable[[Server, str], tuple[float, ...]]
    busy: tuple[int, ...] = (0, 2)
    repeats: int = 1
    slots: int = 0
    bare: Callable[[BareLoop, str], tuple[float, ...]] | None = None


def single(server: Server | BareLoop, story: str) -> tuple[float, ...]:
    """One stream, from its first token to its last."""
    return (server.stream(prose(story, OPENING), REPLY).speed,)


def whole(server: Server, story: str) -> tuple[float, ...]:
    """One reply that is not streamed, from the request to its end."""
    reply = server.whole(prose(story, OPENING), REPLY)
    return (reply.tokens / (reply.ended - reply.began),)


def chat(server: Server, story: str) -> tuple[float, ...]:
    """A chat of 1,000 tokens that is new to the server, then its next turn."""
    prompt = prose(story, CHAT) + turn(f"{story}, first")
    first = server.stream(prompt, SHORT_REPLY)
    following = server.stream(prompt + first.text + turn(f"{story}, next"), SHORT_REPLY)
    return milliseconds(first.first_token, following.first_token)


def npcs(count: int, server: Server, story: str) -> tuple[float, ...]:
    """NPCs whose prompts begin alike are talked to in turn, then in turn again. The middle NPC counts."""
    world = prose(f"{story}, world", SHARED)
    names = [f"{story}, NPC {number}" for number in range(count)]
    prompts = [f"{world}\n\n{prose(name, OWN)}{turn(f'{name}, first')}" for name in names]
    first = [server.stream(prompt, SHORT_REPLY) for prompt in prompts]
    again = [prompt + reply.text for prompt, reply in zip(prompts, first, strict=True)]
    second = [
        server.stream(prompt + turn(f"{name}, second"), SHORT_REPLY) for prompt, name in zip(again, names, strict=True)
    ]
    return milliseconds(*(statistics.median(reply.first_token for reply in replies) for replies in (first, second)))


def intrusion(server: Server, story: str) -> tuple[float, ...]:
    """A prompt of 2,000 tokens arrives while a stream runs: the stream's gaps until that prompt's first token."""
    running, over = threading.Event(), threading.Event()

    def go_on(pieces: int) -> bool:
        if pieces >= RUNNING_BEFORE:
            running.set()
        return not over.is_set()

    with ThreadPoolExecutor(1) as pool:
        stream = pool.submit(server.stream, prose(story, OPENING), RUNNING, go_on)
        while not running.wait(0.01) and not stream.done():
            pass
        posted = time.perf_counter()
        try:
            intruder = server.stream(prose(f"{story}, intruder", LONG), SHORT_REPLY)
        finally:
            over.set()
    found = gaps(stream.result(), posted, intruder.arrivals[0])
    return milliseconds(percentile(found, 50), percentile(found, 99), intruder.first_token)


def streams(count: int, server: Server, story: str) -> tuple[float, ...]:
    """Several streams at once, from the first request to the last end."""
    with ThreadPoolExecutor(count) as pool:
        began = time.perf_counter()
        replies = list(pool.map(lambda n: server.stream(prose(f"{story}, {n}", OPENING), REPLY), range(count)))
        ended = time.perf_counter()
    return (sum(reply.tokens for reply in replies) / (ended - began),)


def constrained(server: Server, story: str) -> tuple[float, ...]:
    """A stream that says what it likes, one that keeps to a schema, and one that keeps to a grammar of the same."""
    wishes: tuple[dict[str, Any], ...] = ({}, {"json_schema": INVENTORY}, {"grammar": INVENTORY_GRAMMAR})
    prompts = (prose(f"{story}, {number}", OPENING) for number in range(len(wishes)))
    return tuple(server.stream(prompt, REPLY, **wish).speed for prompt, wish in zip(prompts, wishes, strict=True))


def memory(server: Server, _story: str) -> tuple[float, ...]:
    """What the server holds after all the others of its round."""
    return (server.memory(),)


def gaps(reply: Reply, begin: float, end: float) -> list[float]:
    """The times between two pieces of a reply, as far as they lie between two moments."""
    return [after - before for before, after in pairwise(reply.arrivals) if after > begin and before < end]


def percentile(values: ReadOnly[float], percent: int) -> float:
    """The smallest value that ``percent`` of all do not exceed."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def milliseconds(*seconds: float) -> tuple[float, ...]:
    return tuple(1000 * value for value in seconds)


def _npcs(count: int) -> Scenario:
    rows = (Row(f"{count} NPCs in turn, first token, first round", "ms"), Row(f"the same {count}, second round", "ms"))
    return Scenario(f"npcs{count}", rows, functools.partial(npcs, count))


def _streams(count: int) -> Scenario:
    row = Row(f"{count} stream{'s' if count > 1 else ''}, all together", "tokens/s", more_is_better=True)
    return Scenario(f"streams{count}", (row,), functools.partial(streams, count), slots=8)


SCENARIOS = (
    Scenario(
        "single",
        (Row("one stream, after its first token", "tokens/s", more_is_better=True),),
        single,
        busy=(0, 1, 2),
        repeats=2,
        bare=single,
    ),
    Scenario("whole", (Row("one reply, not streamed", "tokens/s", more_is_better=True),), whole),
    Scenario("chat", (Row("first token, new chat of 1k", "ms"), Row("first token, its next turn", "ms")), chat),
    _npcs(8),
    _npcs(20),
    Scenario(
        "intrusion",
        (
            Row("gap in a stream while 2k arrive, p50", "ms"),
            Row("the same, p99", "ms"),
            Row("first token of these 2k", "ms"),
        ),
        intrusion,
    ),
    Scenario(
        "constrained",
        (
            Row("one stream, free", "tokens/s", more_is_better=True),
            Row("the same, JSON of a schema", "tokens/s", more_is_better=True),
            Row("the same, by a grammar", "tokens/s", more_is_better=True),
        ),
        constrained,
        busy=(0,),
    ),
    Scenario("memory", (Row("memory after these", "MiB"),), memory, busy=(0,)),
    *(_streams(count) for count in (1, 2, 4, 8)),
)

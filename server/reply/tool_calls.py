"""Tool calls in what a model writes, found while it streams. The routes that stream and those that do not use it.

Every family of models has its own way to write a call. They are told apart by their markers, whichever model is loaded:
models are trained on each other's replies and mix them up. ``READERS`` says who reads what.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from server.prompt.message import Tool, ToolCall
from server.reply import json_stream, markers
from server.reply.arguments import dumped, encodable, typed, unpacked
from server.reply.json_stream import CutOff, Incoming, Malformed, Reading
from server.reply.parts import Arguments, CallBegun, Content, Part, gathered, joined

NAME_KEYS = ("name", "tool_name", "function")
ARGUMENT_KEYS = ("arguments", "parameters")
ID_KEYS = ("id", "tool_call_id", "call_id")

_RECIPIENT = re.compile(r"\bto=(functions\.)?([\w.-]+)")
_COUNTER = re.compile(r":\d+$")
_USABLE_ID = re.compile(r"[\w.:-]{8,64}", re.ASCII)
_LONGEST_HEADER = 256  # characters
_LONGEST_NAME = 128


class _Enough(Exception):
    """The one call that is wanted is complete."""


@dataclass
class _Call:
    """A call being read. ``index`` is -1 until its name is known; arguments that came before it wait in ``early``.

    ``whole``: its arguments are complete.
    """

    index: int = -1
    name: str = ""
    id: str = ""
    early: str = ""
    argued: bool = False
    whole: bool = False


class ToolCallParser:
    """Reads a reply piece by piece: what is said, and the calls of functions in it.

    What is said leaves at once; only what may be the beginning of a marker is held back, and white space before and
    between calls, which is dropped. A call leaves as soon as its name is complete, its arguments as they come. Between
    markers a call may have any name; JSON or ``<function=…>`` without markers is a call only if it has one of
    ``names``. What turns out to be no call is said: without the markers, or in full if it had none. ``tools`` tell
    texts from numbers where a format does not.

    With ``parallel`` false ``done`` turns true when a call is complete, and what follows is dropped.
    """

    def __init__(self, names: Collection[str], *, parallel: bool = True, tools: Sequence[Tool] = ()) -> None:
        self.done = False
        self.cut_off = False
        self._names = frozenset(names)
        self._parallel = parallel
        self._schemas = {tool.name: tool.parameters for tool in tools}
        self._source = Incoming()
        self._parts: list[Part] = []
        self._ids: set[str] = set()
        self._count = 0
        self._open: _Call | None = None
        self._complete = True
        self._space: str | None = ""  # white space that may stand before a call; None while something is being said
        self._reading = self._reply()

    def push(self, text: str) -> list[Part]:
        """Take the next piece of the reply; what is known by now."""
        if self.done or self._source.ended:
            return []
        self._source.add(text)
        return self._go_on()

    def finish(self, *, complete: bool = True) -> list[Part]:
        """The reply is over: what was held back, and the end of a call that was cut off.

        Where the reply is not ``complete``, what was to become a call is no speech either.
        """
        if self.done or self._source.ended:
            return []
        self._source.ended = True
        self._complete = complete
        return self._go_on()

    def _go_on(self) -> list[Part]:
        try:
            next(self._reading, None)
        except _Enough:
            self.done = True
        parts, self._parts = joined(self._parts), []
        return parts

    # --- the reply -----------------------------------------------------------------------------------------------

    def _reply(self) -> Reading[None]:
        yield from self._tried(self._beginning(), marked=False)
        while marker := (yield from self._said()):
            if reader := READERS.get(marker):
                yield from self._tried(reader(self))
        if self._space and not self._count:
            self._parts.append(Content(self._space))

    def _tried(self, reading: Reading[None], *, marked: bool = True) -> Reading[None]:
        """Read calls here. If there is none after all, the text is read again as what is said."""
        mark, count = self._source.mark(), self._count
        try:
            yield from reading
        except Malformed:
            if self._open and not self._open.whole:
                self.cut_off = True
            if marked and self._source.ended and not self._complete:
                self._source.read(len(self._source.unread))
            elif self._count == count:
                self._source.rewind(mark)
        if self._open:
            self._end()
        self._source.release()

    def _said(self) -> Reading[str]:
        """Say what comes before the next marker; that marker, read. "" at the end of the reply."""
        while True:
            unread = self._source.unread
            if found := markers.first(unread):
                self._say(unread[: found.start()])
                return self._source.read(found.end())[found.start() :]
            held = 0 if self._source.ended and self._complete else markers.undecided(unread)
            self._say(self._source.read(len(unread) - held))
            if not (yield from self._source.more()):
                return ""

    def _say(self, text: str) -> None:
        if self._space is not None:
            text = self._space + text
            if not text or text.isspace():
                self._space = text
                return
            self._space = None
        if text:
            self._parts.append(Content(text))

    # --- a call --------------------------------------------------------------------------------------------------

    def _begin(self, call: _Call) -> None:
        """The call's name is known. Raises :class:`Malformed` if it cannot be one."""
        if not call.name or len(call.name) > _LONGEST_NAME or not encodable(call.name):
            raise Malformed
        usable = _USABLE_ID.fullmatch(call.id) and call.id not in self._ids
        call.id = call.id if usable else f"call_{uuid.uuid4().hex[:24]}"
        call.index, self._open, self._space = self._count, call, ""
        self._ids.add(call.id)
        self._count += 1
        self._parts.append(CallBegun(call.index, call.id, call.name))
        self._argue(call, call.early)
        self._source.release()

    def _argue(self, call: _Call, text: str) -> None:
        if text:
            call.argued = True
            self._parts.append(Arguments(call.index, text))

    def _end(self) -> None:
        """The open call is complete, or nothing more will come of it."""
        call, self._open = self._open, None
        if call and not call.argued and not self.cut_off:
            self._argue(call, "{}")
        if not self._parallel and not self.cut_off:
            raise _Enough

    def _known(self, name: str) -> str:
        """The name without what some models put before it."""
        name = name.strip()
        return name if name in self._names else name.removeprefix("functions.")

    def _arguments(self, call: _Call) -> Reading[None]:
        """Read a call's arguments: an object as it comes, anything else when it is complete."""
        if call.index >= 0 and (yield from self._source.next()) in ("{", "["):
            yield from json_stream.value(self._source, lambda text: self._argue(call, text))
            call.whole = True
            return
        pieces: list[str] = []
        try:
            yield from json_stream.value(self._source, pieces.append)
        except CutOff:
            if call.index >= 0:
                self._argue(call, unpacked("".join(pieces) + '"', cut_off=True))
            raise
        call.early = unpacked("".join(pieces))
        call.whole = True
        if call.index >= 0:
            self._argue(call, call.early)

    def _called(self, name: str, call_id: str = "", closing: str = "") -> Reading[None]:
        """A call whose name was read; its arguments come next, and perhaps ``closing``."""
        call = _Call(name=self._known(name), id=call_id)
        self._begin(call)
        yield from self._arguments(call)
        yield from self._closed(closing)

    def _closed(self, closing: str) -> Reading[None]:
        """Read what stands behind a call, if it does."""
        if closing and (yield from self._source.next()) == closing[0]:
            yield from self._source.take(closing)

    # --- JSON ----------------------------------------------------------------------------------------------------

    def _beginning(self) -> Reading[None]:
        """Calls that a reply begins with, without a marker: Llama 3 and many others."""
        yield from self._source.blank()
        if (yield from self._source.take("to=functions.")):  # what is before it, gpt-oss has in its prompt
            self._source.back("to=functions.")
            yield from self._harmony()
            return
        fence = yield from self._source.take("```")
        if fence:
            yield from self._source.take("json")
        if (yield from self._source.next()) not in ("{", "["):
            raise Malformed
        yield from self._objects(bare=True)
        yield from self._closed(fence)

    def _objects(self, *, bare: bool) -> Reading[None]:
        """Calls as JSON: an object, several in a row, or a list of them."""
        count = self._count
        if (yield from self._source.peek()) == "[":
            yield from self._list(bare)
        else:
            yield from self._object(bare)
        while (yield from self._behind()) == "{":
            yield from self._object(bare)
        if self._count == count:
            raise Malformed

    def _list(self, bare: bool) -> Reading[None]:
        self._source.read(1)
        while (yield from self._source.next()) == "{":
            yield from self._object(bare)
            if not ((yield from self._source.next()) and (yield from self._source.take(","))):
                break
        if not (yield from self._source.take("]")):
            raise Malformed

    def _behind(self) -> Reading[str]:
        """Read what separates calls, and the brackets that models close too many of; the "{" of another call or ""."""
        while True:
            mark = self._source.mark()
            char = yield from self._source.next()
            if char == "{":
                return char
            if not char or char not in ";,]}":
                self._source.rewind(mark)
                return ""
            if char in ";,":
                self._source.read(1)
                if (yield from self._source.next()) == "{":
                    return "{"
                self._source.rewind(mark)
                return ""
            self._source.read(1)

    def _object(self, bare: bool) -> Reading[None]:
        mark, count = self._source.mark(), self._count
        try:
            yield from self._members(_Call(), bare, inner=False)
        except Malformed:
            if self._count == count:
                self._source.rewind(mark)
            raise
        if self._open:
            self._end()
        elif self._count == count:
            self._source.rewind(mark)
            raise Malformed

    def _members(self, call: _Call, bare: bool, *, inner: bool) -> Reading[None]:
        """Read an object: the call, its ``function``, or one that holds ``tool_calls``."""
        source = self._source
        source.read(1)
        while (yield from source.next()) == '"':
            key = yield from self._string()
            if not ((yield from source.next()) and (yield from source.take(":"))):
                raise Malformed
            char = yield from source.next()
            if key == "function" and char == "{" and not inner:
                yield from self._members(call, bare, inner=True)
            elif key in NAME_KEYS and call.index < 0:
                yield from self._name(call, bare)
            elif key in ARGUMENT_KEYS and not (call.argued or call.early):
                yield from self._arguments(call)
            elif key in ID_KEYS and char == '"':
                call.id = yield from self._string()
            elif key == "tool_calls" and char == "[" and not inner:
                yield from self._list(bare)
            elif bare and call.index < 0 and key != "type":
                raise Malformed
            else:
                yield from json_stream.value(source, _ignored)
            if not ((yield from source.next()) and (yield from source.take(","))):
                break
        if not (yield from source.take("}")):
            raise Malformed

    def _name(self, call: _Call, bare: bool) -> Reading[None]:
        if (yield from self._source.peek()) != '"':
            raise Malformed
        call.name = self._known((yield from self._string()))
        if bare and call.name not in self._names:
            raise Malformed
        self._begin(call)

    def _string(self) -> Reading[str]:
        pieces: list[str] = []
        yield from json_stream.string(self._source, pieces.append)
        return str(json.loads("".join(pieces)))

    # --- other formats ---------------------------------------------------------------------------------------------

    def _tagged(self) -> Reading[None]:
        """What stands behind an opening tag: JSON, or one of the formats that begin with the name."""
        source = self._source
        if (yield from source.next()) == "`" and (yield from source.take("```")):
            yield from source.take("json")
        char = yield from source.next()
        if char in ("{", "["):
            yield from self._objects(bare=False)
            yield from self._closed("```")
        elif char == "<" and (yield from source.take(markers.FUNCTION)):
            yield from self._function(known=True)
        else:
            yield from self._named()

    def _named(self) -> Reading[None]:
        """Mistral's ``NAME[CALL_ID]id[ARGS]{…}`` and GLM's ``NAME<arg_key>k</arg_key><arg_value>v</arg_value>``."""
        name = yield from self._source.word()
        known = self._known(name) in self._names
        yield from self._source.blank()
        follows = yield from self._source.take("[CALL_ID]", "[ARGS]", "<arg_key>", "</tool_call>", "{")
        if follows == "[CALL_ID]":
            call_id = yield from self._source.word()
            yield from self._source.take("[ARGS]")
            yield from self._called(name, call_id)
        elif follows == "[ARGS]":
            yield from self._called(name)
        elif follows == "<arg_key>":
            yield from self._pairs(name, "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")
        elif follows == "{" and known:
            self._source.back(follows)
            yield from self._called(name)
        elif follows == "</tool_call>" and known:
            self._begin(_Call(name=self._known(name)))
        else:
            raise Malformed

    def _function(self, *, known: bool = False) -> Reading[None]:
        """Llama 3's ``<function=NAME>{…}</function>`` and Qwen 3 Coder's with ``<parameter=KEY>``."""
        name = yield from self._source.until(">", _LONGEST_NAME)
        name = self._known((name or "").strip("\"' "))
        follows = yield from self._source.next()
        if known or name in self._names:
            if follows == "{":
                yield from self._called(name, closing="</function>")
                return
            end = yield from self._source.take("<parameter=", "</function>")
            if end == "<parameter=":
                yield from self._pairs(name, end, ">", "", "</parameter>")
                return
            if end:
                self._begin(_Call(name=name))
                return
        if not known:
            self._say(markers.FUNCTION)
        raise Malformed

    def _pairs(self, name: str, key_start: str, key_end: str, start: str, end: str) -> Reading[None]:
        """Arguments one by one between tags, the first of which was read: each leaves when it is complete."""
        call = _Call(name=self._known(name))
        self._begin(call)
        opening = "{"
        while (key := (yield from self._source.until(key_end, _LONGEST_HEADER))) is not None:
            if start and (yield from self._source.next()):
                yield from self._source.take(start)
            written = yield from self._source.until(end)
            beginning = f"{opening}{dumped(key.strip())}: "
            if written is None:
                rest = self._source.read(len(self._source.unread))
                self._argue(call, beginning + dumped(rest.removeprefix("\n"))[:-1])
                return
            written = written.removeprefix("\n").removesuffix("\n")
            self._argue(call, beginning + typed(written, self._schemas.get(call.name, {}), key.strip()))
            opening = ", "
            yield from self._source.blank()
            if not (yield from self._source.take(key_start)):
                break
        if opening != "{":
            self._argue(call, "}")
        yield from self._closed("</function>")

    def _harmony(self) -> Reading[None]:
        """gpt-oss: a header that says who is spoken to. What is said to nobody in particular is what is said."""
        header = yield from self._source.until(markers.MESSAGE, _LONGEST_HEADER)
        if header is None:
            raise Malformed
        recipient = _RECIPIENT.search(header)
        if recipient and (recipient[1] or recipient[2] in self._names):
            yield from self._called(recipient[2])

    def _deepseek(self) -> Reading[None]:
        """``function<sep>NAME``, a line break and JSON in a fence, or ``NAME<sep>{…}``."""
        name = yield from self._source.until(markers.DEEPSEEK_NAME, _LONGEST_HEADER)
        if name is None:
            raise Malformed
        if name.strip() == "function" and (yield from self._source.peek()) != "{":
            name = yield from self._source.until("\n", _LONGEST_NAME)
        if (yield from self._source.next()) == "`" and (yield from self._source.take("```")):
            yield from self._source.take("json")
        yield from self._called(name or "", closing="```")

    def _kimi(self) -> Reading[None]:
        """``functions.NAME:0``, which is the call's id as well."""
        call_id = yield from self._source.until(markers.KIMI_ARGUMENTS, _LONGEST_HEADER)
        if call_id is None:
            raise Malformed
        yield from self._called(_COUNTER.sub("", call_id.strip()), call_id.strip())


READERS: dict[str, Callable[[ToolCallParser], Reading[None]]] = {
    **dict.fromkeys(markers.TAGS, ToolCallParser._tagged),
    markers.FUNCTION: ToolCallParser._function,
    markers.CHANNEL: ToolCallParser._harmony,
    markers.START: ToolCallParser._harmony,
    markers.DEEPSEEK_CALL: ToolCallParser._deepseek,
    markers.KIMI_CALL: ToolCallParser._kimi,
}


def parse(
    text: str, names: Collection[str], *, parallel: bool = True, tools: Sequence[Tool] = ()
) -> tuple[str, list[ToolCall]]:
    """What a whole reply says, and its calls."""
    parser = ToolCallParser(names, parallel=parallel, tools=tools)
    return gathered([*parser.push(text), *parser.finish()])


def _ignored(text: str) -> None:
    """Where the text of a value goes that nobody asked for."""

"""The template process: chat templates in, prompts out. Started by :mod:`server.prompt.jinja`, which watches over it.

A chat template is a stranger's program. Three walls stand between it and this PC: Jinja's sandbox, which it has to
break to reach Python; this process, which opens no file, no connection and no other process once it serves; and the
launcher, which kills it when it takes too long or too much memory.

The environment follows Hugging Face's ``apply_chat_template``, which the templates are written for: trimmed blocks,
loop controls, ``generation``, ``raise_exception``, ``strftime_now`` and a ``tojson`` that does not escape HTML.
``lipsum`` is missing: it is of use only to those who want out of the sandbox.

Frames cross the pipes as JSON and plain text, not pickled like the engine's: whoever breaks out in here must not be
able to run anything in the launcher.
"""

from __future__ import annotations

import contextlib
import datetime
import enum
import faulthandler
import functools
import importlib.machinery
import json
import signal
import struct
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

LONGEST_TEXT = 8 << 20
LONGEST_COMPLAINT = 2000
COMPILED_TEMPLATES = 8
HEADER = struct.Struct(">BI")
FORBIDDEN = ("open", "os.", "subprocess.", "socket.", "shutil.", "ctypes.", "winreg.", "_winapi.")
CODE = tuple(importlib.machinery.all_suffixes())
ARCHIVES = frozenset((sys.executable, *sys.path))  # where the packaged program has its modules


class Kind(enum.IntEnum):
    """What a frame carries: the launcher sends requests, all others come from here."""

    REQUEST = 0
    READY = 1
    TEXT = 2
    FAILED = 3
    STOPPED = 4


@dataclass(frozen=True)
class Frame:
    """One message between the launcher and this process. A request is JSON, everything else is text."""

    kind: Kind
    body: bytes = b""

    @classmethod
    def request(cls, template: str, variables: Mapping[str, Any]) -> Frame:
        """Raises TypeError, ValueError or RecursionError where ``variables`` are no JSON."""
        return cls(Kind.REQUEST, json.dumps([template, variables]).encode("ascii"))

    @classmethod
    def complaint(cls, kind: Kind, words: str) -> Frame:
        shown = words if len(words) <= LONGEST_COMPLAINT else words[:LONGEST_COMPLAINT] + "..."
        return cls(kind, shown.encode("utf-8", "surrogatepass"))

    @property
    def text(self) -> str:
        """What clients send may hold half characters (lone surrogates), and so may what is made of it."""
        return self.body.decode("utf-8", "surrogatepass")


def write_frame(pipe: IO[bytes], frame: Frame) -> None:
    """Raises OSError when nobody reads any more."""
    pipe.write(HEADER.pack(frame.kind, len(frame.body)) + frame.body)
    pipe.flush()


def read_frame(pipe: IO[bytes], longest: int | None = None) -> Frame | None:
    """The next frame; None when there is none, because the pipe is closed or what comes is no frame."""
    header = pipe.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    kind, size = HEADER.unpack(header)
    if kind not in list(Kind) or (longest is not None and size > longest):
        return None
    body = pipe.read(size)
    return Frame(Kind(kind), body) if len(body) == size else None


def too_much_memory(memory: int) -> str:
    """The sentence about a template that wanted more than ``memory`` bytes."""
    return f"it wanted more than {memory >> 20} MiB"


class TextTooLong(Exception):
    """The template writes more than any prompt needs."""


class Refused(jinja2.TemplateError):
    """The template called ``raise_exception``."""


class Templates:
    """Renders templates. Keeps the compiled ones: compiling takes longer than rendering, and a model has one."""

    def __init__(self) -> None:
        self._compile = functools.lru_cache(maxsize=COMPILED_TEMPLATES)(_environment().from_string)

    def render(self, template: str, variables: Mapping[str, Any]) -> bytes:
        """The text in UTF-8. Raises :class:`TextTooLong`, and whatever the template makes Python raise."""
        text = bytearray()
        for piece in self._compile(template).generate(variables):
            text += piece.encode("utf-8", "surrogatepass")
            if len(text) > LONGEST_TEXT:
                raise TextTooLong
        return bytes(text)

    def answer(self, request: Frame, memory: int) -> Frame:
        """The answer to a request of the launcher, which allows a template ``memory`` bytes."""
        try:
            template, variables = json.loads(request.body)
            return Frame(Kind.TEXT, self.render(template, variables))
        except TextTooLong:
            return Frame.complaint(Kind.STOPPED, f"its text is longer than {LONGEST_TEXT >> 20} MiB")
        except MemoryError:
            return Frame.complaint(Kind.STOPPED, too_much_memory(memory))
        except RecursionError:
            return Frame.complaint(Kind.STOPPED, "it is nested too deeply, or calls itself without end")
        except Exception as error:  # a stranger's program may raise anything
            return Frame.complaint(Kind.FAILED, _complaint(error))


def _complaint(error: Exception) -> str:
    """What went wrong as one sentence, with the template's line where it is known."""
    if isinstance(error, Refused):
        return error.message or ""
    if isinstance(error, SyntaxError):  # Python's, about the code that Jinja made; its line is not the template's
        return error.msg
    if isinstance(error, jinja2.TemplateError):
        words = error.message or type(error).__name__
    else:
        words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == "<template>"]
    line = error.lineno if isinstance(error, jinja2.TemplateSyntaxError) else lines[-1] if lines else None
    return f"{words} (line {line})" if line else words


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
    )
    del environment.globals["lipsum"]
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda layout: datetime.datetime.now().strftime(layout)
    environment.filters["tojson"] = _to_json
    return environment


class _Generation(Extension):
    """``{% generation %}`` marks what a model is trained on; for a prompt it means nothing, but is a scope."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: object) -> None:
    raise Refused(str(message))


def lock_down(memory: int) -> None:
    """Take from this process, for good, what no template needs: files, connections, processes, more than ``memory``.

    Only Linux refuses the memory itself, which is the cleaner error; elsewhere the launcher has to see it grow.
    """
    if sys.platform == "linux":
        import resource

        mapped = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (mapped + memory, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash must not leave the chat on the disk
    sys.addaudithook(_refuse)


def _refuse(event: str, details: tuple[Any, ...]) -> None:
    """Python's audit hook. Python and Jinja import some of their parts late (codecs, for instance); that goes on."""
    imports = event == "os.listdir" or (
        event == "open"
        and details[1] in ("r", "rb")
        and (str(details[0]).endswith(CODE) or str(details[0]) in ARCHIVES)
    )
    if event.startswith(FORBIDDEN) and not imports:
        raise PermissionError(f"templates may not use {event}")


def main() -> None:
    """Render until the launcher closes the pipe. Arguments: its limits, in seconds and bytes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the launcher's to handle
    seconds, memory = float(sys.argv[1]), int(sys.argv[2])
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    templates = Templates()
    with contextlib.suppress(Refused):  # so that what is imported late is there already, as a rule
        templates.render("{{ 'a' }}{{ raise_exception('') }}", {})
    lock_down(memory)
    write_frame(answers, Frame(Kind.READY))
    while request := read_frame(requests):
        # In the middle of a template this process does not see the launcher go, and nobody is left to kill it.
        # This clock is native code: it ends the process even where one operation of Python's takes for ever.
        faulthandler.dump_traceback_later(2 * seconds, exit=True)
        answer = templates.answer(request, memory)
        faulthandler.cancel_dump_traceback_later()
        write_frame(answers, answer)


if __name__ == "__main__":
    main()

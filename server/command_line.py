"""The command line: KoboldCpp's flags to :class:`Settings`. Used by ``launcher.py``."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence as ReadOnly
from dataclasses import dataclass
from typing import Any, NoReturn

from server import VERSION, kcpps
from server.errors import SettingsError, in_a_line
from server.settings import Settings, from_mapping, rule_of

# Flags of KoboldCpp that Tavernkeep does not have, by how many values follow them: people's scripts keep starting.
NO_VALUE = """
    usecpu noavx2 failsafe cli multiplayer websearch remotetunnel highpriority foreground nocertify mmprojcpu
    no-mmproj-offload ignoremissing jinja jinja_tools jinja-tools smartcontext nomodel nobostoken enableguidance
    showgui singleinstance ttsgpu sdflashattention sdoffloadcpu sdvaecpu sdclipgpu sdvaeauto
    noblas sdnotile testmemory
"""
ONE_VALUE = """
    analyze onready prompt p genlimit promptlimit mmproj visionmaxres ratelimit forceversion
    unpack exportconfig exporttemplate moeexperts maxrequestsize hordemodelname hordeworkername hordekey hordemaxctx
    hordegenlen sdmodel sdthreads sdclampedsoft sdt5xxl sdclip1 sdclipl sdclip2 sdclipg sdphotomaker
    sdconvdirect sdvae sdlora sdloramult sdtiledvae sdgendefaults whispermodel ttsmodel ttswavtokenizer
    ttsmaxlen ttsthreads
"""
SOME_VALUES = """
    usecuda usecublas usehipblas usevulkan useclblast debugmode benchmark overridekv override-kv
    overridetensors override-tensor ot draftgpusplit ssl sdclamped sdquant hordeconfig sdconfig
"""
FILES = (".gguf", ".kcpps", ".kcppt")
SHORT = ("p", "ot")


@dataclass(frozen=True)
class Invocation:
    """What the command line asks for. ``headless`` means no window; ``warnings`` are sentences to show. ``launch``
    opens the chat page in a browser.

    ``opened`` is the file that stands alone, as when a model or a configuration is opened with the program; "" if none.
    """

    settings: Settings
    headless: bool
    warnings: tuple[str, ...]
    opened: str = ""
    self_test: bool = False
    launch: bool = False


def parse(arguments: ReadOnly[str]) -> Invocation:
    """Read the command line; flags win over a ``--config`` file.

    Raises :class:`SettingsError` for a value that does not fit and a flag that nobody knows.

    ``--help`` and ``--version`` end the program (``SystemExit``).
    """
    given = vars(_parser().parse_args(_with_bare_values(arguments)))
    ignored = given.pop("ignored", [])
    headless, config = given.pop("skiplauncher", False), given.pop("config", None)
    self_test, launch = given.pop("self_test", False), given.pop("launch", False)
    positional = {"model": given.pop("model_param", None), "port": given.pop("port_param", None)}
    opened = os.path.abspath(positional["model"]) if positional["model"] else ""
    if opened.lower().endswith((".kcpps", ".kcppt")):
        config = config or positional.pop("model")
    values: dict[str, Any] = kcpps.load(config) if config else {}
    values |= {name: value for name, value in positional.items() if value is not None}
    values |= {name: value for name, value in given.items() if value is not None}
    warnings = tuple(f"{flag} is a flag of KoboldCpp that Tavernkeep does not have; it is ignored." for flag in ignored)
    return Invocation(from_mapping(values), headless, warnings, opened, self_test, launch)


def flags_of(field: dataclasses.Field[Any]) -> tuple[str, ...]:
    """Every name of a setting on the command line, without those that switch it off."""
    return (f"--{field.name}", *rule_of(field).flags)


def _with_bare_values(arguments: ReadOnly[str]) -> list[str]:
    """Write out what a flag means that stands alone: before another flag, before the model, or last."""
    bare = {flag: rule_of(field).bare for field in dataclasses.fields(Settings) for flag in flags_of(field)}
    complete = []
    for argument, following in zip(arguments, [*arguments, "-"][1:], strict=True):
        complete.append(argument)
        is_flag = following.startswith("-") and not following[1:].isdecimal()
        if bare.get(argument) and (is_flag or following.lower().endswith(FILES)):
            complete.append(bare[argument])
    return complete


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence."""
        sentence = in_a_line(message[:1].upper() + message[1:])
        raise SettingsError(f"{sentence.rstrip('.')}.", "--help lists the flags.")


class _Ignored(argparse.Action):
    def __call__(self, _parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        namespace.ignored = [*getattr(namespace, "ignored", []), option_string]
        files = [value for value in values if value.lower().endswith(FILES)]
        if self.nargs == "*" and files:  # such a flag takes the model that stands behind it as well
            namespace.model_param = files[0]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="tavernkeep",
        description="Runs a GGUF language model and serves it to game mods and SillyTavern.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("model_param", nargs="?", metavar="MODEL", help="GGUF model, or a .kcpps configuration.")
    parser.add_argument("port_param", nargs="?", metavar="PORT", help="Port, as --port.")
    for field in dataclasses.fields(Settings):
        rule = rule_of(field)
        if isinstance(field.default, bool):
            parser.add_argument(*flags_of(field), dest=field.name, action="store_true", help=rule.help)
            off = f"Switch --{field.name} off."
            if rule.off_flags:
                parser.add_argument(*rule.off_flags, dest=field.name, action="store_false", help=off)
        else:
            shown = f" [{field.default}]" if field.default not in ("", ()) else ""
            several: dict[str, Any] = {"nargs": "+"} if rule.each else {}
            parser.add_argument(*flags_of(field), dest=field.name, metavar="VALUE", help=rule.help + shown, **several)
    parser.add_argument("--config", metavar="FILE", help="KoboldCpp configuration file (.kcpps) to start from.")
    parser.add_argument("--skiplauncher", action="store_true", help="Serve without a window.")
    parser.add_argument("--launch", action="store_true", help="Open the chat page when the model is loaded.")
    parser.add_argument("--self-test", action="store_true", help="Try everything with the starter model, and end.")
    parser.add_argument("--version", action="version", version=VERSION)
    for names, count in ((NO_VALUE, 0), (ONE_VALUE, 1), (SOME_VALUES, "*")):
        for name in names.split():
            flags = (f"--{name}", f"-{name}") if name in SHORT else (f"--{name}",)
            parser.add_argument(*flags, action=_Ignored, nargs=count, help=argparse.SUPPRESS, dest="ignored")
    return parser

"""The one table of settings. The command line, ``.kcpps`` files, the window and the docs are all made from it.

A setting is added here and nowhere else. Names are KoboldCpp's, so that people's scripts and files keep working.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from dataclasses import dataclass
from typing import Any

from server.errors import SettingsError


@dataclass(frozen=True)
class Rule:
    """What a setting's value must look like, and how it is explained.

    ``help`` is one sentence for tooltips and ``--help``; ``flags`` are further names on the command line. With
    ``automatic`` KoboldCpp's -1 ("choose for me") means the default.
    """

    help: str
    flags: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    automatic: bool = False
    secret: bool = False


def _setting(default: Any, help: str, **rule: Any) -> Any:
    return dataclasses.field(default=default, metadata={"rule": Rule(help, **rule)})


@dataclass(frozen=True)
class Settings:
    """Everything a user can choose. Immutable; use :func:`dataclasses.replace` for a changed copy, which is checked.

    Raises :class:`SettingsError` with one sentence when a value cannot be used.
    """

    model: str = _setting("", "GGUF model file to load.", flags=("-m",))
    port: int = _setting(5001, "TCP port of the server.", minimum=0, maximum=65535)
    host: str = _setting("127.0.0.1", "Address to listen on; 0.0.0.0 opens the server to your network.")
    contextsize: int = _setting(
        8192,
        "Context size in tokens, shared by all requests that run at the same time.",
        flags=("--ctx-size", "-c"),
        minimum=256,
        maximum=1048576,
    )
    gpulayers: int = _setting(
        -1,
        "Model layers to keep on the GPU; -1 puts all of them there if a GPU is found.",
        flags=("--gpu-layers", "--n-gpu-layers", "-ngl"),
        minimum=-1,
        maximum=10000,
    )
    threads: int = _setting(
        0,
        "CPU threads for generation; 0 chooses by the cores of this PC.",
        flags=("-t",),
        automatic=True,
        minimum=0,
        maximum=512,
    )
    blasbatchsize: int = _setting(
        512,
        "Prompt tokens read in one step; larger is faster but holds up running replies longer.",
        flags=("--batchsize", "--batch-size", "-b"),
        automatic=True,
        minimum=16,
        maximum=8192,
    )
    multiuser: int = _setting(
        1,
        "Requests served or waiting at the same time: 0 is one and no queue, 1 is automatic, more is that many.",
        minimum=0,
        maximum=256,
    )
    chatcompletionsadapter: str = _setting(
        "AutoGuess",
        "Instruct template: AutoGuess uses the model's own, or name a preset or a JSON file.",
    )
    defaultgenamt: int = _setting(768, "Reply length in tokens when a request names none.", minimum=16, maximum=1048576)
    password: str = _setting("", "Key that clients must send as 'Authorization: Bearer KEY'.", secret=True)
    allowclients: str = _setting(
        "",
        "Addresses or subnets that may connect when --host opens the network, e.g. 172.16.0.0/12,192.168.1.20.",
    )
    quiet: bool = _setting(False, "Log warnings and errors only.")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field.name, getattr(self, field.name), field.default, rule_of(field))
        _check_exposure(self)


def is_loopback(host: str) -> bool:
    """Whether ``host`` is a name or address of this PC that no other can reach."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def rule_of(field: dataclasses.Field[Any]) -> Rule:
    """The :class:`Rule` of a field of :class:`Settings`."""
    rule: Rule = field.metadata["rule"]
    return rule


def client_networks(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """The subnets named in an ``allowclients`` value (comma-separated addresses or subnets).

    Raises :class:`SettingsError` naming the first entry that is neither.
    """
    networks = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        try:
            networks.append(ipaddress.ip_network(entry, strict=False))
        except ValueError:
            raise SettingsError(
                f"allowclients: {entry!r} is not an IP address or subnet.",
                "Write for example 192.168.1.20 or 172.16.0.0/12.",
            ) from None
    return tuple(networks)


def from_mapping(values: dict[str, Any], base: Settings | None = None) -> Settings:
    """``base`` (or the defaults) with ``values`` laid over it; text is converted to the setting's type.

    Raises :class:`SettingsError` for a value that does not fit; unknown names are the caller's mistake (``KeyError``).
    """
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    changes = {name: _convert(fields[name], value) for name, value in values.items()}
    return dataclasses.replace(base or Settings(), **changes)


def _convert(field: dataclasses.Field[Any], value: Any) -> Any:
    if isinstance(value, str) and type(field.default) is int:
        try:
            value = int(value)
        except ValueError:
            raise SettingsError(f"{field.name}: {value!r} is not a whole number.") from None
    return field.default if rule_of(field).automatic and value == -1 else value


def _check(name: str, value: Any, default: Any, rule: Rule) -> None:
    if type(value) is not type(default):
        kind = {int: "a whole number", str: "text", bool: "true or false"}[type(default)]
        shown = "the value" if rule.secret else repr(value)
        raise SettingsError(f"{name}: {shown} is not {kind}.")
    if rule.minimum is not None and value < rule.minimum:
        raise SettingsError(f"{name}: {value} is too small; the least is {rule.minimum}.")
    if rule.maximum is not None and value > rule.maximum:
        raise SettingsError(f"{name}: {value} is too large; the most is {rule.maximum}.")


def _check_exposure(settings: Settings) -> None:
    """Opening the server to a network is a decision: a key, or a list of who may connect."""
    networks = client_networks(settings.allowclients)
    if not is_loopback(settings.host) and not settings.password and not networks:
        raise SettingsError(
            f"--host {settings.host} opens the server to your network.",
            "Set --password KEY as well, or, for clients that cannot send a key, --allowclients with their addresses.",
        )

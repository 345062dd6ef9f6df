"""The form: settings to fields and back, and how the fields look."""

from __future__ import annotations

import dataclasses
import math
import os
from dataclasses import dataclass
from typing import Final

from gui.view import advanced
from gui.view.forecast import MemoryView, memory_view
from gui.view.looks import ButtonRole, ButtonView, Pending, Tone
from gui.view.words import plain_number, size_words
from server.errors import SettingsError
from server.events import EngineState
from server.settings import Settings, from_mapping, is_loopback, rule_of
from server.snapshot import Forecast, ModelFile, Preview, Snapshot

AUTO_LAYERS: Final = -1
CONTEXT_STOPS: Final = tuple(
    step * 512 for step in (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)
)
LARGEST_STOP_IF_UNKNOWN: Final = 131072
RESERVE_STEPS: Final = 2  # stops of the slider for each GB
LARGEST_RESERVE: Final = 24 * RESERVE_STEPS


@dataclass(frozen=True)
class Form:
    """What the fields hold, as typed. ``gpulayers`` keeps what the slider cannot show, such as 99; so does
    ``reservevram``, in GB. ``options`` are those that are folded away."""

    model: str = ""
    gpulayers: int = AUTO_LAYERS
    contextsize: str = ""
    template: str = ""
    thinking: str = ""
    host: str = ""
    port: str = ""
    password: str = ""
    gamemode: bool = False
    reservevram: float = 0.0
    multiuser: str = ""
    options: advanced.Typed = ()


FIELD_NAMES: Final = {"contextsize": "Context size", "host": "Address", "port": "Port"}
AT_ONCE: Final = (
    ("1", "Automatic (16, and 32 may wait)"),
    ("0", "One, and nobody waits"),
    *((str(count), f"{count} at a time") for count in (2, 4, 8, 16)),
)
THINKING: Final = (("show", "Sent apart (reasoning_content)"), ("hide", "Dropped"), ("off", "Off"))


def form_of(settings: Settings, starter_model: str) -> Form:
    """The form for ``settings``; the starter model stands in where they name none."""
    return Form(
        model=settings.model or starter_model,
        gpulayers=settings.gpulayers,
        contextsize=str(settings.contextsize),
        template=settings.chatcompletionsadapter,
        thinking=settings.thinking,
        host=settings.host,
        port=str(settings.port),
        password=settings.password,
        gamemode=settings.gamemode,
        reservevram=settings.reservevram,
        multiuser=str(settings.multiuser),
        options=advanced.typed_of(settings),
    )


def settings_of(form: Form, base: Settings) -> Settings:
    """``base`` with the form laid over it. Raises :class:`SettingsError` in the window's words."""
    typed = {"contextsize": plain_number(form.contextsize), "port": form.port.strip()}
    for name, value in typed.items():
        _check_field(name, value)
    host = form.host.strip()
    _check_field("host", host)
    options = advanced.values_of(form.options)
    if not is_loopback(host) and not form.password and not options.get("allowclients", base.allowclients):
        raise SettingsError(
            f"Address: {host} opens the server to your network.",
            "Choose a password for it, or name the addresses that may connect.",
        )
    others = {
        "model": model_path(form.model),
        "gpulayers": form.gpulayers,
        "host": host,
        "chatcompletionsadapter": form.template,
        "thinking": form.thinking,
        "password": form.password,
        "gamemode": form.gamemode,
        "reservevram": form.reservevram,
        "multiuser": form.multiuser or base.multiuser,
    }
    return from_mapping({**typed, **others, **options}, base)


def _check_field(name: str, value: str) -> None:
    label = FIELD_NAMES[name]
    if not value:
        raise SettingsError(f"{label}: the field is empty.")
    if name == "host":
        return
    try:
        from_mapping({name: value})
    except SettingsError as error:
        raise SettingsError(f"{label}: {error.message.removeprefix(f'{name}: ')}", error.hint) from error


def model_path(typed: str) -> str:
    """The path a person meant: without the quotes that "Copy as path" adds, with ``~`` spelled out."""
    path = typed.strip().strip('"').strip()
    return os.path.expanduser(path) if path else ""


def context_stops(trained_context: int) -> tuple[int, ...]:
    """The slider's stops up to what the model was trained for (0 if the file does not say)."""
    limit = trained_context or LARGEST_STOP_IF_UNKNOWN
    stops = tuple(stop for stop in CONTEXT_STOPS if stop < limit)
    return (*stops, limit)


def nearest_stop(stops: tuple[int, ...], tokens: int) -> int:
    """Index of the stop nearest to ``tokens`` on the slider's log scale."""
    return min(range(len(stops)), key=lambda index: abs(math.log(stops[index] / max(tokens, 1))))


def fitting_context(contextsize: str, file: ModelFile) -> str:
    """A context size nobody chose, lowered to what the model was trained for."""
    tokens = _tokens(contextsize)
    if tokens is not None and 0 < file.trained_context < tokens:
        return str(file.trained_context)
    return contextsize


def gpulayers_at(position: int, layers: int) -> int:
    """The setting for a slider position. llama.cpp counts the output layer too, so all of 30 are 31."""
    return layers + 1 if position >= layers else position


@dataclass(frozen=True)
class FormView:
    """How the form looks. A slider whose largest position equals its smallest is switched off."""

    locked: bool
    model_line: str
    model_tone: Tone
    layers: int
    layers_position: int
    layers_text: str
    stops: tuple[int, ...]
    stop: int
    context_hint: str
    context_tone: Tone
    address_hint: str
    asks_password: bool
    start: ButtonView
    can_stop_server: bool
    can_restart: bool
    memory: MemoryView
    reserve_position: int
    reserve_text: str
    template_line: str
    template_tone: Tone
    preview: str
    options_title: str


@dataclass(frozen=True)
class Inspection:
    """What is known of the model field's file: still being read, read (``file``) or bad (``problem``).

    ``forecast`` says where it will find room, ``preview`` how a chat will look to it, or ``template_problem`` why that
    is not known.
    """

    file: ModelFile | None = None
    problem: str = ""
    forecast: Forecast | None = None
    preview: Preview | None = None
    template_problem: str = ""


def form_view(
    form: Form, inspection: Inspection, snapshot: Snapshot, pending: Pending, *, changed: bool = False
) -> FormView:
    """How the form looks now. It was ``changed`` if a running server does not do what it says."""
    file = inspection.file
    layers = file.layers if file else 0
    stops = context_stops(file.trained_context if file else 0)
    tokens = _tokens(form.contextsize)
    hint, tone = _context_hint(tokens, file)
    running = snapshot.state in (EngineState.LOADING, EngineState.READY)
    return FormView(
        locked=pending is not Pending.NONE,
        model_line=_model_line(form, inspection),
        model_tone=Tone.BAD if inspection.problem else Tone.QUIET,
        layers=layers,
        layers_position=min(form.gpulayers, layers),
        layers_text=_layers_text(form.gpulayers, layers, inspection.forecast),
        stops=stops,
        stop=nearest_stop(stops, tokens or 1),
        context_hint=hint,
        context_tone=tone,
        address_hint=_address_hint(form.host.strip()),
        asks_password=not is_loopback(form.host.strip()) or bool(form.password),
        start=_start_button(form, running, pending),
        can_stop_server=bool(snapshot.address) and not running and pending is Pending.NONE,
        can_restart=running and changed and pending is Pending.NONE and bool(form.model.strip()),
        memory=memory_view(inspection.forecast),
        reserve_position=min(round(form.reservevram * RESERVE_STEPS), LARGEST_RESERVE),
        reserve_text=f"{form.reservevram:g} GB",
        template_line=_template_line(inspection),
        template_tone=_template_tone(inspection),
        preview=inspection.preview.text or inspection.preview.problem if inspection.preview else "",
        options_title=_options_title(advanced.changed(form.options)),
    )


def _template_line(inspection: Inspection) -> str:
    if inspection.template_problem:
        return inspection.template_problem
    if not inspection.preview:
        return ""
    template = inspection.preview.template
    return f"{template.name}, {template.source}. {template.warning or template.reason}"


def _template_tone(inspection: Inspection) -> Tone:
    if inspection.template_problem:
        return Tone.BAD
    return Tone.BUSY if inspection.preview and inspection.preview.template.warning else Tone.QUIET


def _options_title(changed: int) -> str:
    return f"More options ({changed} changed)" if changed else "More options"


def _model_line(form: Form, inspection: Inspection) -> str:
    if not form.model.strip():
        return "Choose a GGUF model file to start."
    if inspection.problem:
        return inspection.problem
    if inspection.file is None:
        return "Reading the file…"
    file = inspection.file
    parts = [
        file.architecture,
        file.quantisation,
        size_words(file.size) if file.size else "",
        f"{file.layers} layers" if file.layers else "",
        f"trained for {file.trained_context:,} tokens" if file.trained_context else "",
        "" if file.chat_template else "no instruct template inside",
    ]
    return " · ".join(filter(None, parts))


def _layers_text(gpulayers: int, layers: int, forecast: Forecast | None) -> str:
    if gpulayers == AUTO_LAYERS:
        if not forecast:
            return "Auto"
        if len(forecast.pools) == 1:
            return "Auto: no GPU"
        return f"Auto: {_layers_text(forecast.gpu_layers, layers, None)}"
    if gpulayers == 0:
        return "CPU only"
    if not layers:
        return str(gpulayers)
    return f"All {layers}" if gpulayers >= layers else f"{gpulayers} of {layers}"


def _context_hint(tokens: int | None, file: ModelFile | None) -> tuple[str, Tone]:
    if tokens is None:
        return "The context size must be a whole number.", Tone.BAD
    if file and 0 < file.trained_context < tokens:
        return f"More than the {file.trained_context:,} tokens this model was trained for.", Tone.BUSY
    return "Tokens, shared by all requests that run at the same time.", Tone.QUIET


def _address_hint(host: str) -> str:
    if is_loopback(host):
        return "Only programs on this PC can connect."
    return "Other devices in your network can connect too, with the password."


def _start_button(form: Form, running: bool, pending: Pending) -> ButtonView:
    if pending is Pending.STARTING:
        return ButtonView("Starting…", ButtonRole.BUSY, enabled=False)
    if pending is Pending.STOPPING:
        return ButtonView("Stopping…", ButtonRole.BUSY, enabled=False)
    if running:
        return ButtonView("Stop", ButtonRole.STOP, enabled=True)
    ready = bool(form.model.strip())
    return ButtonView("Start", ButtonRole.START if ready else ButtonRole.BUSY, enabled=ready)


def _tokens(typed: str) -> int | None:
    try:
        return int(plain_number(typed))
    except ValueError:
        return None


def help_of(setting: str) -> str:
    """A setting's own sentence, for a tooltip."""
    return next(rule_of(field).help for field in dataclasses.fields(Settings) if field.name == setting)


def template_label(setting: str) -> str:
    """How the template menu shows a preset's name, a file, or the text of a template."""
    if setting.lower() in ("", "autoguess"):
        return "From the model file (AutoGuess)"
    return "Your own text" if setting.lstrip().startswith("{") else os.path.basename(setting)

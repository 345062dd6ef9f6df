"""What the window shows, decided without Tk: the app feeds it form and snapshot, the cards draw it."""

from __future__ import annotations

import dataclasses
import enum
import math
import os
from dataclasses import dataclass
from typing import Final

from server.errors import SettingsError
from server.events import EngineState, EngineStats, ModelInfo
from server.settings import Settings, from_mapping, is_loopback, rule_of
from server.snapshot import ModelFile, RequestRow, Snapshot, TemplateInfo

AUTO_LAYERS: Final = -1
CONTEXT_STOPS: Final = tuple(
    step * 512 for step in (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)
)
LARGEST_STOP_IF_UNKNOWN: Final = 131072
LONGEST_PROBLEM: Final = 320
LONGEST_TEMPLATE: Final = 20
NOTHING: Final = "—"


class Tone(enum.Enum):
    """How a state feels; the theme has a colour for each."""

    QUIET = "quiet"
    BUSY = "busy"
    GOOD = "good"
    BAD = "bad"


class ButtonRole(enum.Enum):
    """What a button does; the theme has a style for each."""

    START = "start"
    STOP = "stop"
    BUSY = "busy"
    PLAIN = "plain"


class Pending(enum.Enum):
    """What the user asked for and the controller has not answered yet."""

    NONE = "none"
    STARTING = "starting"
    STOPPING = "stopping"


# --- the form -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Form:
    """What the fields hold, as typed. ``gpulayers`` keeps what the slider cannot show, such as 99."""

    model: str = ""
    gpulayers: int = AUTO_LAYERS
    contextsize: str = ""
    template: str = ""
    thinking: str = ""
    host: str = ""
    port: str = ""
    password: str = ""
    gamemode: bool = False


FIELD_NAMES: Final = {"contextsize": "Context size", "host": "Address", "port": "Port"}
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
    )


def settings_of(form: Form, base: Settings) -> Settings:
    """``base`` with the form laid over it. Raises :class:`SettingsError` in the window's words."""
    typed = {"contextsize": plain_number(form.contextsize), "port": form.port.strip()}
    for name, value in typed.items():
        _check_field(name, value)
    host = form.host.strip()
    _check_field("host", host)
    if not is_loopback(host) and not form.password and not base.allowclients:
        raise SettingsError(f"Address: {host} opens the server to your network.", "Choose a password for it.")
    others = {
        "model": model_path(form.model),
        "gpulayers": form.gpulayers,
        "host": host,
        "chatcompletionsadapter": form.template,
        "thinking": form.thinking,
        "password": form.password,
        "gamemode": form.gamemode,
    }
    return from_mapping({**typed, **others}, base)


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


def plain_number(typed: str) -> str:
    """``8,192`` or ``8k`` as ``8192``; anything else is left for the settings to refuse."""
    text = typed.strip().lower().replace(",", "").replace(" ", "")
    thousands = text.removesuffix("k")
    if thousands != text and thousands.isascii() and thousands.isdigit():
        return str(int(thousands) * 1024)
    return text


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
class ButtonView:
    """A button's text, style and whether it can be pressed."""

    text: str
    role: ButtonRole
    enabled: bool


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


@dataclass(frozen=True)
class Inspection:
    """What is known of the model field's file: still being read, read (``file``) or bad (``problem``)."""

    file: ModelFile | None = None
    problem: str = ""


def form_view(form: Form, inspection: Inspection, snapshot: Snapshot, pending: Pending) -> FormView:
    """How the form looks now."""
    file = inspection.file
    layers = file.layers if file else 0
    stops = context_stops(file.trained_context if file else 0)
    tokens = _tokens(form.contextsize)
    hint, tone = _context_hint(tokens, file)
    running = snapshot.state in (EngineState.LOADING, EngineState.READY)
    return FormView(
        locked=running or pending is not Pending.NONE,
        model_line=_model_line(form, inspection),
        model_tone=Tone.BAD if inspection.problem else Tone.QUIET,
        layers=layers,
        layers_position=min(form.gpulayers, layers),
        layers_text=_layers_text(form.gpulayers, layers),
        stops=stops,
        stop=nearest_stop(stops, tokens or 1),
        context_hint=hint,
        context_tone=tone,
        address_hint=_address_hint(form.host.strip()),
        asks_password=not is_loopback(form.host.strip()) or bool(form.password),
        start=_start_button(form, running, pending),
        can_stop_server=bool(snapshot.address) and not running and pending is Pending.NONE,
    )


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


def _layers_text(gpulayers: int, layers: int) -> str:
    if gpulayers == AUTO_LAYERS:
        return "Auto"
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


# --- the live card ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LiveView:
    """What is happening, in words. ``progress`` is None unless a model loads.

    ``numbers`` says whether there is room for them beside the problem, ``busy`` whether tokens flow. ``drafts`` is ""
    unless tokens are guessed ahead, ``trimmed`` unless a prompt was cut; ``trimming`` is while such a reply runs.
    """

    headline: str
    tone: Tone
    progress: float | None
    problem: str
    numbers: bool
    busy: bool
    speed: str
    speed_unit: str
    prompt_speed: str
    replies: str
    trimmed_name: str
    trimmed: str
    trimming: bool
    cached: str
    context: str
    context_fill: float
    kept: str
    drafts: str
    model: str
    model_detail: str
    template: str
    template_tip: str
    template_warning: str
    kobold_address: str
    openai_address: str


def live_view(snapshot: Snapshot, pending: Pending, notice: str) -> LiveView:
    """What is happening now. ``notice`` is why the last press of a button came to nothing, if it did."""
    headline, tone = _headline(snapshot, pending, notice)
    ready = snapshot.state is EngineState.READY
    stats = snapshot.stats
    address = snapshot.address.rstrip("/")
    problem = _problem(snapshot, notice)
    trimming = _trimming(snapshot.requests)
    return LiveView(
        headline=headline,
        tone=tone,
        progress=snapshot.progress if snapshot.state is EngineState.LOADING else None,
        problem=problem,
        numbers=not problem or ready,
        busy=ready and stats.decode_speed > 0,
        speed=_speed(stats.decode_speed) if ready else "0.0",
        speed_unit=_speed_unit(stats.threads, snapshot.threads) if ready else "tokens/s",
        prompt_speed=f"prompts {f'{stats.prompt_speed:,.0f} tokens/s' if ready else NOTHING}",
        replies=_replies(stats, snapshot.replies) if ready else _sent(snapshot.replies),
        trimmed_name="Cut from prompts" if trimming else "Prompts cut",
        trimmed=trimming or _trimmed(snapshot),
        trimming=bool(trimming),
        cached=_share(stats.cached_tokens, stats.prompt_tokens) if ready else NOTHING,
        context=f"{stats.cells_used:,} of {stats.cells_total:,}" if ready and stats.cells_total else NOTHING,
        context_fill=min(1.0, stats.cells_used / stats.cells_total) if ready and stats.cells_total else 0.0,
        kept=_kept(stats) if ready else NOTHING,
        drafts=_share(stats.accepted, stats.drafted) if ready and stats.drafted else "",
        model=snapshot.model.name if snapshot.model else "none loaded",
        model_detail=_model_detail(snapshot.model) if snapshot.model else "",
        template=_template(snapshot.template) if snapshot.template else "",
        template_tip=_template_tip(snapshot.template) if snapshot.template else "",
        template_warning=snapshot.template.warning if snapshot.template else "",
        kobold_address=address,
        openai_address=f"{address}/v1" if address else "",
    )


def _headline(snapshot: Snapshot, pending: Pending, notice: str) -> tuple[str, Tone]:
    if pending is Pending.STOPPING:
        return "Stopping…", Tone.BUSY
    if snapshot.state is EngineState.LOADING:
        return f"Loading… {math.floor(snapshot.progress * 100)} %", Tone.BUSY
    if pending is Pending.STARTING:
        return "Starting…", Tone.BUSY
    if snapshot.state is EngineState.READY:
        return f"Ready on {snapshot.address}" if snapshot.address else "Ready", Tone.GOOD
    if snapshot.state is EngineState.FAILED:
        return "Failed", Tone.BAD
    if notice:
        return "Not started", Tone.BAD
    return "No model loaded" if snapshot.address else "Stopped", Tone.QUIET


def _problem(snapshot: Snapshot, notice: str) -> str:
    sentence = notice
    if not sentence and snapshot.state is EngineState.FAILED:
        sentence = snapshot.sentence or "The engine ended without saying why."
    return _shortened(sentence)


def _shortened(sentence: str) -> str:
    if len(sentence) > LONGEST_PROBLEM:
        return f"{sentence[:LONGEST_PROBLEM].rstrip()}… (the rest is in the log)"
    return sentence


def _speed(speed: float) -> str:
    return f"{speed:.1f}" if speed < 1000 else f"{speed:,.0f}"


def _speed_unit(threads: int, most: int) -> str:
    return f"tokens/s · {threads} of {most} threads" if 0 < threads < most else "tokens/s"


def _replies(stats: EngineStats, replies: int) -> str:
    return f"{stats.running} running · {stats.waiting} waiting · {_sent(replies)}"


def _sent(replies: int) -> str:
    return f"{replies:,} sent"


def _trimming(requests: tuple[RequestRow, ...]) -> str:
    """What the prompts of the running replies lost, together."""
    cuts = [request.trimmed for request in requests if request.trimmed]
    if not cuts:
        return ""
    messages = sum(cut.messages for cut in cuts)
    words = _counted(sum(cut.tokens for cut in cuts), "token")
    return f"{words} ({_counted(messages, 'message')})" if messages else words


def _trimmed(snapshot: Snapshot) -> str:
    return f"{snapshot.trimmed:,} of {snapshot.replies:,} replies" if snapshot.trimmed else ""


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _share(part: int, tokens: int) -> str:
    return f"{math.floor(100 * part / tokens)} % of {tokens:,} tokens" if tokens else NOTHING


def _kept(stats: EngineStats) -> str:
    tokens = f"{stats.cells_cached:,} tokens"
    return f"{tokens} · {size_words(stats.ram_used)} in RAM" if stats.ram_used else tokens


def _model_detail(model: ModelInfo) -> str:
    parts = [
        model.architecture,
        f"{count_words(model.parameters)} parameters" if model.parameters else "",
        model.quantisation,
        f"on {', '.join(model.devices)}" if model.devices else "",
    ]
    if model.cpu_variant:
        parts[-1] = f"{parts[-1]} ({model.cpu_variant})".strip()
    return " · ".join(filter(None, parts))


def _template(template: TemplateInfo) -> str:
    name = template.name
    if len(name) > LONGEST_TEMPLATE:
        name = f"{name[: LONGEST_TEMPLATE - 1].rstrip()}…"
    return f"{name} · {template.source}"


def _template_tip(template: TemplateInfo) -> str:
    return _shortened(f"{template.name}: {template.reason}")


def size_words(size: int) -> str:
    """Bytes as people say them: 98 MB, 4.9 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(size / 1e6, 0.1):.{0 if size >= 1e7 else 1}f} MB"


def count_words(count: int) -> str:
    """Parameters as people say them: 135 M, 8.0 B."""
    return f"{count / 1e9:.1f} B" if count >= 1e9 else f"{count / 1e6:.0f} M"

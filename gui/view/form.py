"""The form: settings to fields and back, and how the fields look."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gui.language import N_, tr, trn
from gui.view import advanced
from gui.view.access import Access, AccessView, access_of, access_view, check, host_for
from gui.view.forecast import MemoryView, memory_view
from gui.view.looks import RUNNING, ButtonRole, ButtonView, Pending, Tone
from gui.view.words import plain_number, size_words
from server.errors import SettingsError
from server.settings import Settings, from_mapping, rule_of
from server.snapshot import Forecast, ModelFile, Network, Preview, Snapshot

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
    ``reservevram``, in GB. ``host`` is shown as ``access``. ``options`` are those that are folded away."""

    model: str = ""
    gpulayers: int = AUTO_LAYERS
    contextsize: str = ""
    template: str = ""
    thinking: str = ""
    access: str = Access.THIS_PC.value
    host: str = ""
    port: str = ""
    password: str = ""
    allowclients: str = ""
    gamemode: bool = False
    reservevram: float = 0.0
    multiuser: str = ""
    options: advanced.Typed = ()


FIELD_NAMES: Final = {"contextsize": N_("Context size"), "port": N_("Port"), "allowclients": N_("Addresses")}
AT_ONCE: Final = (
    ("1", N_("Automatic (16, and 32 may wait)")),
    ("0", N_("One, and nobody waits")),
    ("2", N_("2, and nobody waits")),
    ("4", N_("4, and nobody waits")),
    ("8", N_("8, and nobody waits")),
    ("16", N_("16, and nobody waits")),
)
THINKING: Final = (("show", N_("Sent apart (reasoning_content)")), ("hide", N_("Dropped")), ("off", N_("Off")))


def form_of(settings: Settings, starter_model: str) -> Form:
    """The form for ``settings``; the starter model stands in where they name none."""
    return Form(
        model=settings.model or starter_model,
        gpulayers=settings.gpulayers,
        contextsize=str(settings.contextsize),
        template=settings.chatcompletionsadapter,
        thinking=settings.thinking,
        access=access_of(settings).value,
        host=settings.host,
        port=str(settings.port),
        password=settings.password,
        allowclients=settings.allowclients,
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
    access = Access(form.access)
    if form.allowclients.strip():
        _check_field("allowclients", form.allowclients)
    check(access, form.password, form.allowclients)
    options = advanced.values_of(form.options)
    others = {
        "model": model_path(form.model),
        "gpulayers": form.gpulayers,
        "host": host_for(access, form.host),
        "allowclients": form.allowclients.strip(),
        "chatcompletionsadapter": form.template,
        "thinking": form.thinking,
        "password": form.password,
        "gamemode": form.gamemode,
        "reservevram": form.reservevram,
        "multiuser": form.multiuser or base.multiuser,
    }
    return from_mapping({**typed, **others, **options}, base)


def _check_field(name: str, value: str) -> None:
    label = tr(FIELD_NAMES[name])
    if not value:
        raise SettingsError(tr("{field}: the field is empty.").format(field=label))
    try:
        from_mapping({name: value})
    except SettingsError as error:
        raise SettingsError(f"{label}: {error.message.removeprefix(f'{name}: ')}", error.hint) from error


def model_path(typed: str) -> str:
    """The path a person meant: without the quotes that "Copy as path" adds, with ``~`` spelled out."""
    path = typed.strip().strip('"').strip()
    try:
        return os.path.expanduser(path)
    except ValueError:  # no user has such a name
        return path


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
    access: AccessView
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
    form: Form,
    inspection: Inspection,
    snapshot: Snapshot,
    pending: Pending,
    *,
    changed: bool = False,
    networks: Sequence[Network] = (),
) -> FormView:
    """How the form looks now. It was ``changed`` if a running server does not do what it says. ``networks`` are those
    of this PC."""
    file = inspection.file
    layers = file.layers if file else 0
    stops = context_stops(file.trained_context if file else 0)
    tokens = _tokens(form.contextsize)
    hint, tone = _context_hint(tokens, file)
    running = snapshot.state in RUNNING
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
        access=access_view(Access(form.access), form.password, form.allowclients, form.port, networks),
        start=_start_button(form, running, pending),
        can_stop_server=bool(snapshot.address) and not running and pending is Pending.NONE,
        can_restart=running and changed and pending is Pending.NONE and bool(form.model.strip()),
        memory=memory_view(inspection.forecast),
        reserve_position=min(round(form.reservevram * RESERVE_STEPS), LARGEST_RESERVE),
        reserve_text=tr("{size:g} GB").format(size=form.reservevram),
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
    return tr("More options ({count} changed)").format(count=changed) if changed else tr("More options")


def _model_line(form: Form, inspection: Inspection) -> str:
    if not form.model.strip():
        return tr("Choose a GGUF model file to start.")
    if inspection.problem:
        return inspection.problem
    if inspection.file is None:
        return tr("Reading the file…")
    file = inspection.file
    layers, trained = file.layers, file.trained_context
    parts = [
        file.architecture,
        file.quantisation,
        size_words(file.size) if file.size else "",
        trn("{count} layer", "{count} layers", layers).format(count=layers) if layers else "",
        trn("trained for {count:,} token", "trained for {count:,} tokens", trained).format(count=trained)
        if trained
        else "",
        "" if file.chat_template else tr("no instruct template inside"),
    ]
    return " · ".join(filter(None, parts))


def _layers_text(gpulayers: int, layers: int, forecast: Forecast | None) -> str:
    if gpulayers == AUTO_LAYERS:
        if not forecast:
            return tr("Auto")
        if len(forecast.pools) == 1:
            return tr("Auto: no GPU")
        return tr("Auto: {layers}").format(layers=_layers_text(forecast.gpu_layers, layers, None))
    if gpulayers == 0:
        return tr("CPU only")
    if not layers:
        return str(gpulayers)
    text = tr("All {layers}") if gpulayers >= layers else tr("{count} of {layers}")
    return text.format(count=gpulayers, layers=layers)


def _context_hint(tokens: int | None, file: ModelFile | None) -> tuple[str, Tone]:
    if tokens is None:
        return tr("The context size must be a whole number."), Tone.BAD
    if file and 0 < file.trained_context < tokens:
        more = trn(
            "More than the {count:,} token this model was trained for.",
            "More than the {count:,} tokens this model was trained for.",
            file.trained_context,
        )
        return more.format(count=file.trained_context), Tone.BUSY
    return tr("Tokens, shared by all requests that run at the same time."), Tone.QUIET


def _start_button(form: Form, running: bool, pending: Pending) -> ButtonView:
    if pending is Pending.STARTING:
        return ButtonView(tr("Starting…"), ButtonRole.BUSY, enabled=False)
    if pending is Pending.STOPPING:
        return ButtonView(tr("Stopping…"), ButtonRole.BUSY, enabled=False)
    if running:
        return ButtonView(tr("Stop"), ButtonRole.STOP, enabled=True)
    ready = bool(form.model.strip())
    return ButtonView(tr("Start"), ButtonRole.START if ready else ButtonRole.BUSY, enabled=ready)


def _tokens(typed: str) -> int | None:
    try:
        return int(plain_number(typed))
    except ValueError:
        return None


def help_of(setting: str) -> str:
    """A setting's own sentence, for a tooltip."""
    return next(tr(rule_of(field).help) for field in dataclasses.fields(Settings) if field.name == setting)


def template_label(setting: str) -> str:
    """How the template menu shows a preset's name, a file, or the text of a template."""
    if setting.lower() in ("", "autoguess"):
        return tr("From the model file (AutoGuess)")
    return tr("Your own text") if setting.lstrip().startswith("{") else os.path.basename(setting)

"""What the window remembers from one start to the next: its look, its address, and the settings of each model."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import platformdirs

from gui.view.form import Form, form_of
from server import json_text
from server.access import is_loopback
from server.errors import SettingsError
from server.settings import Settings, from_mapping
from server.whole_file import whole_file

OF_ALL: Final = (
    "host", "port", "password", "gamemode", "reservevram", "multiuser", "lowpriority", "allowclients", "allowhosts",
    "alloworigins", "loadonrequest",
    "admin", "adminpassword", "admindir", "statedir", "savedatafile", "preloadstory", "autorestart",
    "hangtimeout", "logprompts", "quiet",
)  # fmt: skip
OF_A_MODEL: Final = tuple(
    field.name for field in dataclasses.fields(Settings) if field.name != "model" and field.name not in OF_ALL
)
MODELS_KEPT: Final = 100
logger = logging.getLogger("tavernkeep.window")


@dataclass(frozen=True)
class Look:
    """``appearance`` is "dark", "light" or "" (as the desktop), ``scale`` 1.0 at 96 dpi, 0 as the display says."""

    appearance: str = ""
    scale: float = 0.0


class OnClose(enum.Enum):
    """What the window's close button does while a model is served."""

    ASK = "ask"
    KEEP = "keep"
    QUIT = "quit"


@dataclass(frozen=True)
class Habits:
    """How the window comes and goes: it may open ``minimised``, ``serve`` the last model at once."""

    minimised: bool = False
    serve: bool = False
    on_close: OnClose = OnClose.ASK


class Memory:
    """Reads its file once and writes it whole, so that it is never half written. Without a file it lasts as long as
    the window. A file that cannot be understood is put aside, never overwritten; ``put_aside`` names what became of it,
    "" if there was none. Safe from any thread."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._writing = threading.Lock()
        self._kept, self.put_aside = _read(file) if file else ({}, "")

    @property
    def look(self) -> Look:
        """The look that the user chose."""
        appearance, scale = self._kept.get("appearance"), self._kept.get("scale")
        return Look(
            appearance if appearance in ("dark", "light") else "",
            float(scale) if isinstance(scale, (int, float)) and 0.5 <= scale <= 4 else 0.0,
        )

    @property
    def habits(self) -> Habits:
        """How the window comes and goes."""
        kept = self._table("habits")
        on_close = kept.get("on_close")
        known = [each.value for each in OnClose]
        return Habits(
            kept.get("minimised") is True,
            kept.get("serve") is True,
            OnClose(on_close) if on_close in known else OnClose.ASK,
        )

    def keep_habits(self, habits: Habits) -> None:
        """Remember how the window comes and goes."""
        self._kept["habits"] = {**dataclasses.asdict(habits), "on_close": habits.on_close.value}
        self._write()

    @property
    def last_model(self) -> str:
        """The model that was started last, or "" when its file is gone."""
        path = next(reversed(self._table("models")), "")
        return path if os.path.isfile(path) else ""

    @property
    def recent_models(self) -> tuple[str, ...]:
        """The models that were used before and whose files are there, the last one first."""
        return tuple(path for path in reversed(self._table("models")) if os.path.isfile(path))

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that the user has added to the library."""
        folders = self._kept.get("folders")
        return tuple(each for each in folders if isinstance(each, str)) if isinstance(folders, list) else ()

    @property
    def download_folder(self) -> str:
        """The folder that the user chose for downloads, or ""."""
        folder = self._kept.get("download_folder")
        return folder if isinstance(folder, str) else ""

    def keep_download_folder(self, folder: str) -> None:
        """Remember the folder for downloads."""
        self._kept["download_folder"] = folder
        self._write()

    def keep_folders(self, folders: Sequence[str]) -> None:
        """Remember the library's folders."""
        self._kept["folders"] = list(folders)
        self._write()

    def recall(self, given: Settings, model: str) -> Settings:
        """``given`` with what is remembered for ``model`` where it has the default: a flag that was typed wins."""
        remembered = {**_only(OF_ALL, self._table("all")), **_only(OF_A_MODEL, self._of(model))}
        defaults = Settings()
        settings = replace(given, model=model)
        for name, value in remembered.items():
            if getattr(given, name) == getattr(defaults, name):
                try:
                    settings = from_mapping({name: value}, settings)
                except SettingsError as error:
                    logger.warning("A remembered setting is not used: %s", error)
        return settings

    def knows(self, model: str) -> bool:
        """Whether settings are remembered for a model."""
        return model in self._table("models")

    def keep_look(self, look: Look) -> None:
        """Remember the look."""
        self._kept.update(appearance=look.appearance, scale=look.scale)
        self._write()

    def keep(self, settings: Settings) -> None:
        """Remember the window's settings for their model, which is from now on the last one."""
        models = self._table("models")
        models.pop(settings.model, None)
        models[settings.model] = _chosen(OF_A_MODEL, settings)
        self._kept["models"] = dict(list(models.items())[-MODELS_KEPT:])
        self._kept["all"] = _chosen(OF_ALL, settings)
        if not is_loopback(settings.host):
            self._kept["network_host"] = settings.host
        self._write()

    def form(self, given: Settings, starter_model: str) -> Form:
        """The form that the window opens with."""
        model = given.model or self.last_model or starter_model
        return self.form_of(self.recall(given, model), starter_model)

    def form_of(self, settings: Settings, starter_model: str) -> Form:
        """The form for ``settings``. While only this PC may connect, it holds the address that was listened on when
        others might: the choice to let them in again must not open more than before."""
        form, network_host = form_of(settings, starter_model), self._kept.get("network_host")
        if form.host == Settings().host and isinstance(network_host, str):
            return replace(form, host=network_host)
        return form

    def _table(self, name: str) -> dict[str, Any]:
        table = self._kept.get(name)
        return dict(table) if isinstance(table, dict) else {}

    def _of(self, model: str) -> Mapping[str, Any]:
        values = self._table("models").get(model)
        return values if isinstance(values, dict) else {}

    def _write(self) -> None:
        if not self._file:
            return
        with self._writing:
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                with whole_file(self._file, private=True) as file:  # a password may be in it
                    file.write(json.dumps(self._kept, indent=1).encode())
            except OSError as error:
                logger.warning("The window's settings could not be kept in %s: %s.", self._file, error.strerror)


def default_file() -> Path:
    """Where the window's memory lies for this user."""
    return Path(platformdirs.user_config_dir("tavernkeep", appauthor=False)) / "window.json"


def _read(file: Path) -> tuple[dict[str, Any], str]:
    """What the file holds; and the name that it got because it was damaged, or ""."""
    try:
        kept = json_text.loads(file.read_text(encoding="utf-8"))
        if isinstance(kept, dict):
            return kept, ""
    except FileNotFoundError:
        return {}, ""
    except OSError as error:
        logger.warning("The window's settings in %s cannot be read: %s.", file, error.strerror)
        return {}, ""
    except ValueError:
        pass
    aside = file.with_name(f"{file.name}.corrupt")
    with contextlib.suppress(OSError):
        os.replace(file, aside)
    logger.warning("The window's settings in %s were damaged; they were put aside as %s.", file, aside.name)
    return {}, str(aside)


def _chosen(names: tuple[str, ...], settings: Settings) -> dict[str, Any]:
    """The settings that are not as the program comes."""
    defaults = Settings()
    return {name: getattr(settings, name) for name in names if getattr(settings, name) != getattr(defaults, name)}


def _only(names: tuple[str, ...], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}

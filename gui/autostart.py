"""Starting with the system, the way each system wants it. Used by the options page."""

from __future__ import annotations

import plistlib
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

import platformdirs

NAME: Final = "Tavernkeep"
LAUNCHER: Final = Path(__file__).resolve().parent.parent / "launcher.py"
_WINDOWS_KEY: Final = r"Software\Microsoft\Windows\CurrentVersion\Run"


def command() -> tuple[str, ...]:
    """What starts this program."""
    if not getattr(sys, "frozen", False):
        return (sys.executable, str(LAUNCHER))
    program = Path(sys.executable)  # of the two, the one that opens no console
    return (str(program.with_name(NAME + program.suffix)),)


def enabled() -> bool:
    """Whether it starts with the system."""
    if sys.platform == "win32":
        return _windows_value() is not None
    return _file().is_file()


def enable(wanted: bool) -> None:
    """Start with the system from now on, or not. Raises :class:`OSError`."""
    if sys.platform == "win32":
        _set_windows_value(subprocess.list2cmdline(command()) if wanted else None)
    elif not wanted:
        _file().unlink(missing_ok=True)
    else:
        _file().parent.mkdir(parents=True, exist_ok=True)
        _file().write_bytes(_launch_agent() if sys.platform == "darwin" else _desktop_entry())


def _file() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "LaunchAgents" / "tavernkeep.plist"
    return Path(platformdirs.user_config_dir()) / "autostart" / "tavernkeep.desktop"


def _desktop_entry() -> bytes:
    """https://specifications.freedesktop.org/autostart-spec/latest/"""
    escaped = shlex.join(command()).replace("%", "%%")
    return f"[Desktop Entry]\nType=Application\nName={NAME}\nExec={escaped}\nTerminal=false\n".encode()


def _launch_agent() -> bytes:
    return plistlib.dumps({"Label": "tavernkeep", "ProgramArguments": list(command()), "RunAtLoad": True})


def _windows_value() -> str | None:
    if sys.platform != "win32":
        return None
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_CURRENT_USER, _WINDOWS_KEY) as key:
            return str(winreg.QueryValueEx(key, NAME)[0])
    except FileNotFoundError:
        return None


def _set_windows_value(value: str | None) -> None:
    if sys.platform != "win32":
        return
    import winreg

    with winreg.CreateKey(winreg.HKEY_CURRENT_USER, _WINDOWS_KEY) as key:
        if value is not None:
            winreg.SetValueEx(key, NAME, 0, winreg.REG_SZ, value)
        elif _windows_value() is not None:
            winreg.DeleteValue(key, NAME)

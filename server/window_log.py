"""Brings log lines to the window. Used by the controller."""

from __future__ import annotations

import logging
from collections import deque

from server.events import LogLine


class WindowLog(logging.Handler):
    """Keeps the ``lines`` until the window takes them."""

    def __init__(self, lines: deque[LogLine]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(LogLine(record.levelno, record.getMessage()))

"""Stories that KoboldAI Lite keeps on the server, and the one it begins with. Routes and shapes, no logic."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Blueprint

from server import json_text
from server.api import caller
from server.errors import TavernkeepError
from server.saves import SLOTS, Saves

if TYPE_CHECKING:
    from server.controller import Controller

log = logging.getLogger("tavernkeep.http")


def blueprint(controller: Controller) -> Blueprint:
    """The routes, answering from ``controller``."""
    routes = Blueprint("saves", __name__)
    stories = Saves(lambda: controller.settings.savedatafile)

    @routes.get("/api/extra/preloadstory")
    def preloadstory() -> dict[str, Any]:
        return story_of(controller.settings.preloadstory)

    @routes.post("/api/extra/data/list")
    def titles() -> list[str]:
        try:
            return stories.titles()
        except TavernkeepError as error:
            log.warning("Saved stories: %s", error)
            return [""] * SLOTS

    @routes.post("/api/extra/data/load")
    def load() -> dict[str, Any]:
        try:
            story = stories.load(caller.slot(caller.fields(), absent=caller.NO_SLOT))
        except TavernkeepError as error:
            return {"success": False, "data": None, "error": str(error)}
        return {"success": story is not None, "data": story}

    @routes.post("/api/extra/data/save")
    def save() -> tuple[dict[str, Any], int]:
        try:
            asked = caller.fields()
            slot = caller.slot(asked, absent=caller.NO_SLOT)
            stories.save(slot, asked.text("title"), asked.text("format"), asked.text("data"))
        except TavernkeepError as error:
            return {"success": False, "error": str(error), "detail": {"msg": str(error), "type": error.code}}, 400
        return {"success": True, "error": ""}, 200

    return routes


def story_of(setting: str) -> dict[str, Any]:
    """The story that the ``preloadstory`` setting names or, from a .kcpps file, holds; empty if it cannot be read."""
    if not setting:
        return {}
    try:
        story = json_text.loads(setting if setting.lstrip().startswith("{") else Path(setting).read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        log.warning("The story of preloadstory cannot be read: %s.", error)
        return {}
    return story if isinstance(story, dict) else {}

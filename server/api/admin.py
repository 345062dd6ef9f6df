"""KoboldCpp's admin routes: change the model while the port stays open, and keep conversations on disk.

Refusals have status 200 and the bodies that KoboldCpp sends, because its clients read those and not the status.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from flask import Blueprint, request

from server import admin, privacy
from server.access import is_loopback
from server.api import caller, guard
from server.errors import Forbidden, TavernkeepError, Unauthorized
from server.events import StateAction, StateUsed
from server.settings import Settings

if TYPE_CHECKING:
    from server.controller import Controller

NOT_ADMIN, OPEN, WITH_KEY = 0, 1, 2

log = logging.getLogger("tavernkeep.http")


def blueprint(controller: Controller) -> Blueprint:
    """The routes, answering from ``controller``."""
    routes = Blueprint("admin", __name__)

    @routes.get("/api/admin/list_options")
    def list_options() -> list[str]:
        try:
            check(controller.settings)
        except TavernkeepError as error:
            log.warning("list_options: %s", privacy.sentence(error))
            return []
        return admin.options(controller.initial)

    @routes.post("/api/admin/reload_config")
    def reload_config() -> dict[str, Any]:
        asked = caller.fields()
        name, base, over = (asked.text(field) for field in ("filename", "baseconfig", "overrideconfig"))
        try:
            check(controller.settings)
            wanted = admin.settings_for(name, base, over, current=controller.settings, initial=controller.initial)
            log.info("%s asks for %s.", caller.client(), name)
            controller.swap(wanted)
        except TavernkeepError as error:
            return refused("reload_config", error, success=False)
        return {"success": True}

    @routes.post("/api/admin/check_state")
    def check_state() -> dict[str, Any]:
        try:
            looked = use(StateAction.LOOK, 0)
        except TavernkeepError as error:
            return refused("check_state", error, success=False, old_states=[], new_state_size=0, new_tokens=0)
        old = [{"tokens": state.tokens, "size": state.size} for state in looked.kept]
        return {
            "success": True,
            "old_states": old,
            "new_state_size": looked.newest.size,
            "new_tokens": looked.newest.tokens,
        }

    @routes.post("/api/admin/save_state")
    def save_state() -> dict[str, Any]:
        slot = caller.slot(caller.fields(), absent=0)
        try:
            saved = use(StateAction.SAVE, slot).newest
        except TavernkeepError as error:
            return refused("save_state", error, success=False, new_state_size=0, new_tokens=0)
        return {"success": True, "new_state_size": saved.size, "new_tokens": saved.tokens}

    @routes.post("/api/admin/load_state")
    def load_state() -> dict[str, Any]:
        slot = caller.slot(caller.fields(), absent=0)
        try:
            loaded = use(StateAction.LOAD, slot).newest
        except TavernkeepError as error:
            return refused("load_state", error, success=False, new_tokens=0)
        return {"success": True, "new_tokens": loaded.tokens}

    @routes.post("/api/admin/clear_state")
    def clear_state() -> dict[str, Any]:
        slot = caller.slot(caller.fields(), absent=0)
        try:
            use(StateAction.CLEAR, slot)
        except TavernkeepError as error:
            return refused("clear_state", error, success=False)
        return {"success": True}

    def use(action: StateAction, slot: int) -> StateUsed:
        check(controller.settings)
        used = controller.use_state(action, slot)
        if used.problem:
            raise TavernkeepError(used.problem)
        return used

    return routes


def level(settings: Settings) -> int:
    """What KoboldCpp calls ``admin`` in its version: whether the caller can use these routes, and with a key or not."""
    if not settings.admin:
        return NOT_ADMIN
    if settings.adminpassword:
        return WITH_KEY
    return OPEN if is_loopback(request.remote_addr or "") and _from_this_pc() else NOT_ADMIN


def _from_this_pc() -> bool:
    """Whether no web page from elsewhere asks, not even one that may use the server."""
    origin = request.headers.get("Origin")
    return origin is None or guard.origin_allowed(origin, request.headers.get("Host", ""))


def check(settings: Settings) -> None:
    """Refuse whoever may not use these routes. The other password opens nothing here, and is not asked for."""
    if not settings.admin:
        raise Forbidden("The admin routes are switched off.", "Start Tavernkeep with --admin.")
    if settings.adminpassword and not guard.has_key(request, settings.adminpassword):
        raise Unauthorized("The admin key is missing or wrong.", "Send it as 'Authorization: Bearer KEY'.")
    if level(settings) == NOT_ADMIN:
        raise Forbidden(
            "Other PCs and web pages need a key for the admin routes.", "Start Tavernkeep with --adminpassword KEY."
        )


def refused(route: str, error: TavernkeepError, **body: Any) -> dict[str, Any]:
    """KoboldCpp's answer to what it does not do, and the sentence why."""
    log.warning("%s: %s", route, privacy.sentence(error))
    return {**body, "error": str(error)}

"""What KoboldCpp has and this server has not: pictures, speech, web search, multiplayer.

Lists are empty and searches find nothing, which clients understand; whatever should make something says that it cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from flask import Blueprint

from server.errors import NotAvailable

if TYPE_CHECKING:
    from server.controller import Controller

EMPTY_LISTS = (
    "/sdapi/v1/sd-models",
    "/sdapi/v1/samplers",
    "/sdapi/v1/schedulers",
    "/sdapi/v1/upscalers",
    "/sdapi/v1/latent-upscale-modes",
    "/sdapi/v1/loras",
    "/api/extra/speakers_list",
    "/speakers_list",
    "/speakers",
)
PICTURES, SPEECH, HEARING, TOGETHER = "make or read pictures", "speak", "listen", "host stories for several players"
MAKERS = {
    "/sdapi/v1/txt2img": PICTURES,
    "/sdapi/v1/img2img": PICTURES,
    "/sdapi/v1/interrogate": PICTURES,
    "/sdapi/v1/upscale": PICTURES,
    "/v1/images/generations": PICTURES,
    "/images/generations": PICTURES,
    "/api/extra/tts": SPEECH,
    "/v1/audio/speech": SPEECH,
    "/audio/speech": SPEECH,
    "/tts_to_audio": SPEECH,
    "/api/extra/transcribe": HEARING,
    "/v1/audio/transcriptions": HEARING,
    "/audio/transcriptions": HEARING,
    "/api/extra/multiplayer/status": TOGETHER,
    "/api/extra/multiplayer/getstory": TOGETHER,
    "/api/extra/multiplayer/setstory": TOGETHER,
}


def not_available(what: str) -> NotAvailable:
    """What a route answers that should make something."""
    return NotAvailable(f"This server does not {what}.", "Use another program for that; many run beside this one.")


def blueprint(_: Controller) -> Blueprint:
    """The routes; they answer without the controller."""
    routes = Blueprint("absent", __name__)

    def nothing() -> list[Any]:
        return []

    for path in EMPTY_LISTS:
        routes.add_url_rule(path, f"nothing {path}", nothing)
    routes.add_url_rule("/api/extra/websearch", "websearch", nothing, methods=["POST"])

    @routes.get("/sdapi/v1/options")
    def options() -> dict[str, str]:
        return {"sd_model_checkpoint": "inactive"}

    def refuse(what: str) -> NoReturn:
        raise not_available(what)

    for path, what in MAKERS.items():
        routes.add_url_rule(path, f"make {path}", refuse, methods=["POST"], defaults={"what": what})
    return routes

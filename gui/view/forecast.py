"""How much memory the chosen model will take, as a bar and in words."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from gui.view.looks import Tone
from gui.view.words import size_words
from server.snapshot import Fit, Forecast, MemoryPool


class Part(enum.Enum):
    """What fills a memory, in the bar's order; the value is how people call it."""

    OTHERS = "in use"
    WEIGHTS = "weights"
    KV = "KV cache"
    BUFFERS = "buffers"
    RESERVE = "reserve"
    FREE = "free"


@dataclass(frozen=True)
class MemoryView:
    """The bar's ``parts`` as shares of the whole, and a line of text beneath."""

    parts: tuple[tuple[Part, float], ...] = ()
    text: str = ""
    tone: Tone = Tone.QUIET


FIT_WORDS: Final = {
    Fit.GPU: ("fits the GPU", Tone.GOOD),
    Fit.SPLIT: ("partly on the GPU", Tone.BUSY),
    Fit.RAM: ("fits RAM", Tone.GOOD),
    Fit.TOO_LARGE: ("too large", Tone.BAD),
}


def memory_view(forecast: Forecast | None) -> MemoryView:
    """The bar of the memory that matters most: the GPU's, else the RAM."""
    if forecast is None:
        return MemoryView()
    pool = forecast.pools[0]
    lacking = next((each for each in reversed(forecast.pools) if each.left + each.reserve < 0), None)
    if forecast.fit is Fit.TOO_LARGE and lacking:
        missing = size_words(-(lacking.left + lacking.reserve))
        text = f"{_name(lacking)}: {missing} too little. Choose a smaller model, context or KV cache precision"
        text += "." if len(forecast.pools) == 1 or lacking is forecast.pools[-1] else ", or fewer GPU layers."
        return MemoryView(_parts(pool), text, Tone.BAD)
    text = f"{_name(pool)}: {_share(pool)} of {size_words(pool.free)} free"
    if len(forecast.pools) > 1:
        text += f" · RAM: {size_words(forecast.pools[-1].share.all)}"
    if pool.left < 0:
        return MemoryView(
            _parts(pool), f"{text}. Takes {size_words(-pool.left)} of what is left for the game.", Tone.BUSY
        )
    return MemoryView(_parts(pool), text)


def fit_words(forecast: Forecast | None) -> tuple[str, Tone]:
    """Whether a model fits, in a few words."""
    return FIT_WORDS[forecast.fit] if forecast else ("", Tone.QUIET)


def _name(pool: MemoryPool) -> str:
    return pool.name or "RAM"


def _share(pool: MemoryPool) -> str:
    share = pool.share
    if not share.all:
        return "nothing"
    parts = f"weights {size_words(share.weights)}, KV {size_words(share.kv)}, buffers {size_words(share.buffers)}"
    return f"{size_words(share.all)} ({parts})"


def _parts(pool: MemoryPool) -> tuple[tuple[Part, float], ...]:
    share = pool.share
    total = max(pool.total, pool.total - pool.free + share.all, 1)
    reserve = max(min(pool.reserve, pool.free - share.all), 0)
    sizes = {
        Part.OTHERS: pool.total - pool.free,
        Part.WEIGHTS: share.weights,
        Part.KV: share.kv,
        Part.BUFFERS: share.buffers,
        Part.RESERVE: reserve,
        Part.FREE: max(pool.free - share.all - reserve, 0),
    }
    return tuple((part, max(size, 0) / total) for part, size in sizes.items())

"""How much memory the chosen model will take, as a bar and in words."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from gui.language import N_, tr
from gui.view.looks import Tone
from gui.view.words import size_words
from server.snapshot import Fit, Forecast, MemoryPool


class Part(enum.Enum):
    """What fills a memory, in the bar's order; the value is how people call it in English."""

    OTHERS = N_("in use")
    WEIGHTS = N_("weights")
    KV = N_("KV cache")
    BUFFERS = N_("buffers")
    RESERVE = N_("reserve")
    FREE = N_("free")


@dataclass(frozen=True)
class MemoryView:
    """The bar's ``parts`` as shares of the whole, and a line of text beneath."""

    parts: tuple[tuple[Part, float], ...] = ()
    text: str = ""
    tone: Tone = Tone.QUIET


FIT_WORDS: Final = {
    Fit.GPU: (N_("fits the GPU"), Tone.GOOD),
    Fit.SPLIT: (N_("partly on the GPU"), Tone.BUSY),
    Fit.RAM: (N_("fits RAM"), Tone.GOOD),
    Fit.TOO_LARGE: (N_("too large"), Tone.BAD),
}


def memory_view(forecast: Forecast | None) -> MemoryView:
    """The bar of the memory that matters most: the GPU's, else the RAM."""
    if forecast is None:
        return MemoryView()
    pool = forecast.pools[0]
    lacking = next((each for each in reversed(forecast.pools) if each.left + each.reserve < 0), None)
    if forecast.fit is Fit.TOO_LARGE and lacking:
        missing = size_words(-(lacking.left + lacking.reserve))
        if lacking is forecast.pools[-1]:
            advice = tr("{memory}: {size} too little. Choose a smaller model, context or KV cache precision.")
        else:
            advice = tr(
                "{memory}: {size} too little. Choose a smaller model, context or KV cache precision, or fewer GPU"
                " layers."
            )
        return MemoryView(_parts(pool), advice.format(memory=_name(lacking), size=missing), Tone.BAD)
    text = _taken(pool)
    if len(forecast.pools) > 1:
        text += " · " + tr("RAM: {size}").format(size=size_words(forecast.pools[-1].share.all))
    if pool.left < 0:
        warning = tr("{text}. Takes {size} of what is left for the game.")
        return MemoryView(_parts(pool), warning.format(text=text, size=size_words(-pool.left)), Tone.BUSY)
    return MemoryView(_parts(pool), text)


def fit_words(forecast: Forecast | None) -> tuple[str, Tone]:
    """Whether a model fits, in a few words."""
    if forecast is None:
        return "", Tone.QUIET
    words, tone = FIT_WORDS[forecast.fit]
    return tr(words), tone


def _name(pool: MemoryPool) -> str:
    return pool.name or tr("RAM")


def _taken(pool: MemoryPool) -> str:
    share = pool.share
    if not share.all:
        return tr("{memory}: nothing of {free} free").format(memory=_name(pool), free=size_words(pool.free))
    return tr("{memory}: {size} (weights {weights}, KV {kv}, buffers {buffers}) of {free} free").format(
        memory=_name(pool),
        size=size_words(share.all),
        weights=size_words(share.weights),
        kv=size_words(share.kv),
        buffers=size_words(share.buffers),
        free=size_words(pool.free),
    )


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

"""Numbers as people say and type them."""

from __future__ import annotations

from gui.language import tr


def plain_number(typed: str) -> str:
    """``8,192`` or ``8k`` as ``8192``; anything else is left for the settings to refuse."""
    text = typed.strip().lower().replace(",", "").replace(" ", "")
    thousands = text.removesuffix("k")
    if thousands != text and thousands.isascii() and thousands.isdigit():
        return str(int(thousands) * 1024)
    return text


def size_words(size: int) -> str:
    """Bytes as people say them: 98 MB, 4.9 GB."""
    if size >= 1e9:
        return tr("{size:.1f} GB").format(size=size / 1e9)
    return (tr("{size:.0f} MB") if size >= 1e7 else tr("{size:.1f} MB")).format(size=max(size / 1e6, 0.1))


def count_words(count: int) -> str:
    """Parameters as people say them: 135 M, 8.0 B."""
    if count >= 1e9:
        return tr("{count:.1f} B").format(count=count / 1e9)
    return tr("{count:.0f} M").format(count=count / 1e6)

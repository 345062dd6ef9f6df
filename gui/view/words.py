"""Numbers as people say and type them."""

from __future__ import annotations


def plain_number(typed: str) -> str:
    """``8,192`` or ``8k`` as ``8192``; anything else is left for the settings to refuse."""
    text = typed.strip().lower().replace(",", "").replace(" ", "")
    thousands = text.removesuffix("k")
    if thousands != text and thousands.isascii() and thousands.isdigit():
        return str(int(thousands) * 1024)
    return text


def counted(count: int, what: str, many: str = "") -> str:
    """``1 token``, ``1,234 tokens``; ``many`` where the plural is not made with an s."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {many or what + 's'}"


def size_words(size: int) -> str:
    """Bytes as people say them: 98 MB, 4.9 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(size / 1e6, 0.1):.{0 if size >= 1e7 else 1}f} MB"


def count_words(count: int) -> str:
    """Parameters as people say them: 135 M, 8.0 B."""
    return f"{count / 1e9:.1f} B" if count >= 1e9 else f"{count / 1e6:.0f} M"

"""The colours: every text can be read on what lies behind it, in light and in dark."""

import pytest

from gui import theme
from gui.view.looks import ButtonRole

READABLE = 4.5  # WCAG AA for normal text
SWITCHED_OFF = 3.0

TEXTS = {
    "text": (theme.TEXT, theme.CARD),
    "secondary text": (theme.DIM, theme.CARD),
    "page title": (theme.TEXT, theme.PAGE),
    "field": (theme.TEXT, theme.FIELD),
    "problem": (theme.TEXT, theme.PROBLEM_FILL),
    **{f"{tone.value} state": (colour, theme.CARD) for tone, colour in theme.TONES.items()},
    **{f"{role.value} button": (style.text, style.fill) for role, style in theme.BUTTONS.items()},
    **{f"{role.value} button under the mouse": (style.text, style.hover) for role, style in theme.BUTTONS.items()},
}


def luminance(colour):
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("appearance", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("name", TEXTS)
def test_text_can_be_read(name, appearance):
    text, ground = TEXTS[name]
    assert contrast(text[appearance], ground[appearance]) >= READABLE


@pytest.mark.parametrize("appearance", [0, 1], ids=["light", "dark"])
def test_locked_fields_can_still_be_made_out(appearance):
    assert contrast(theme.LOCKED[appearance], theme.FIELD_LOCKED[appearance]) >= SWITCHED_OFF


def test_every_button_role_has_a_style():
    assert set(theme.BUTTONS) == set(ButtonRole)

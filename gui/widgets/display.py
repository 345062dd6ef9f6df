"""What a user looks at: cards, labels, bars, tips.

Every setter here draws only when something changed, so that the pages may call them ten times a second.
"""

from __future__ import annotations

import tkinter
from typing import Any, Final

import customtkinter as ctk

from gui import theme
from gui.theme import GAP

_TIP_MS: Final = 500
_TIP_WIDTH: Final = 280


class Card(ctk.CTkFrame):
    """A raised surface with a thin border."""

    def __init__(self, parent: tkinter.Misc) -> None:
        super().__init__(
            parent,
            fg_color=theme.CARD,
            border_color=theme.BORDER,
            border_width=1,
            corner_radius=theme.CARD_RADIUS,
        )


class Row(ctk.CTkFrame):
    """An invisible box that holds widgets side by side."""

    def __init__(self, parent: tkinter.Misc) -> None:
        super().__init__(parent, fg_color="transparent", corner_radius=0)


class Scroll(ctk.CTkScrollableFrame):
    """A part of a page that is scrolled when it is higher than its place; widgets go into ``body``.

    What the keyboard reaches is brought in sight.
    """

    def __init__(self, parent: tkinter.Misc) -> None:
        super().__init__(
            parent,
            fg_color="transparent",
            corner_radius=0,
            width=0,
            height=0,
            scrollbar_button_color=theme.TRACK,
            scrollbar_button_hover_color=theme.LOCKED,
        )
        self._scrollbar.configure(height=0, width=12)  # it would ask for 200 px
        self.body: Any = self
        self.winfo_toplevel().bind("<FocusIn>", self._bring_in_sight, add=True)

    def _bring_in_sight(self, event: tkinter.Event[tkinter.Misc]) -> None:
        widget = event.widget
        if not isinstance(widget, tkinter.Misc) or not str(widget).startswith(f"{self}."):
            return
        top = widget.winfo_rooty() - self.winfo_rooty()
        canvas, whole = self._parent_canvas, max(self.winfo_height(), 1)
        first, last = canvas.yview()
        if top < first * whole:
            canvas.yview_moveto(top / whole)
        elif top + widget.winfo_height() > last * whole:
            canvas.yview_moveto((top + widget.winfo_height()) / whole - (last - first))


class Label(ctk.CTkLabel):
    """A text. ``wraps`` breaks it to the width it is given, and it asks for none of its own (it must then be gridded
    with ``sticky="ew"`` into a column that has its width from elsewhere)."""

    def __init__(
        self,
        parent: tkinter.Misc,
        text: str = "",
        *,
        font: theme.Font = theme.BODY,
        colour: theme.Colour = theme.TEXT,
        anchor: str = "w",
        wraps: bool = False,
        height: int = 20,
    ) -> None:
        self._wraps = wraps
        super().__init__(
            parent,
            text=text,
            font=font,
            text_color=colour,
            anchor=anchor,
            height=height,
            justify="right" if anchor == "e" else "left",
            wraplength=240 if wraps else 0,
        )
        if wraps:
            self.bind("<Configure>", self._wrap)

    def show(self, text: str, colour: theme.Colour | None = None) -> None:
        """Show ``text``, in ``colour`` if one is named."""
        if text != self.cget("text"):
            self.configure(text=text)
        if colour is not None and colour != self.cget("text_color"):
            self.configure(text_color=colour)

    def _create_grid(self) -> None:
        super()._create_grid()
        if self._wraps:
            # One character. If it asked for what its lines need, two columns could give and take a pixel for ever.
            self._label.configure(width=1)
            self._label.grid(sticky="ew")

    def _wrap(self, _: tkinter.Event[tkinter.Misc]) -> None:
        width = int(self._reverse_widget_scaling(self.winfo_width()))
        if width > 1 and width != self.cget("wraplength"):
            self.configure(wraplength=width)


class Tip:
    """A sentence that appears beneath a widget while the mouse rests on it or the keyboard reaches it.

    It lies on the page, not in a window of its own, which the toolkit could not move to another display.
    """

    def __init__(self, widget: ctk.CTkBaseClass, text: str = "") -> None:
        self._widget = widget
        self._page = widget.winfo_toplevel()
        self._timer = ""
        self.card = Card(self._page)
        self.card.configure(corner_radius=0, fg_color=theme.FIELD)
        self.label = Label(self.card, text, font=theme.SMALL)
        self.label.configure(wraplength=_TIP_WIDTH)
        self.label.grid(padx=GAP, pady=4)
        for sequence in ("<Enter>", "<FocusIn>"):
            widget.bind(sequence, self._wait)
        for sequence in ("<Leave>", "<FocusOut>", "<ButtonPress>"):
            widget.bind(sequence, self._hide)

    def show(self, text: str) -> None:
        """Change what it says; "" is nothing to say."""
        self.label.show(text)
        if not text:
            self._hide()

    def _wait(self, _: tkinter.Event[tkinter.Misc]) -> None:
        self._cancel()
        if self.label.cget("text"):
            self._timer = self._widget.after(_TIP_MS, self._appear)

    def _appear(self) -> None:
        self._timer = ""
        x = self._widget.winfo_rootx() - self._page.winfo_rootx()
        y = self._widget.winfo_rooty() - self._page.winfo_rooty() + self._widget.winfo_height()
        x = min(x, self._page.winfo_width() - self.card.winfo_reqwidth())
        self.card.place(x=self.card._reverse_widget_scaling(x), y=self.card._reverse_widget_scaling(y))
        self.card.lift()

    def _hide(self, _: tkinter.Event[tkinter.Misc] | None = None) -> None:
        self._cancel()
        self.card.place_forget()

    def _cancel(self) -> None:
        if self._timer:
            self._widget.after_cancel(self._timer)
            self._timer = ""


class LongText(ctk.CTkTextbox):
    """A text of many lines, in the log's font.

    The toolkit looks with every change whether it needs scroll bars, and again now and then; the five times a second
    that it comes with, in sight or not, are a tenth of what the whole window costs.
    """

    _scrollbar_update_time = 5000

    def __init__(self, parent: tkinter.Misc, *, colour: theme.Colour = theme.TEXT, **look: Any) -> None:
        super().__init__(parent, font=theme.LOG, text_color=colour, **look)


class Bar(ctk.CTkProgressBar):
    """A thin bar filled from 0 to 1."""

    def __init__(self, parent: tkinter.Misc) -> None:
        super().__init__(parent, height=8, fg_color=theme.TRACK, progress_color=theme.TRACK, width=80)
        self.set(0.0)

    def show(self, fraction: float) -> None:
        """Fill the bar; changes too small to see are not drawn."""
        shown = self.get()
        if (abs(fraction - shown) < 0.005 and fraction not in (0.0, 1.0)) or fraction == shown:
            return
        if (fraction > 0) != (shown > 0):  # an empty bar would still draw its round end
            self.configure(progress_color=theme.ACCENT if fraction > 0 else theme.TRACK)
        self.set(fraction)


def show_if(widget: Any, visible: bool) -> None:
    """Take a gridded widget out of its grid, or put it back where it was."""
    if visible != bool(widget.winfo_manager()):
        widget.grid() if visible else widget.grid_remove()

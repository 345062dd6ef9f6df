"""What a user operates: buttons, fields, sliders, menus, with the bugs of customtkinter 6.0.0 fixed.

Every setter here draws only when something changed, so that the pages may call them ten times a second.
"""

from __future__ import annotations

import tkinter
from collections.abc import Callable, Sequence
from typing import Any, Final

import customtkinter as ctk

from gui import theme
from gui.language import tr
from gui.view.looks import ButtonRole, ButtonView

_WHEEL: Final = ("<Button-4>", "<Button-5>", "<MouseWheel>")
_MENU_ROWS: Final = 16
_COPIED_MS: Final = 1500


class Button(ctk.CTkButton):
    """A button that the keyboard can reach and press, with a ring that shows where it is."""

    def __init__(
        self,
        parent: tkinter.Misc,
        text: str,
        command: Callable[[], None],
        *,
        width: int = theme.VALUE_WIDTH,
        height: int = theme.FIELD_HEIGHT,
        font: theme.Font = theme.BODY,
        role: ButtonRole = ButtonRole.PLAIN,
    ) -> None:
        self._role = role
        super().__init__(
            parent,
            text=text,
            command=command,
            width=width,
            height=height,
            font=font,
            corner_radius=theme.RADIUS,
            border_width=1,
            **self._colours(role),
        )
        self._canvas.configure(takefocus=1)
        self.bind("<space>", self._press)
        self.bind("<Return>", self._press)
        self._canvas.bind("<FocusIn>", lambda _: self.configure(border_width=2, border_color=theme.FOCUS))
        self._canvas.bind("<FocusOut>", lambda _: self.configure(border_width=1, border_color=self._style().border))

    def show(self, view: ButtonView) -> None:
        """Take over text, style and state."""
        if view.role is not self._role:
            self._role = view.role
            self.configure(**self._colours(view.role))
        if view.text != self.cget("text"):
            self.configure(text=view.text)
        self.enable(view.enabled)

    def enable(self, enabled: bool) -> None:
        """Switch the button on or off; when off the keyboard skips it."""
        if enabled != (self.cget("state") == "normal"):
            self.configure(state="normal" if enabled else "disabled")
            self._canvas.configure(takefocus=int(enabled))

    def focus_set(self) -> None:
        """Take the keyboard (the toolkit would give it to the label inside, which has no ring)."""
        self._canvas.focus_set()

    def _press(self, _: tkinter.Event[tkinter.Misc]) -> str:
        self.invoke()
        return "break"

    def _style(self) -> theme.ButtonStyle:
        return theme.BUTTONS[self._role]

    @staticmethod
    def _colours(role: ButtonRole) -> dict[str, theme.Colour]:
        style = theme.BUTTONS[role]
        return {
            "fg_color": style.fill,
            "hover_color": style.hover,
            "text_color": style.text,
            "text_color_disabled": theme.LOCKED,
            "border_color": style.border,
        }


class CopyButton(Button):
    """A button that puts a text on the clipboard, and says for a moment that it did."""

    def __init__(self, parent: tkinter.Misc, name: str, text: Callable[[], str], **look: Any) -> None:
        self._name = name
        self._copied = text
        super().__init__(parent, name, self._copy, **look)

    def _copy(self) -> None:
        self.clipboard_clear()
        self.clipboard_append(self._copied())
        self.configure(text=tr("Copied"))
        self.after(_COPIED_MS, lambda: self.configure(text=self._name))


class Entry(ctk.CTkEntry):
    """A text field that looks locked when it is. It has no textvariable: they break its destroy."""

    def __init__(
        self,
        parent: tkinter.Misc,
        on_change: Callable[[], None] | None = None,
        *,
        width: int = theme.VALUE_WIDTH,
        height: int = theme.FIELD_HEIGHT,
        justify: str = "left",
    ) -> None:
        super().__init__(
            parent,
            width=width,
            height=height,
            font=theme.BODY,
            justify=justify,
            corner_radius=theme.RADIUS,
            border_width=1,
            fg_color=theme.FIELD,
            border_color=theme.BORDER,
            text_color=theme.TEXT,
        )
        self.bind("<FocusIn>", lambda _: self.configure(border_color=theme.ACCENT))
        self.bind("<FocusOut>", lambda _: self.configure(border_color=theme.BORDER))
        self.bind("<Control-a>", self._select_all)
        self.bind("<Configure>", self._keep_end_in_sight)
        if on_change is not None:
            for sequence in ("<KeyRelease>", "<<Paste>>", "<<Cut>>", "<FocusOut>"):
                self.bind(sequence, lambda _: self.after_idle(on_change))

    def show(self, text: str) -> None:
        """Replace the text and keep its end in sight: of a path, the file's name."""
        if text == self.get():
            return
        state = self.cget("state")
        self.configure(state="normal")
        self.delete(0, "end")
        self.insert(0, text)
        self.configure(state=state)
        self._keep_end_in_sight(None)

    def read_only(self) -> None:
        """Make it a text to copy from."""
        self.configure(state="readonly")

    def lock(self, locked: bool) -> None:
        """Show the text but refuse changes for now; it can still be selected and copied."""
        if locked == (self.cget("state") == "normal"):
            self.configure(
                state="readonly" if locked else "normal",
                fg_color=theme.FIELD_LOCKED if locked else theme.FIELD,
                text_color=theme.LOCKED if locked else theme.TEXT,
            )

    def _keep_end_in_sight(self, _: tkinter.Event[tkinter.Misc] | None) -> None:
        if self.focus_get() is not self._entry:
            self._entry.xview_moveto(1.0)

    def _select_all(self, _: tkinter.Event[tkinter.Misc]) -> str:
        self.select_range(0, "end")
        return "break"


class Slider(ctk.CTkSlider):
    """A slider over whole positions that ignores the wheel, survives one position and obeys arrow keys."""

    def __init__(self, parent: tkinter.Misc, on_move: Callable[[int], None]) -> None:
        self._on_move = on_move
        super().__init__(
            parent,
            height=20,
            from_=0,
            to=1,
            number_of_steps=1,
            fg_color=theme.TRACK,
            command=lambda value: on_move(round(value)),
        )
        self._enabled = True
        self._canvas.configure(takefocus=1)
        for keys, step in (
            (("<Left>", "<Down>"), -1),
            (("<Right>", "<Up>"), 1),
            (("<Prior>",), 5),
            (("<Next>",), -5),
        ):
            for key in keys:
                self._canvas.bind(key, lambda _, step=step: self._move_by(step))
        self._canvas.bind("<FocusIn>", lambda _: self.configure(button_color=theme.FOCUS))
        self._canvas.bind("<FocusOut>", lambda _: self._colour())
        self._colour()

    def show(self, first: int, last: int, position: int, *, enabled: bool) -> None:
        """Take over range and position; a range of one position switches the slider off."""
        if (first, max(last, first + 1)) != (self.cget("from_"), self.cget("to")):
            self.configure(from_=first, to=max(last, first + 1), number_of_steps=max(last - first, 1))
            self.set(position)
        elif position != round(self.get()):
            self.set(position)
        enabled = enabled and last > first
        if enabled != self._enabled:
            self._enabled = enabled
            self.configure(state="normal" if enabled else "disabled")
            self._canvas.configure(takefocus=int(enabled))
            self._colour()

    def _create_bindings(self, sequence: str | None = None) -> None:
        super()._create_bindings(sequence)
        for wheel in _WHEEL:
            self._canvas.unbind(wheel)

    def _move_by(self, step: int) -> str:
        position = min(max(round(self.get()) + step, self.cget("from_")), self.cget("to"))
        if self._enabled and position != round(self.get()):
            self.set(position)
            self._on_move(round(position))
        return "break"

    def _colour(self) -> None:
        colour = theme.ACCENT if self._enabled else theme.LOCKED
        self.configure(
            progress_color=theme.ACCENT if self._enabled else theme.TRACK,
            button_color=colour,
            button_hover_color=theme.ACCENT_HOVER,
        )


class Menu(ctk.CTkOptionMenu):
    """A drop-down list of (value, label) choices that the keyboard can open.

    ``more`` is a last entry that is no choice: what it is called, and what it does.
    """

    def __init__(
        self,
        parent: tkinter.Misc,
        choices: Sequence[tuple[str, str]],
        on_change: Callable[[], None],
        more: tuple[str, Callable[[], None]] | None = None,
    ) -> None:
        self._choices = dict(choices)
        self._labels = self._choices
        self._more = more
        super().__init__(
            parent,
            values=[],
            command=lambda _: on_change(),
            height=theme.FIELD_HEIGHT,
            font=theme.BODY,
            dropdown_font=theme.BODY,
            corner_radius=theme.RADIUS,
            dynamic_resizing=False,
            fg_color=theme.FIELD,
            button_color=theme.FIELD,
            button_hover_color=theme.BORDER,
            text_color=theme.TEXT,
            text_color_disabled=theme.LOCKED,
            dropdown_fg_color=theme.FIELD,
            dropdown_hover_color=theme.TRACK,
            dropdown_text_color=theme.TEXT,
        )
        self._list()
        self._canvas.configure(takefocus=1)
        for key in ("<space>", "<Return>", "<Down>"):
            self._canvas.bind(key, self._open)
        self._canvas.bind("<FocusIn>", lambda _: self.configure(button_color=theme.BORDER))
        self._canvas.bind("<FocusOut>", lambda _: self.configure(button_color=theme.FIELD))

    @property
    def choice(self) -> str:
        """The chosen value."""
        shown = self.get()
        return next((value for value, label in self._labels.items() if label == shown), shown)

    def choose(self, value: str, label: str = "") -> None:
        """Show a value; one that is no choice (a template file) joins the list as ``label``, until another does."""
        if value not in self._choices:
            self._labels = {**self._choices, value: label}
            self._list()
        self.set(self._labels[value])

    def offer(self, choices: Sequence[tuple[str, str]]) -> None:
        """Have other choices from now on; the first one is shown."""
        self._choices = self._labels = dict(choices)
        self._list()
        self.set(choices[0][1])

    def lock(self, locked: bool) -> None:
        """Show the choice but refuse changes."""
        if locked == (self.cget("state") == "normal"):
            fill = theme.FIELD_LOCKED if locked else theme.FIELD
            self.configure(state="disabled" if locked else "normal", fg_color=fill, button_color=fill)
            self._canvas.configure(takefocus=int(not locked))

    def _list(self) -> None:
        more = (self._more[0],) if self._more else ()
        self.configure(values=list(dict.fromkeys([*self._labels.values(), *more])))
        for entry in range(_MENU_ROWS, len(self._values), _MENU_ROWS):  # X11 cannot scroll a list
            self._dropdown_menu.entryconfigure(entry, columnbreak=True)

    def _dropdown_callback(self, value: str) -> None:
        if self._more and value == self._more[0]:
            self._more[1]()
        else:
            super()._dropdown_callback(value)

    def _clicked(self, event: Any = None) -> None:
        # Later, because the toolkit's own click handler would take the keyboard away from an open list.
        self.after_idle(super()._clicked, event)

    def _open(self, _: tkinter.Event[tkinter.Misc]) -> str:
        if self.cget("state") == "normal":
            self._open_dropdown_menu()
        return "break"


class Tick(ctk.CTkCheckBox):
    """A box to tick that the keyboard can reach, with a colour that shows where it is."""

    def __init__(self, parent: tkinter.Misc, text: str, on_change: Callable[[], None]) -> None:
        super().__init__(
            parent,
            text=text,
            command=on_change,
            width=0,
            height=theme.FIELD_HEIGHT,
            checkbox_width=20,
            checkbox_height=20,
            font=theme.BODY,
            corner_radius=4,
            border_width=1,
            fg_color=theme.ACCENT,
            hover=False,
            border_color=theme.LOCKED,
            checkmark_color=theme.CARD,
            text_color=theme.TEXT,
            text_color_disabled=theme.LOCKED,
        )
        self._canvas.configure(takefocus=1)
        self._canvas.bind("<space>", self.toggle)
        self._canvas.bind("<FocusIn>", lambda _: self.configure(fg_color=theme.FOCUS, border_color=theme.FOCUS))
        self._canvas.bind("<FocusOut>", lambda _: self._colour())

    @property
    def ticked(self) -> bool:
        """Whether the box is ticked."""
        return bool(self.get())

    def show(self, ticked: bool) -> None:
        """Set or clear the tick."""
        if ticked != self.ticked:
            self.set(ticked)

    def lock(self, locked: bool) -> None:
        """Show the tick but refuse changes."""
        if locked == (self.cget("state") == "normal"):
            self.configure(state="disabled" if locked else "normal")
            self._canvas.configure(takefocus=int(not locked))
            self._colour()

    def _colour(self) -> None:
        fill = theme.ACCENT if self.cget("state") == "normal" else theme.LOCKED
        self.configure(fg_color=fill, border_color=theme.LOCKED)

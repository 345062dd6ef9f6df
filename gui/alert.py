"""A sentence in a box of its own, for a start that ends before there is a window. The launcher calls :func:`tell`."""

from __future__ import annotations

import contextlib
import tkinter
from tkinter import messagebox


def tell(sentence: str) -> None:
    """Show the sentence until it is clicked away; without a display, nothing."""
    with contextlib.suppress(tkinter.TclError):
        root = tkinter.Tk(className="Tavernkeep")
        root.withdraw()
        messagebox.showerror("Tavernkeep", sentence, parent=root)
        root.destroy()

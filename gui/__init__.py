"""The window. It talks to :class:`server.controller.Controller` and knows nothing else of the server.

app          builds the window, owns start, stop and close; the launcher calls ``run``
event_pump   worker threads for slow calls, and the one poller that brings everything back to the Tk thread
view_state   what to show, decided without Tk: settings <-> form, snapshot -> texts, colours and enabled flags
theme        colours, fonts, distances
widgets      customtkinter's widgets with our look and its known bugs fixed
cards/       launch_card (the form), live_card (what is happening), log_card (the last lines)
"""

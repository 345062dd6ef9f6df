"""The window. It talks to :class:`server.controller.Controller` and knows nothing else of the server.

app          builds the window, owns start, stop and close; the launcher calls ``run``
event_pump   worker threads for slow calls, and the one poller that brings everything back to the Tk thread
theme        colours, fonts, distances
view/        what to show, decided without Tk
  form       settings <-> form, and how the fields look
  status     what is happening, beside the form
  looks      how states and buttons feel
  words      numbers as people say and type them
pages/       what is drawn: launch (the form), status (what is happening), log (the last lines)
widgets/     customtkinter's widgets in our look, its known bugs fixed: controls (to operate), display (to look at)
"""

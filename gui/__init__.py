"""The window. It talks to :class:`server.controller.Controller` and knows nothing else of the server.

alert        a sentence in a box, for a start that ends before there is a window
mainloop     shows the window until it is closed; the launcher calls ``run``
app          builds the window, owns start, stop and close
model_desk   finds out about the chosen model: its file, its room, its template
hub_desk     asks the hub for models while the user looks around there
appearance   how large everything is, and light or dark
presence     how the window comes and goes: to the front, put away, closed
instance     one window for each user: a second start wakes the first
autostart    starting with the system
browser      shows the chat page in the user's browser
navigation   the buttons that lead to the pages, each of which is built when it is first needed
event_pump   worker threads for slow calls, and the one poller that brings everything back to the Tk thread
shelf        finds the models in the user's folders, and reads them one by one
memory       what the window remembers from one start to the next
language     every text passes through it, so that it can be translated
locale/      the list of all texts, translations, and ``extract``, which makes the list
theme        colours, fonts, distances, icons
tray/        the icon in the desktop's tray
  icon       which tray this desktop has
  status_notifier  that of Linux desktops, over D-Bus
  dbus_menu  the menu of that one
  windows    that of Windows, by pystray
view/        what to show, decided without Tk
  access     who may connect, and what that means
  form       settings <-> form, and how the fields look
  forecast   the memory the model will take, as a bar and in words
  advanced   the options that are folded away
  status     what is happening, beside the form
  library    the models on this PC as lines
  hub        the page to get models: what is offered, and the downloads as lines
  live       the live page: figures and requests
  connect    the connect page: what to enter into a program, and what it heard
  log        which lines of the log are in sight, and the report for a bug
  tray       what the icon in the tray says, and its menu
  history    the speed of the last minutes
  looks      how states and buttons feel
  words      numbers as people say and type them
pages/       what is drawn: launch (the form, with access in it, and advanced with web_pages folded away) with status
             beside it, library, hub (get models), live, connect, log, options
widgets/     customtkinter's widgets in our look, its known bugs fixed
  controls   to operate: buttons, fields, sliders, menus
  display    to look at: cards, labels, bars, tips
  drawing    a place to draw on: a chart, a memory bar
  chart      a line over time
  memory_bar what fills a memory
  sheet      a card over the page: a text to read, a question to answer
  table      lines of texts, each with a button
  listing    a list in columns from which one line is chosen
  drops      files dropped onto the window
"""

"""What the window shows, decided without Tk: the app feeds it form and snapshot, the pages draw it."""

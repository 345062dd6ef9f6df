"""The icon in the desktop's tray: its state, and a menu of what is done most."""

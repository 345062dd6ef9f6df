"""customtkinter's widgets in our look; the pages are built from them."""

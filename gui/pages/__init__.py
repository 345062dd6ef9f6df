"""The cards of the window. Each draws the view it is given and tells what the user did through callbacks."""

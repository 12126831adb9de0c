"""One module per noun; each command is a function that returns data."""

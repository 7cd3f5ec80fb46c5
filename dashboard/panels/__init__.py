"""One linked group of widgets and plots a file. Panels read and write the case, and never talk to each other."""

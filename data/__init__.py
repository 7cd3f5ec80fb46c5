"""Images, data sets, toy scenes: everything that enters; imports nothing of the other packages."""

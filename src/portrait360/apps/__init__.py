"""How people reach the program: the command line, the web app and the viewer."""

"""Who asks for flowers: the HTTP API, the page and the command line. Never imports Keras."""

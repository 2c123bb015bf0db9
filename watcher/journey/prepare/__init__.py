"""A recording is made acceptable without loss: cut, put into another container, or encoded as FLAC."""

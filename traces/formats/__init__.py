"""One file a format. A new one is a file here, a sample in `traces/samples/`, a line in `traces/registry.py`."""

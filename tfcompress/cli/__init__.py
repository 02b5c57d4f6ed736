"""The command ``tfcompress``."""

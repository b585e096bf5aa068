"""Files: written whole or not at all, read with errors that say where; settings to and from plain values."""

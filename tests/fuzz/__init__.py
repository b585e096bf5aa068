"""Feeds damaged files to every reader of files, which must keep its promise or raise its error."""

"""Four workers that are forked from a process which has opened the segment."""

bind = "127.0.0.1:8000"
workers = 4
preload_app = True

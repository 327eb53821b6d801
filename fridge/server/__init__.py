"""The server: a supervisor that owns the sockets, data workers that serve sessions, and one housekeeper.

Read in this order: doors (sockets), supervisor, worker, connection, host, clients, shared, info, housekeeper, http.
"""

"""Authorization of clients and servers over sockets: everything that the pure machines need."""

"""Where images come from. Only these modules open sockets."""

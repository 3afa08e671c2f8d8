"""From a trained detector to a compact one: fewer channels, taught by the full one."""

"""Where the outside begins: the only modules that know an environ, a socket or a framework."""

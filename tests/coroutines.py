"""What ASGI servers load that want a module and a name."""

from tests.apps import coroutines

application = coroutines()

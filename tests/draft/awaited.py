"""What ASGI servers load that want a module and a name: the photo store behind `TusASGI`."""

from tests.draft.host import coroutines

application = coroutines()

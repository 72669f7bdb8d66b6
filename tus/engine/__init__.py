"""What can happen to an upload: the only caller of store and locker, and the one door that every id passes.

The engine knows no HTTP and moves no bytes off a network. The order of what it does is what makes it safe:

* A request is admitted (authorised, its upload found, its owner compared) before it can affect another request.
* A request that writes takes the lease, and only then looks at the offset. The previous holder of the lease can write
  no more, so the offset stays true.
* A client is told no more bytes than were committed.
* A record is changed only in a turn of the lease, or if it is still the one that was read.
* An upload finishes in steps: its last byte is stored, made durable, accepted by the host, marked complete, handed
  over, and the host's answer recorded. After a crash between two of them the next request continues from there.

`Core` is what the deeds stand on; each module has some of them, and uses those before it: admission, finishing,
delivering, following, removing, creating, repeating, joining, writing, numbered.
"""

from __future__ import annotations

from . import admission, creating, delivering, following, joining, removing, writing
from .core import Core, new_id
from .delivering import Delivery
from .following import Followed

__all__ = ["Delivery", "Engine", "Followed", "new_id"]


class Engine(Core):
    """The deeds. One engine serves all threads of a process."""

    identify = admission.identify
    look = admission.look
    open = admission.opened
    follow = following.follow
    secret_id = admission.secret_id

    begin = creating.begin
    append = writing.append
    conclude = writing.conclude
    seize = writing.seize
    describe = writing.describe
    join = joining.join

    claim = delivering.claim
    terminate = removing.terminate
    sweep = removing.sweep
    uploads = removing.uploads

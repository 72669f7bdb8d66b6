"""The last byte is here: the content is looked at, and the upload is marked complete, once."""

from __future__ import annotations

from .. import events
from ..checksum import ALGORITHMS
from ..errors import Changed, DigestMismatch, Refused, StoreBroken, StoreFull
from ..lockers import Lease
from ..stores import Draft
from ..upload import Digests, Result, Upload, definite
from .core import Core, contended, fall_back, stored


def complete(core: Core, upload: Upload, lease: Lease, draft: Draft, *, fresh: bool = False) -> Upload:
    """Make the bytes last, let the host look at them, and mark the upload complete. The lease is kept meanwhile: disk
    and host may take their time, and a HEAD must not begin the same a second time."""
    lease.keep()
    try:
        if upload.digests or core.checks:
            draft.commit(durable=core.syncs)
        if upload.digests:
            upload = upload.evolve(digests=_digested(core, upload))
        refusal = refusal_of(core, upload)
        if fresh or not contended(upload):
            return finish(core, upload, draft, refusal)
        return _finish_shared(core, upload, draft, refusal)
    except (StoreFull, StoreBroken) as error:
        if error.offset is not None:
            fall_back(core, upload, lease, error)
        raise


def _finish_shared(core: Core, upload: Upload, draft: Draft, refusal: Result | None) -> Upload:
    """Finish an upload whose record others change in this moment: what they wrote stays."""
    while True:
        found = core.store.load(upload.id)
        try:
            ours = {"length": upload.length, "offset": upload.offset, "digests": upload.digests}
            return finish(core, found.evolve(**ours), draft, refusal, since=found)
        except Changed:
            continue


def finish(
    core: Core, upload: Upload, draft: Draft | None, refusal: Result | None, *, since: Upload | None = None
) -> Upload:
    """Save the upload as complete, with all that the draft took."""
    # A part is never handed over by itself, and without a host nothing is.
    waits = (core.delivers or core.tells or upload.target) and not upload.partial
    upload = upload.evolve(complete=True, result=None if waits else Result())
    if refusal:
        upload = with_answer(core, upload, refusal)
    core.store.finish(upload, draft, since=since, durable=core.syncs)
    events.finished(upload)
    core.watches.ring(upload.id)
    if refusal:
        events.answered(upload)
    return upload


def _digested(core: Core, upload: Upload) -> Digests:
    """The digests of the whole, where the client wants them; raises DigestMismatch where it announced others."""
    hashes = [(name, announced, ALGORITHMS[name][1]()) for name, announced in upload.digests]
    for block in stored(core, upload):
        for _, _, hash in hashes:
            hash.update(block)
    for name, announced, hash in hashes:
        if announced and announced != hash.digest().hex():
            raise DigestMismatch(f"the {name} of the whole upload is different", algorithm=name, digest=announced)
    return tuple((name, hash.digest().hex()) for name, _, hash in hashes)


def refusal_of(core: Core, upload: Upload) -> Result | None:
    """What the host has against the content, if anything. A refusal that is not for good is raised, and the next
    request has the host look again."""
    if not core.checks or upload.partial:
        return None
    with core.store.open(upload.id) as file:
        try:
            core.hooks.before_finish(upload, file)
        except Refused as error:
            return refusing(error)
    return None


def with_answer(core: Core, upload: Upload, result: Result) -> Upload:
    """The upload with what the host said of it. A refused one stays for a while, so that its client hears why."""
    upload = upload.evolve(result=result)
    kept = core.options.refused_valid_duration
    if not result.refuses or kept is None:
        return upload
    ends = core.now() + kept
    return upload.evolve(expires=ends if upload.expires is None else min(ends, upload.expires))


def refusing(error: Refused) -> Result:
    """A hook's refusal as an answer to remember; raised again, if it is not for good."""
    if not definite(error.status):
        raise error
    headers = {"Content-Type": "text/plain; charset=utf-8", **error.headers}
    return Result(error.status, tuple(headers.items()), f"{error}\n".encode("utf-8", "replace"))

"""Leases in Redis, or in Valkey: one hash for each upload that is written to, which expires by itself.

Each deed is one script, and so one message to the server and back. Tokens are microseconds since the epoch, or one more
than the last one: they grow also where Redis was restarted and remembers nothing.

A hash has: n, the newest token; e, the epoch of the shares; k, h, p and u, the key, kind and process of what is held,
and until when; s, the processes that have shares; w, those that wait. One more hash, which does not expire, tells a
server that forgot everything from one that nobody has asked yet: there are no claims before the time that it says.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from ..errors import OptionError, StoreAway
from .network import TTL, Hold, NetworkLocker
from .pool import Broken, Pool
from .servers import Left, Verdict, reach, settings

log = logging.getLogger("tus")

ANSWER = 3.0  # seconds to wait for one
_REMEMBERED = 600_000  # milliseconds that a token is remembered; longer than any ttl
_BATCH = 200  # renewals in one message
_RECORD = "tus:"  # and the id of the upload
_CHANNEL = "tus:"  # and the name of the process that is told

_BEGIN = """
local key, at = KEYS[1], redis.call('TIME')
local now = at[1] * 1000000 + at[2]
local f = redis.call('HMGET', key, 'n', 'e', 'k', 'h', 'p', 'u', 's', 'w')
local n, e, till = tonumber(f[1] or 0), tonumber(f[2] or 0), tonumber(f[6] or 0)
local k, kind, process, shares, waiting = f[3] or '', f[4], f[5], f[7] or '', f[8] or ''
if till <= now then k = '' end
local function digits(number) return string.format('%.0f', number) end
local function tell(process, message) redis.call('PUBLISH', 'tus:' .. process, message) end
local function tell_all(processes, message) for p in string.gmatch(processes, '%S+') do tell(p, message) end end
local function with(processes, one)
  return string.find(processes, one, 1, true) and processes or processes .. ' ' .. one
end
local function set(...) redis.call('HSET', key, ...); redis.call('PEXPIRE', key, REMEMBERED) end
local function opens(ttl)
  local at = redis.call('HMGET', 'tus:/began', 'n')[1]
  if not at then at = digits(now + ttl); redis.call('HSET', 'tus:/began', 'n', at) end
  return tonumber(at)
end
local function next_epoch(id) e = math.max(e + 1, now); tell_all(shares, 'over ' .. id .. ' ' .. digits(e)) end
""".replace("REMEMBERED", str(_REMEMBERED))

# ARGV: id, our key, kind, process, microseconds to live, and what else there is.
_TAKE = """
local id, ours, what, who, ttl, over = unpack(ARGV)
local before = n
if what == 'C' and opens(ttl) > now then return {'busy', 0, 0, '', opens(ttl) - now, 0} end
if k == ours then k = '' end
if k ~= '' and kind ~= 'L' then
  set('w', with(waiting, who))
  return {'busy', 0, 0, '', till - now, 0}
end
if what == 'S' then
  if n == 0 then n, e = now, now end
  set('n', digits(n), 'e', digits(e), 's', with(shares, who))
  return {'taken', n, e, '', 0, 0}
end
if k ~= '' and what ~= 'C' and over ~= '*' and over ~= k then return {'owned', 0, 0, k, 0, 0} end
if k ~= '' then tell(process, (what == 'C' and 'ended ' or 'lost ') .. k) end
if what ~= 'C' then n = math.max(n + 1, now) end
next_epoch(id)
set('n', digits(n), 'e', digits(e), 'k', ours, 'h', what, 'p', who, 'u', digits(now + ttl), 's', '')
return {'taken', n, e, k, 0, shares == '' and 0 or 1, before}
"""

_KEEP = """
local id, ours, what, who, ttl = unpack(ARGV)
if k ~= ours then return {'lost', 0, 0, '', 0, 0} end
next_epoch(id)
set('e', digits(e), 'h', 'K', 'u', digits(now + ttl), 's', '')
return {'taken', n, e, '', 0, shares == '' and 0 or 1}
"""

_LEAVE = """
local id, ours, remembered = unpack(ARGV)
if k ~= ours then return 0 end
tell_all(waiting, 'free ' .. id)
redis.call('HSET', key, 'k', '', 'w', '')
redis.call('PEXPIRE', key, remembered)
return 1
"""

_RENEW = """
local id, ours, what, who, ttl, token, epoch = unpack(ARGV)
if not f[1] then
  set('n', token, 'e', epoch)
  if what == 'S' then set('s', who) else set('k', ours, 'h', what, 'p', who) end
elseif what == 'S' then
  if e ~= tonumber(epoch) then return 0 end
elseif k ~= ours and not (what == 'C' and f[3] == ours) then return 0 end
if what == 'S' then set('e', epoch) else set('u', digits(now + ttl)) end
return 1
"""

_OPEN = "opens(ARGV[1])"

_OWNER = """
if k == '' or kind == 'C' then return '' end
return process
"""


class _Script:
    """One deed, known to the server by its digest once it was sent."""

    def __init__(self, text: str) -> None:
        self.text = (_BEGIN + text).encode()
        self.digest = hashlib.sha1(self.text, usedforsecurity=False).hexdigest()


_take, _keep, _leave, _renew, _owner, _open = map(_Script, (_TAKE, _KEEP, _LEAVE, _RENEW, _OWNER, _OPEN))


class _Line:
    """A connection of redis-py, without the layers above it."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._guarded(connection.connect)

    def _guarded(self, deed: Any, *args: Any, **more: Any) -> Any:
        import redis

        try:
            return deed(*args, **more)
        except redis.exceptions.NoScriptError:
            raise
        except (redis.RedisError, OSError) as error:
            raise Broken(str(error), late=isinstance(error, (redis.TimeoutError, TimeoutError))) from error

    def send(self, *words: Any) -> None:
        self._guarded(self._connection.send_command, *words, check_health=False)

    def read(self) -> Any:
        return self._guarded(self._connection.read_response)

    def ask(self, *words: Any) -> Any:
        self.send(*words)
        return self.read()

    def run(self, script: _Script, record: str, *arguments: Any) -> Any:
        return self.run_all(script, [(record, arguments)])[0]

    def run_all(self, script: _Script, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """The script for each of these, in one message."""
        import redis

        self._send_all("EVALSHA", script.digest, calls)
        answers: list[Any] = []
        for _ in calls:
            try:
                answers.append(self.read())
            except redis.exceptions.NoScriptError:
                answers.append(None)
        if None in answers:  # the server does not know the script yet, and did nothing
            self._send_all("EVAL", script.text, calls)
            answers = [self.read() for _ in calls]
        return answers

    def _send_all(self, verb: str, script: Any, calls: Sequence[tuple[str, Sequence[Any]]]) -> None:
        connection = self._connection
        packed = connection.pack_commands([(verb, script, 1, record, *arguments) for record, arguments in calls])
        self._guarded(connection.send_packed_command, packed, check_health=False)

    def waits(self, seconds: float) -> bool:
        """Whether something came, before that time was over."""
        return bool(self._guarded(self._connection.can_read, timeout=seconds))

    def close(self) -> None:
        self._connection.disconnect()

    abandon = close  # redis-py sends nothing, and in a child it does not shut the connection down


class _Ear:
    """A line on which only messages come."""

    def __init__(self, lines: Pool[_Line], process: str) -> None:
        self._lines = lines
        try:
            self._line = lines.open()
            self._line.send("SUBSCRIBE", _CHANNEL + process)
            self._line.read()
        except Broken as error:
            self.close()
            raise StoreAway("Redis does not answer") from error
        self._asked = False  # and no answer yet
        self._heard_at = time.monotonic()

    def hear(self, seconds: float) -> list[str]:
        try:
            self._check()
            found: list[Any] = []
            while self._line.waits(0 if found else seconds):
                found.append(self._line.read())
        except Broken as error:
            raise StoreAway("Redis does not answer") from error
        if found:
            self._asked, self._heard_at = False, time.monotonic()
        return [words[2].decode() for words in found if words[0] == b"message"]

    def _check(self) -> None:
        """A connection that a firewall forgot would be silent for ever."""
        silent = time.monotonic() - self._heard_at
        if self._asked and silent > 2 * ANSWER:
            raise Broken("it is silent")
        if not self._asked and silent > ANSWER:
            self._line.send("PING")
            self._asked = True

    def close(self) -> None:
        if hasattr(self, "_line"):
            self._lines.close(self._line)


class RedisServer:
    """The server at this URL."""

    def __init__(self, url: str) -> None:
        from redis.connection import Connection, parse_url

        parsed = parse_url(url)  # type: ignore[no-untyped-call]
        given = {"socket_timeout": ANSWER, "socket_connect_timeout": ANSWER, **parsed, "protocol": 2}
        self._kind, self._given = given.pop("connection_class", Connection), given
        self._lines = Pool(self._connect)

    def _connect(self) -> _Line:
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        return _Line(self._kind(**self._given, retry=Retry(NoBackoff(), 0)))

    def take(self, hold: Hold, ttl: float, over: str | None) -> Verdict:
        more = "*" if over is None else over
        return _answer(self._lines.ask(lambda line: line.run(_take, *_words(hold, ttl), more)))

    def keep(self, hold: Hold, ttl: float) -> Verdict:
        return _answer(self._lines.ask(lambda line: line.run(_keep, *_words(hold, ttl))))

    def leave(self, left: Sequence[Left], ttl: float) -> None:
        calls = [(_RECORD + one.id, (one.id, one.key, int(ttl * 2000) if one.forget else _REMEMBERED)) for one in left]
        self._lines.ask(lambda line: line.run_all(_leave, calls))

    def renew(self, holds: Sequence[Hold], ttl: float) -> list[bool]:
        found: list[bool] = []
        for first in range(0, len(holds), _BATCH):
            batch = [_words(hold, ttl) for hold in holds[first : first + _BATCH]]
            tokens = [(hold.token, hold.epoch) for hold in holds[first : first + _BATCH]]
            calls = [(words[0], (*words[1:], *more)) for words, more in zip(batch, tokens, strict=True)]
            found += map(bool, self._lines.ask(lambda line, calls=calls: line.run_all(_renew, calls)))  # type: ignore[misc]
        return found

    def owner(self, id: str) -> str:
        owner: bytes = self._lines.ask(lambda line: line.run(_owner, _RECORD + id))
        return owner.decode()

    def alive(self, process: str) -> bool:
        answer = self._lines.ask(lambda line: line.ask("PUBSUB", "NUMSUB", _CHANNEL + process))
        return bool(answer[1])

    def listen(self, process: str) -> _Ear:
        return _Ear(self._lines, process)

    def sweep(self, before: float, exists: Callable[[str], bool]) -> None:
        """Redis does it."""

    def forked(self) -> None:
        self._lines.forked()

    def close(self) -> None:
        self._lines.close_all()

    def probe(self, ttl: float) -> None:
        """Whether it is there, and fit for this; raises Broken."""
        self._lines.once(lambda line: _probe(line, ttl))


def _probe(line: _Line, ttl: float) -> None:
    line.run(_open, _RECORD, int(ttl * 1e6))
    line.ask("PUBLISH", _CHANNEL, "")
    facts = dict(fact.partition(":")[::2] for fact in line.ask("INFO").decode().splitlines())
    if facts.get("maxmemory", "0") != "0" and facts.get("maxmemory_policy", "noeviction") != "noeviction":
        log.warning("Redis may forget who writes to an upload: set its maxmemory-policy to noeviction")
    if facts.get("role") == "slave":
        raise Broken("it is read only")


def _words(hold: Hold, ttl: float) -> tuple[Any, ...]:
    """The record, and what every script wants to know of this."""
    return _RECORD + hold.id, hold.id, hold.key, hold.kind, hold.process, int(ttl * 1e6)


def _answer(row: list[Any]) -> Verdict:
    state, token, epoch, other, wait, shares, *before = row
    return Verdict(state.decode(), token, epoch, other.decode(), wait / 1e6, bool(shares), *before)


def redis_locker(url: str, options: object = None) -> NetworkLocker:
    """`redis://:PASSWORD@HOST:PORT/DB`, or `rediss:` over TLS; also `?ttl=10&patience=5&prefix=name`."""
    try:
        import redis  # noqa: F401
    except ImportError:
        raise OptionError("option locker: redis: needs a client for it; pip install tus[redis]") from None
    url, given = settings(url)
    if not urlsplit(url).path.strip("/").isdecimal() and urlsplit(url).path.strip("/"):
        raise OptionError("option locker: what follows the host of a redis: URL is the number of a database")
    try:
        server = RedisServer(url)
        reach(lambda: server.probe(given.get("ttl", TTL)), _REMEDIES, _OTHERWISE)
    except OptionError:  # which is a ValueError, too
        raise
    except (ValueError, TypeError) as error:
        why = re.sub(r".*unexpected keyword argument", "nothing is known of", str(error))
        raise OptionError(f"option locker: this URL means nothing to Redis: {why}") from error
    return NetworkLocker(server, **given)


_OTHERWISE = "does a Redis run there, may we reach it, and is it right about TLS (redis: or rediss:)?"
_REMEDIES = {
    "invalid username": "put the right password into the URL: redis://:PASSWORD@HOST, or redis://USER:PASSWORD@HOST",
    "invalid password": "put the right password into the URL: redis://:PASSWORD@HOST",
    "without any password": "leave the password out of the URL",
    "uthentication required": "put the password into the URL: redis://:PASSWORD@HOST",
    "no permissions": "give the user the keys, channels and commands that docs/scaling.rst lists",
    "DB index": "the number after the host is that of a database, mostly 0",
    "ertificate": "with a certificate of your own, add ?ssl_ca_certs=FILE",
    "SSL": "redis: is without TLS, rediss: with it",
    "read only": "this is a replica; name the primary server in the URL",
}

"""Leases in PostgreSQL: one row for each upload that is written to, in an unlogged table, which needs no disk.

Each deed is one statement, which calls one function, and who must know of it is told by NOTIFY. Tokens are microseconds
since the epoch, or one more than the last one: they grow also where a crash of the server emptied the table. One row,
which is never removed, tells that from a table that is new: there are no claims before the time that it says.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import OptionError, StoreAway
from .network import TTL, Hold, NetworkLocker
from .pool import Broken, Pool
from .servers import Left, Verdict, reach, settings

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

ANSWER = 3.0  # seconds to wait for one
_BATCH = 50  # renewals in one statement; each needs a lock of the server
_REMEMBERED = 600_000_000  # microseconds that a token is remembered; longer than any ttl

# `of` is the upload; `mine`, `what` and `who` are our key, kind and process; `ttl` is in microseconds. A process has
# the channel tus_PROCESS. Bump the number in the name with each change: processes of two versions may run side by side.
_SCHEMA = """
SET LOCAL statement_timeout = '5s';
SET LOCAL client_min_messages = warning;
SELECT pg_advisory_xact_lock(1953854316, 0);
CREATE UNLOGGED TABLE IF NOT EXISTS tus_leases (
    id text PRIMARY KEY,
    token bigint NOT NULL,
    epoch bigint NOT NULL,
    key text NOT NULL,
    kind text NOT NULL,
    process text NOT NULL,
    till bigint NOT NULL,
    shares text[] NOT NULL,
    waiting text[] NOT NULL,
    remembered bigint NOT NULL
) WITH (fillfactor = 50);
CREATE OR REPLACE FUNCTION tus_lease_3(
    deed text, of text, mine text, what text, who text, ttl bigint, more text,
    OUT state text, OUT newest bigint, OUT era bigint, OUT other text, OUT wait bigint, OUT ended boolean,
    OUT prior bigint
) LANGUAGE plpgsql AS $$
DECLARE
    now bigint;
    row tus_leases;
    known boolean;
    taking boolean := false;
    keep bigint := 600000000;
    opens bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(1953854316, hashtext(of));
    now := extract(epoch FROM clock_timestamp()) * 1000000;
    SELECT * INTO row FROM tus_leases WHERE id = of;
    known := FOUND;
    IF NOT known THEN
        row := (of, 0, 0, '', '', '', 0, '{}', '{}', 0);
    END IF;
    prior := row.token;
    IF deed = 'take' AND row.key = mine OR row.till <= now AND NOT (deed = 'renew' AND what = 'C') THEN
        row.key := '';
    END IF;
    state := 'taken'; other := ''; wait := 0; ended := false;
    IF deed = 'take' AND what = 'C' THEN
        SELECT token INTO opens FROM tus_leases WHERE id = '/began';
        IF NOT FOUND THEN
            opens := now + ttl;
            INSERT INTO tus_leases VALUES ('/began', opens, 0, '', '', '', 0, '{}', '{}', 9e18) ON CONFLICT DO NOTHING;
        END IF;
        IF opens > now THEN
            state := 'busy'; wait := opens - now;
            RETURN;
        END IF;
    END IF;
    IF deed = 'take' AND row.key <> '' AND row.kind <> 'L' THEN
        state := 'busy'; wait := row.till - now;
        IF who = ANY (row.waiting) THEN RETURN; END IF;
        row.waiting := row.waiting || who;
    ELSIF deed = 'take' AND what = 'S' THEN
        IF row.token = 0 THEN
            row.token := now; row.epoch := now;
        END IF;
        IF NOT who = ANY (row.shares) THEN
            row.shares := row.shares || who;
        END IF;
    ELSIF deed = 'take' AND row.key <> '' AND what <> 'C' AND more NOT IN ('*', row.key) THEN
        state := 'owned'; other := row.key;
        RETURN;
    ELSIF deed = 'take' THEN
        IF row.key <> '' THEN
            other := row.key;
            PERFORM pg_notify('tus_' || row.process, CASE what WHEN 'C' THEN 'ended ' ELSE 'lost ' END || other);
        END IF;
        IF what <> 'C' THEN
            row.token := greatest(row.token + 1, now);
        END IF;
        row.key := mine; row.kind := what; row.process := who; row.till := now + ttl; taking := true;
    ELSIF deed = 'renew' AND NOT known THEN
        row.token := split_part(more, ' ', 1); row.epoch := split_part(more, ' ', 2);
        IF what = 'S' THEN
            row.shares := ARRAY[who];
        ELSE
            row.key := mine; row.kind := what; row.process := who; row.till := now + ttl;
        END IF;
    ELSIF deed = 'renew' AND what = 'S' THEN
        IF row.epoch <> split_part(more, ' ', 2)::bigint THEN
            state := 'lost';
            RETURN;
        END IF;
    ELSIF row.key <> mine THEN
        state := 'lost';
        RETURN;
    ELSIF deed = 'leave' THEN
        PERFORM pg_notify('tus_' || process, 'free ' || of) FROM unnest(row.waiting) AS process;
        row.key := ''; row.waiting := '{}'; keep := more;
    ELSE
        row.till := now + ttl;
        IF deed = 'keep' THEN
            row.kind := 'K'; taking := true;
        END IF;
    END IF;
    IF taking THEN
        row.epoch := greatest(row.epoch + 1, now);
        ended := row.shares <> '{}';
        PERFORM pg_notify('tus_' || process, 'over ' || of || ' ' || row.epoch) FROM unnest(row.shares) AS process;
        row.shares := '{}';
    END IF;
    row.remembered := now + keep;
    newest := row.token; era := row.epoch;
    INSERT INTO tus_leases VALUES (row.*) ON CONFLICT (id) DO UPDATE SET
        (token, epoch, key, kind, process, till, shares, waiting, remembered) =
        (excluded.token, excluded.epoch, excluded.key, excluded.kind, excluded.process, excluded.till,
         excluded.shares, excluded.waiting, excluded.remembered);
END
$$;
"""
_MADE = "SELECT to_regprocedure('tus_lease_3(text,text,text,text,text,bigint,text)') IS NOT NULL"
_FIT = """
SELECT CASE
    WHEN pg_is_in_recovery() THEN 'it is read-only'
    WHEN NOT has_table_privilege('tus_leases', 'INSERT') THEN 'permission denied for table tus_leases'
END
"""
_NOW = "extract(epoch FROM clock_timestamp()) * 1000000"
_DO = "SELECT state, newest, era, other, wait, ended, prior FROM tus_lease_3($1, $2, $3, $4, $5, $6::bigint, $7)"
_ALL = """
SELECT (tus_lease_3(a->>0, a->>1, a->>2, a->>3, a->>4, (a->>5)::bigint, a->>6)).state
FROM jsonb_array_elements($1::jsonb) AS a
"""
_OWNER = f"SELECT process FROM tus_leases WHERE id = $1 AND key <> '' AND kind <> 'C' AND till > {_NOW}"
_ALIVE = "SELECT 1 FROM pg_stat_activity WHERE application_name = $1"
_OPEN = f"""
INSERT INTO tus_leases VALUES ('/began', {_NOW} + $1::bigint, 0, '', '', '', 0, '{{}}', '{{}}', 9e18)
ON CONFLICT DO NOTHING
"""
_SWEEP = f"DELETE FROM tus_leases WHERE remembered < {_NOW} AND (key = '' OR till < {_NOW})"

Row = Sequence[bytes | None]


class _Line:
    """A connection, without the layers above libpq: they cannot stop waiting for an answer."""

    def __init__(self, url: str, name: str = "tus") -> None:
        import psycopg

        try:
            self._connection = psycopg.connect(
                url, autocommit=True, application_name=name, connect_timeout=max(2, int(ANSWER))
            )
        except psycopg.Error as error:
            raise Broken(str(error)) from error
        self._libpq = self._connection.pgconn
        self._poll = select.poll()
        self._poll.register(self._libpq.socket, select.POLLIN)
        self._prepared: dict[str, bytes] = {}  # the names of the queries that the server has planned

    def ask(self, query: str, *arguments: str) -> list[Row]:
        """The rows."""
        import psycopg

        try:
            if query not in self._prepared:
                name = b"tus%d" % len(self._prepared)
                self._libpq.send_prepare(name, query.encode())
                self._answer()
                self._prepared[query] = name
            self._libpq.send_query_prepared(self._prepared[query], [argument.encode() for argument in arguments])
            result = self._answer()
        except psycopg.Error as error:
            raise Broken(str(error)) from error
        width = result.nfields
        return [[result.get_value(row, column) for column in range(width)] for row in range(result.ntuples)]

    def _answer(self) -> PGresult:
        self._libpq.flush()  # it is smaller than any buffer
        deadline = time.monotonic() + ANSWER
        while self._libpq.is_busy():
            if not self.waits(max(0.0, deadline - time.monotonic())):
                raise Broken("there is no answer in time", late=True)
        result = self._libpq.get_result()
        if result is None:
            raise Broken("there is no answer")
        while self._libpq.get_result():
            pass
        if message := result.error_message:
            raise Broken(message.decode(errors="replace").strip())
        return result

    def waits(self, seconds: float) -> bool:
        """Whether something came, before that time was over."""
        import psycopg

        found = bool(self._poll.poll(seconds * 1000))
        if found:
            try:
                self._libpq.consume_input()
            except psycopg.Error as error:
                raise Broken(str(error)) from error
        return found

    def messages(self) -> list[str]:
        found = []
        while notice := self._libpq.notifies():
            found.append(notice.extra.decode())
        return found

    def close(self) -> None:
        self._connection.close()

    def abandon(self) -> None:
        # Closed by its number, since libpq would say good-bye for the parent; and the number stays taken.
        with suppress(OSError), open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), self._libpq.socket, inheritable=False)
        _inherited.append(self)


_inherited: list[_Line] = []  # never collected


class _Ear:
    """A line on which messages come."""

    def __init__(self, lines: Pool[_Line], line: _Line, process: str) -> None:
        self._lines, self._line = lines, line
        self._asked_at = time.monotonic()
        line.ask(f'LISTEN "tus_{process}"')

    def hear(self, seconds: float) -> list[str]:
        try:
            if time.monotonic() - self._asked_at > ANSWER:  # a connection that a firewall forgot is silent for ever
                self._line.ask("SELECT 1")
                self._asked_at = time.monotonic()
            return self._line.messages() or self._line.waits(seconds) and self._line.messages() or []
        except Broken as error:
            raise StoreAway("PostgreSQL does not answer") from error

    def close(self) -> None:
        self._lines.close(self._line)


class PostgresqlServer:
    """The server at this URL."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lines = Pool(lambda: _Line(url))

    def take(self, hold: Hold, ttl: float, over: str | None) -> Verdict:
        return self._do(*_words("take", hold, ttl), "*" if over is None else over)

    def keep(self, hold: Hold, ttl: float) -> Verdict:
        return self._do(*_words("keep", hold, ttl), "")

    def _do(self, *words: str) -> Verdict:
        (row,) = self._lines.ask(lambda line: line.ask(_DO, *words))
        state, token, epoch, other, wait, ended, before = row
        return Verdict(
            _text(state),
            int(token or 0),
            int(epoch or 0),
            _text(other),
            int(wait or 0) / 1e6,
            ended == b"t",
            int(before or 0),
        )

    def leave(self, left: Sequence[Left], ttl: float) -> None:
        remembered = [str(int(ttl * 2e6) if one.forget else _REMEMBERED) for one in left]
        self._do_all([("leave", o.id, o.key, "", "", "0", r) for o, r in zip(left, remembered, strict=True)])

    def renew(self, holds: Sequence[Hold], ttl: float) -> list[bool]:
        done = self._do_all([(*_words("renew", hold, ttl), f"{hold.token} {hold.epoch}") for hold in holds])
        return [state == "taken" for state in done]

    def _do_all(self, calls: Sequence[Sequence[str]]) -> list[str]:
        found: dict[int, str] = {}
        order = sorted(range(len(calls)), key=lambda n: calls[n][1])  # so that two of these never wait for each other
        for first in range(0, len(order), _BATCH):
            batch = order[first : first + _BATCH]
            said = json.dumps([calls[n] for n in batch])
            rows = self._lines.ask(lambda line, said=said: line.ask(_ALL, said))  # type: ignore[misc]
            found.update(zip(batch, (_text(row[0]) for row in rows), strict=True))
        return [found[n] for n in range(len(calls))]

    def owner(self, id: str) -> str:
        rows = self._lines.ask(lambda line: line.ask(_OWNER, id))
        return _text(rows[0][0]) if rows else ""

    def alive(self, process: str) -> bool:
        return bool(self._lines.ask(lambda line: line.ask(_ALIVE, f"tus-{process}")))

    def listen(self, process: str) -> _Ear:
        line = None
        try:
            line = self._lines.open(lambda: _Line(self._url, f"tus-{process}"))
            return _Ear(self._lines, line, process)
        except Broken as error:
            if line:
                self._lines.close(line)
            raise StoreAway("PostgreSQL does not answer") from error

    def sweep(self, before: float, exists: Callable[[str], bool]) -> None:
        self._lines.ask(lambda line: line.ask(_SWEEP))

    def forked(self) -> None:
        self._lines.forked()

    def close(self) -> None:
        self._lines.close_all()

    def prepare(self, ttl: float = TTL) -> None:
        """Make the table and the function, where they are missing; raises Broken."""
        if not self._lines.once(lambda line: line.ask(_MADE)[0][0] == b"t"):
            self._make()
        why = self._lines.once(lambda line: line.ask(_FIT)[0][0])
        if why:
            raise Broken(why.decode())
        self._lines.once(lambda line: line.ask(_OPEN, str(int(ttl * 1e6))))

    def _make(self) -> None:
        import psycopg

        try:
            with psycopg.connect(self._url, connect_timeout=max(2, int(ANSWER))) as connection:
                connection.execute(_SCHEMA)
        except psycopg.Error as error:
            raise Broken(str(error)) from error


def _words(deed: str, hold: Hold, ttl: float) -> tuple[str, ...]:
    return deed, hold.id, hold.key, hold.kind, hold.process, str(int(ttl * 1e6))


def _text(value: bytes | None) -> str:
    return (value or b"").decode()


def postgresql_locker(url: str, options: object = None) -> NetworkLocker:
    """`postgresql://USER:PASSWORD@HOST:PORT/DATABASE`, as libpq has it; also `?ttl=10&patience=5&prefix=name`."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise OptionError("option locker: postgresql: needs a client for it; pip install tus[postgresql]") from None
    url, given = settings(url)
    server = PostgresqlServer(url)
    reach(
        lambda: server.prepare(given.get("ttl", TTL)),
        _REMEDIES,
        "does it run there, is its name right, and may we reach it?",
    )
    return NetworkLocker(server, **given)


_REMEDIES = {
    "invalid": "a URL is postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
    "password": "put user and password into the URL: postgresql://USER:PASSWORD@HOST/DATABASE, or into ~/.pgpass",
    "does not exist": "create it, or correct its name in the URL: postgresql://USER:PASSWORD@HOST/DATABASE",
    "permission denied": "let this user make the table, or use it: GRANT CREATE ON SCHEMA …, GRANT ALL ON tus_leases",
    "read-only": "this is a standby; name the primary server in the URL",
    "SSL": "sslmode= in the URL says what is wanted: disable, require or verify-full",
}

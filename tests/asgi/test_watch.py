"""Which steps the event loop takes by itself, by a clock that the test turns."""

from __future__ import annotations

import time as clock

import pytest

from tus.adapters.watch import LONGEST, QUICK, SHORTEST, Watch, busy, queued

SLOW = 5 * QUICK


class Time:
    """Seconds that pass when the test says so; some of them without a processor."""

    def __init__(self) -> None:
        self.now, self.queued = 1000.0, 0.0
        self.watch = Watch(lambda: self.now, lambda: self.queued)

    def step(self, seconds: float, queued: float = 0.0) -> None:
        """One that takes so long; `queued` of it without a processor."""

        def act() -> None:
            self.now += seconds
            self.queued += queued

        self.watch.timed(act)

    def steps(self, seconds: float, **how: float) -> None:
        """Two: after the first it is looked at why it is slow."""
        self.step(seconds, **how)
        self.step(seconds, **how)

    def rested(self) -> float:
        """Seconds until quick steps are trusted again."""
        begun = self.now
        while not self.watch.trusts:
            self.now += SHORTEST / 20
            self.step(0)
        return self.now - begun


@pytest.fixture
def time() -> Time:
    return Time()


def test_nothing_is_trusted_before_it_was_quick(time: Time) -> None:
    """The first step goes to a thread; and all of them, where it is always slow."""
    before = time.watch.trusts
    time.steps(SLOW)
    slow = time.watch.trusts
    time.step(0)

    assert (before, slow, time.watch.trusts) == (False, False, True)


def test_slow_step_ends_the_trust_for_a_while(time: Time) -> None:
    """Quick ones in threads meanwhile do not count: a slow disk is quick now and then."""
    time.step(0)
    time.steps(SLOW)
    time.step(0)

    assert not time.watch.trusts
    assert time.rested() == pytest.approx(SHORTEST, rel=0.1)


def test_rest_grows_while_the_disk_is_slow_again_and_again(time: Time) -> None:
    """Twice as long each time, and no longer than a minute."""
    time.step(0)
    rests = []
    for _ in range(8):
        time.steps(SLOW)
        rests.append(time.rested())

    assert rests[:4] == [pytest.approx(SHORTEST * 2**time, rel=0.1) for time in range(4)]
    assert rests[-1] == pytest.approx(LONGEST, rel=0.1)


def test_rest_is_short_again_after_a_good_time(time: Time) -> None:
    """What was slow yesterday is tried as if it had never been."""
    time.step(0)
    for _ in range(4):
        time.steps(SLOW)
        time.rested()
    time.now += 7200
    time.step(0)

    time.steps(SLOW)

    assert time.rested() == pytest.approx(SHORTEST, rel=0.1)


def test_thread_without_a_processor_is_not_slow(time: Time) -> None:
    """On a busy machine every step takes long, in whichever thread."""
    time.step(0)

    time.steps(SLOW, queued=SLOW)

    assert time.watch.trusts


def test_slow_step_among_hundreds_of_quick_ones_is_forgiven(time: Time) -> None:
    """The machine was busy; more of them one after the other come from the disk."""
    for _ in range(300):
        time.step(0)

    time.steps(SLOW)
    forgiven = time.watch.trusts
    for _ in range(10):
        time.step(SLOW)

    assert (forgiven, time.watch.trusts) == (True, False)


def test_one_slow_step_of_twenty_is_not_forgiven(time: Time) -> None:
    """A disk may be slow now and then, and the loop has to be free nevertheless."""
    trusted = []
    for _ in range(20):
        for _ in range(19):
            time.step(0)
        time.step(25 * QUICK)
        trusted.append(time.watch.trusts)

    assert not trusted[-1]


def test_work_of_a_thread_is_no_wait() -> None:
    """To collect garbage takes long, too, and says nothing about the disk."""
    first, until = busy(), clock.thread_time() + 0.02
    while clock.thread_time() < until:
        pass

    assert busy() - first >= 0.02


def test_system_says_how_long_a_thread_had_no_processor() -> None:
    """It grows, and never goes back; where the system does not say, it is nothing."""
    first, second = queued(), queued()

    assert 0 <= first <= second

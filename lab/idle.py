"""Whether seconds that were measured can be believed: was the machine idle, and equally fast before and after?"""

import os
import time

import numpy as np
import psutil

MOVED = 0.1  # a matrix product whose rate moves by more than this means another machine than before
OTHERS = 0.05  # the largest part of the processor that other processes may use
TRIES = 5


class Busy(RuntimeError):
    """The machine was not idle, however often the measurement was repeated."""


def matrix_product(size=2048, repeat=5):
    """GFLOP/s of a product of two square float32 matrices by NumPy: the best of a few, about half a second in all."""
    a = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    seconds = []
    for _ in range(repeat):
        started = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / min(seconds) / 1e9


def fastest(work, repeat=20):
    """Seconds of the fastest of a few calls of ``work``, after one call that prepares the others."""
    work()
    seconds = []
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


class Watch:
    """Watches the machine during ``with Watch() as watch:``.

    Attributes, after the block:
        seconds: how long it took. gflops: (before, after) of the matrix product. others: the part of the processor,
            0 … 1, that was not used by this process and the processes that it started and waited for; it includes what
            a host takes from a virtual machine.
    """

    def __enter__(self):
        self.gflops = (matrix_product(),)
        self._started = _clocks()
        return self

    def __exit__(self, *error):
        self.seconds, busy, own = (float(difference) for difference in np.subtract(_clocks(), self._started))
        self.others = max(0.0, busy - own) / (self.seconds * psutil.cpu_count())
        self.gflops = (*self.gflops, matrix_product())

    def fault(self, reference=None):
        """Why the measurement does not count, '' if it does.

        Args:
            reference: GFLOP/s that the matrix product should reach; None for that before the block.
        """
        reference = reference or self.gflops[0]
        if self.others > OTHERS:
            return f"other processes used {self.others:.0%} of the processor"
        if max(abs(rate / reference - 1) for rate in self.gflops) > MOVED:
            rates = " and ".join(f"{rate:.0f}" for rate in self.gflops)
            return f"a matrix product reached {rates} GFLOP/s before and after, in place of {reference:.0f}"
        return ""


def _clocks():
    """(wall, processor of all, processor of this process and its children), seconds."""
    times = psutil.cpu_times()
    busy = sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))
    return time.perf_counter(), busy, sum(os.times()[:4])


def measured(works, say=print):
    """Do several things one after the other, each until the machine was idle, and equally fast for all of them.

    What a thing is compared with is the median of the matrix product over all of them.

    Args:
        works: dict name → function without arguments.
        say: receives a line for each try that does not count.

    Returns:
        dict name → (what its function returned, dict with ``gflops`` [before, after], ``others`` and ``tries``).

    Raises:
        Busy: one of them failed in five tries.
    """
    tries, found, watches, reference = dict.fromkeys(works, 0), {}, {}, None
    again = list(works)
    while again:
        for name in again:
            if tries[name] == TRIES:
                raise Busy(f"the machine was not idle in {TRIES} tries of {name}: {watches[name].fault(reference)}")
            tries[name] += 1
            with Watch() as watches[name]:
                found[name] = works[name]()
        reference = float(np.median([rate for watch in watches.values() for rate in watch.gflops]))
        again = [name for name, watch in watches.items() if watch.fault(reference)]
        for name in again:
            say(f"{name} does not count in try {tries[name]} of {TRIES}: {watches[name].fault(reference)}")
    return {
        name: (found[name], {"gflops": [*watch.gflops], "others": watch.others, "tries": tries[name]})
        for name, watch in watches.items()
    }

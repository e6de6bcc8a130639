"""Runs that do not depend on each other, side by side: on the cores of this machine, or on a Dask cluster."""

import joblib
import tensorflow as tf

from lab import cluster


def fill(file, items, measure, options):
    """Measure rows side by side, one run a worker; each is saved as soon as it is there.

    Args:
        file: benchmarks.report.Rows.
        items: those of its plan that are to be measured, in this order.
        measure: function of an item → what its row holds. It runs in another process, perhaps on another machine.
        options: of benchmarks.report.arguments with ``spread``: ``jobs``, ``dask``, ``budget``.

    Raises:
        ValueError: as :func:`lab.cluster.backend`.
    """

    def begun():
        for item in items:
            if options.budget.is_over():
                return
            yield joblib.delayed(_run)(measure, item)

    with cluster.backend(options.dask):
        # A run is handed out when a worker is free for it. So a killed program loses the runs in progress, no others.
        work = joblib.Parallel(n_jobs=options.jobs, pre_dispatch="n_jobs", return_as="generator_unordered")
        for item, measured in work(begun()):
            file.add(item, measured)
            print(item, measured, flush=True)


def _run(measure, item):
    """One run, with one thread, so that CPU seconds of runs side by side can be compared."""
    for limit in (
        tf.config.threading.set_intra_op_parallelism_threads,
        tf.config.threading.set_inter_op_parallelism_threads,
    ):
        limit(1)
    return item, measure(item)

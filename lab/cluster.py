"""Where joblib runs independent work: on the cores of this machine, or on a Dask cluster."""

import contextlib

HELP = "let a Dask cluster work: the address of its scheduler"


@contextlib.contextmanager
def backend(dask=None):
    """Where joblib runs its tasks inside the ``with`` block.

    Args:
        dask: address of a Dask scheduler; None for this machine.

    Raises:
        ValueError: Dask is not installed, or no scheduler answers.
    """
    if dask is None:
        yield
        return
    try:
        import distributed
    except ImportError as error:
        raise ValueError("a Dask cluster needs: pip install -r requirements-dask.txt") from error
    import joblib

    try:
        client = distributed.Client(dask, timeout=10)
    except (OSError, ValueError, TimeoutError) as error:
        raise ValueError(f"no Dask scheduler answers at {dask}: {error}") from error
    with client, joblib.parallel_config(backend="dask", client=client):
        yield

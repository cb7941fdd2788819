"""Workers: a function of many items, in this process, in processes of this machine, or on a Dask cluster."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import Any, TypeVar

from addersim.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")
ADDRESS = re.compile(r"(tcp|tls|ws|wss|ucx)://[^\s/]+:\d+")
ANSWER_SECONDS = 10  # how long a cluster may take to answer, and to have a worker


def completed(function: Callable[[Item], Result], items: Sequence[Item], pool: str) -> Iterator[tuple[int, Result]]:
    """Yield number and result of every item as soon as it is there.

    Parameters
    ----------
    function
        A module's function, which other processes can import.
    pool
        ``"local:N"`` for N processes (with N = 1, this one), or the address of a Dask scheduler, ``"tcp://HOST:PORT"``.

    Raises
    ------
    InputError
        If the pool is neither, the cluster does not answer or has no workers, or a worker died of its item.
    """
    check_pool(pool)
    if ADDRESS.fullmatch(pool) and items:
        yield from _on_cluster(function, items, pool)
    elif (workers := min(_local(pool), len(items))) > 1:
        yield from _on_processes(function, items, workers)
    else:
        yield from ((number, function(item)) for number, item in enumerate(items))


def check_pool(pool: str) -> None:
    """Raise InputError unless ``pool`` is ``local:N`` or the address of a Dask scheduler."""
    if not ADDRESS.fullmatch(pool) and _local(pool) < 1:
        raise InputError(f"pool = {pool!r}, expected local:N with N of 1 or more, or a Dask cluster as tcp://HOST:PORT")


def _local(pool: str) -> int:
    """Return N of ``local:N``, 0 for anything else."""
    kind, _, number = pool.partition(":")
    return int(number) if kind == "local" and number.isascii() and number.isdigit() else 0


def _on_processes(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Any]:
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as executor:
        numbers = {executor.submit(function, item): number for number, item in enumerate(items)}
        try:
            for future in as_completed(numbers):
                yield numbers[future], future.result()
        except BrokenProcessPool as error:
            raise InputError(
                "a worker process died, as it does when memory runs out; expected fewer at once"
            ) from error
        finally:
            executor.shutdown(wait=False, cancel_futures=True)


def _end_with_parent() -> None:
    """Leave with the process that wants the results, however that ends."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _on_cluster(function: Callable[[Item], Result], items: Sequence[Item], address: str) -> Iterator[Any]:
    from distributed import Client, KilledWorker
    from distributed import as_completed as finished

    try:
        client = Client(address, timeout=ANSWER_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError, ImportError) as error:
        raise InputError(f"{address}: no Dask scheduler answers within {ANSWER_SECONDS} s") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=ANSWER_SECONDS)
        except TimeoutError as error:
            raise InputError(f"{address}: the Dask cluster has no workers after {ANSWER_SECONDS} s") from error
        numbers = {client.submit(function, item, pure=False): number for number, item in enumerate(items)}
        try:
            for future in finished(list(numbers), loop=client.loop):
                yield numbers[future], future.result()
        except KilledWorker as error:
            raise InputError(f"{address}: workers died again and again at the same points ({error})") from error
        except ModuleNotFoundError as error:
            raise InputError(f"{address}: the cluster's workers lack {error.name}") from error
        finally:
            client.cancel(list(numbers))

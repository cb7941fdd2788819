"""Read torch's pickles as data: tensors and plain values only, no code runs, a defect is an InputError."""

from __future__ import annotations

import warnings
from pathlib import Path
from pickle import UnpicklingError

import torch

from addersim.errors import InputError


def read_pickle(file: Path) -> object:
    """Return the content of a file of :func:`torch.save`, read with ``weights_only=True``.

    Raises
    ------
    InputError
        If the file is missing, broken, or asks for anything but tensors and plain values.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of files it did not write, and then refuses them
            return torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        if "Weights only load failed" not in str(error):
            raise InputError(f"{file}: not a readable file of tensors ({str(error)[:120]})") from None
        expected = "which is not loaded, as it may run code; expected torch.save(model.state_dict(), path)"
        raise InputError(f"{file}: holds more than tensors and plain values, {expected}") from None
    except Exception as error:  # the unpickler is a stack machine: broken bytes can make it raise anything
        lines = str(error).strip().splitlines()
        why = f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__
        raise InputError(f"{file}: not a readable file of tensors ({why})") from None

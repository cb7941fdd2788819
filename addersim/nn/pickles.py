"""Read torch's pickles as data: tensors and plain values only, no code runs, a defect is an InputError."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

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
    except Exception as error:  # the unpickler is a stack machine: broken bytes can make it raise anything
        if "Unsupported global" in str(error):
            why = "it holds objects that may run code; expected torch.save(model.state_dict(), path)"
        else:
            said = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()
            why = f"{type(error).__name__}: {said[0][:120]}" if said else type(error).__name__
        raise InputError(f"{file}: not a readable file of tensors ({why})") from None

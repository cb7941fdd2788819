"""SCALE-Sim's files, in their old place: :mod:`addersim.interchange.scalesim`."""

from addersim.interchange.scalesim import *  # noqa: F403

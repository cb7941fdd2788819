"""The version, on the ground: the face of the package imports it, as every room may."""

VERSION = "0.1.0"

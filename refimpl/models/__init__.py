"""Models: networks composed of layers."""

from .fno import FNO

__all__ = ["FNO"]

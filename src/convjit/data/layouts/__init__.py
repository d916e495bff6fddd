"""How sets of images lie on disk, one file for each layout, and which one it is that a path leads to."""

from convjit.data.layouts.contents import Contents, Part
from convjit.data.layouts.recognise import UNDERSTOOD, read_contents

__all__ = ["UNDERSTOOD", "Contents", "Part", "read_contents"]

"""HEIC files, by pi-heif's own decoder and nothing besides: its list of metadata crashes on damaged files."""

from __future__ import annotations

import re
from typing import Any

import _pi_heif
from PIL import ImageFile

_EXIF = re.compile(rb"Exif\0\0(?:II\*\0|MM\0\*)")
_MOST = 1 << 20  # bytes of EXIF data


class HeifImageFile(ImageFile.ImageFile):
    """The primary picture of a file, upright already."""

    format = "HEIF"
    format_description = "HEIF container"
    _image: Any = None

    def _open(self) -> None:
        assert self.fp is not None
        data = self.fp.read()
        found = [image for image in _pi_heif.load_file(data, 1, True, False, False, True, "", False) if image]
        if not found:
            raise SyntaxError("no picture in it")
        self._image = next((image for image in found if image.primary), found[0])
        self._size, self._mode = self._image.size_mode
        profile = self._image.color_profile
        if profile and profile["type"] in ("rICC", "prof"):
            self.info["icc_profile"] = profile["data"]
        exif = _EXIF.search(data)
        if exif is not None:
            self.info["exif"] = data[exif.start() : exif.start() + _MOST]
        self.tile = []

    def load(self) -> Any:
        """Decode it."""
        if self._image is not None:
            data = self._image.data
            self._size = self._image.size_mode[0]  # which decoding may correct
            self.load_prepare()
            self.frombytes(data, "raw", (self.mode, self._image.stride))
            self._image = None
        return super().load()

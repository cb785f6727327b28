"""One encoded picture -> pixels. Only PNG and JPEG are decoded, and never a bomb."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from framecast.data.formats.base import check_image_size
from framecast.errors import UserError

BOMBS = (Image.DecompressionBombWarning, Image.DecompressionBombError)


def decode_picture(source: Path | BinaryIO, where: str) -> NDArray[np.uint8]:
    """(H, W, 3). Raises UserError, naming `where`, for what is no picture or too large a one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source, formats=("PNG", "JPEG")) as image:
                check_image_size(*image.size, where)
                return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, *BOMBS) as error:
        reason = str(error).replace(f" {source!r}", "")
        raise UserError(f"{where} is not a picture that can be read ({reason}).") from None

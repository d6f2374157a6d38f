"""A checkpoint's JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from smoothdroid.device.common.errors import BadInput


def read_object(file: Path) -> dict[str, Any]:
    """Read the object in a JSON file, which may begin with a byte order mark. Raises BadInput where there is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadInput(f"{file}: cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        if file.read_bytes()[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise BadInput(
                f"{file}: not JSON in UTF-8: it begins with the byte order mark of UTF-16. Save it as UTF-8."
            ) from error
        raise BadInput(f"{file}: not JSON: {error}. Fetch the file again.") from error
    if not isinstance(content, dict):
        raise BadInput(f"{file}: not a JSON object. Fetch the file again.")
    return content

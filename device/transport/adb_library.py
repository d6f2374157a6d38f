"""adbutils, which can be imported whatever ANDROID_ADB_SERVER_PORT holds: at its import it makes a number of it.

All modules import it from here. Which server is asked, adb_server.py decides.
"""

from __future__ import annotations

import os

_said = os.environ.pop("ANDROID_ADB_SERVER_PORT", None)
try:
    import adbutils
    from adbutils.errors import AdbConnectionError, AdbError, AdbTimeout
finally:
    if _said is not None:
        os.environ["ANDROID_ADB_SERVER_PORT"] = _said

__all__ = ["AdbConnectionError", "AdbError", "AdbTimeout", "adbutils"]

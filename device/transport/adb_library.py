"""The adbutils library, imported so that any value of ANDROID_ADB_SERVER_PORT is accepted.

adbutils converts the variable to a number when it is imported. All modules import adbutils from here;
adb_server.py chooses the server.
"""

from __future__ import annotations

import os

_port = os.environ.pop("ANDROID_ADB_SERVER_PORT", None)
try:
    import adbutils
    from adbutils.errors import AdbConnectionError, AdbError, AdbTimeout
finally:
    if _port is not None:
        os.environ["ANDROID_ADB_SERVER_PORT"] = _port

__all__ = ["AdbConnectionError", "AdbError", "AdbTimeout", "adbutils"]

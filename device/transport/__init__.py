"""Transports: commands and files to a phone over adb, over SSH, or to this machine."""

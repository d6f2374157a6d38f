"""Checks of this machine and of phones: what is there, what is missing, and how to fix it."""

from smoothdroid.host.doctor.check import Check, State, are_met
from smoothdroid.host.doctor.machine import examine
from smoothdroid.host.doctor.phone import examine_phone

__all__ = ["Check", "State", "are_met", "examine", "examine_phone"]

"""Everything that talks to a phone or runs on one. Imports nothing from `host`."""

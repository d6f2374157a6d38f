"""The sections of a report, as sentences, tables and figures."""

"""The sections of a report: sentences, tables and commands, one file for each section."""

"""The store of files on a phone, identified by content: upload, inventory, programs with their libraries."""

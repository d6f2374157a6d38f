"""Code that all packages share: errors, locks, atomic writes, file hashes, safe text, the cache folder."""

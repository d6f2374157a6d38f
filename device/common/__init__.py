"""What all packages share: errors, file hashes, safe text, the cache folder."""

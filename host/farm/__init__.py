"""One plan on many phones, each at its own pace."""

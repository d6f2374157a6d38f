"""A plan against many phones, each at its own pace."""

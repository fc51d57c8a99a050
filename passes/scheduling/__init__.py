"""When to read a device."""

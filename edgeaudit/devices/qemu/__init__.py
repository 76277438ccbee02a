"""Transport to a device CPU that QEMU emulates."""

"""Bundle on another machine -> DeviceReport: over SSH (`visit`, `fleet`) or by a USB stick (`kit`).

`probe`, `digests`, `install`, `guard` and `on_stick` need Python's own library alone: they run before anything is installed there.
`on_device` does the work there, with the base install.
"""

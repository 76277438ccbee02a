"""Device profiles: one flat file for each device. This folder is `edgeaudit.device_profiles`."""

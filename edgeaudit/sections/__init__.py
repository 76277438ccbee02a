"""The sections of audit.yaml, one file each. `edgeaudit.spec` puts them together and reads the file."""

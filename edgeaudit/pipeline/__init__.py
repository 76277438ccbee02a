"""The order of an audit: plan the graph, run it, assemble audit.json."""

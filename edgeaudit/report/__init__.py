"""Reports: audit.json (model, schema), and the terminal table, summary and HTML page that are rendered from it."""

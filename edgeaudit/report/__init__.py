"""The report: audit.json (model, schema) and what is made from it: terminal table, sentences, HTML."""

"""Judge methods: protocols, methods, metrics, data sets and reports."""

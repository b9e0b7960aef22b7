"""The figures of a sweep's page, as plain values in Plotly's words."""

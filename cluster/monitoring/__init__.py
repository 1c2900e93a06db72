"""What can be seen of a running app: metrics by name, gauges made of reports, and what Prometheus and Grafana are given."""

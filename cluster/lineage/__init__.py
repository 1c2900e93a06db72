"""Where features and their values come from. Pure: definitions as plain values in, graphs and sentences out.

`graph` (what is made from what), `definitions` (the graph that definitions spell out), `features` (one feature and the
versions it had), `values` (one stored value, back to its record), `drawings` (graphs as Mermaid and DOT).
"""

"""A Topology as one SVG: where things stand (layout), how they look (draw, style), and a trace's way over it (way)."""
